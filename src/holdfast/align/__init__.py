"""Stage 1, alignment: one file a method."""
