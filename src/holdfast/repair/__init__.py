"""Stage 3, repair after fine-tuning: one file a method."""
