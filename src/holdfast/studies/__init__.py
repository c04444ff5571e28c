"""A study's glue: what a stage's settings are, how one is run, and how several make a pipeline."""
