"""Stage 2, user fine-tuning: one file a method."""
