"""What `holdfast.training`'s trainer is made of: its settings, precision, streams and log."""
