"""What each command of ``holdfast`` does, once its words are read."""
