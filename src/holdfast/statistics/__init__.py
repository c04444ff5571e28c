"""Intervals, paired differences and the worst case, from outcomes."""
