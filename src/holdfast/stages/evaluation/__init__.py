"""The stage that measures a model."""
