"""A run's report as one HTML page that needs nothing else: no other file, no other host."""
