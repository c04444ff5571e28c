"""Publishing a stage's result: its files without local paths, and a model card."""
