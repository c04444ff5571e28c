"""Screens: what is done with a user's rows before a model is trained on them; a file a method."""
