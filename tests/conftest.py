"""Lets every test import `tiny_models`: pytest puts the folder of a conftest.py on the path."""
