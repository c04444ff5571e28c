"""Lets every test import `tiny_models`: pytest puts the folder of a conftest.py on the path.

Tests that take long, and whose parts are tested apart, are marked so and run with ``--long``
alone, as CI runs them.
"""

import os
import tempfile

import pytest


def pytest_addoption(parser):
    parser.addoption("--long", action="store_true", help="run the tests that take long too")


def pytest_configure(config):
    # What is remembered of files is the tests' own, and no user's.
    os.environ.setdefault("HOLDFAST_CACHE", os.path.join(tempfile.gettempdir(), "holdfast-tests"))


def pytest_collection_modifyitems(config, items):
    if not config.getoption("--long"):
        skip = pytest.mark.skip(reason="takes long: make test ARGS=--long runs it, as CI does")
        for item in items:
            if item.get_closest_marker("long"):
                item.add_marker(skip)
