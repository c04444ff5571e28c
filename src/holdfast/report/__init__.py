"""Results as numbers with intervals, as tables and as pictures."""
