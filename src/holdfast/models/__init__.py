"""Models: load a base, stack adapters, find a decoder's attention blocks."""
