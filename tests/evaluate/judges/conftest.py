"""The tiny judges, each written and loaded once."""

from functools import cache

import pytest

from holdfast.evaluate.judges import load_judge


@pytest.fixture(scope="session")
def judge_folder(tmp_path_factory):
    """The folder of a tiny judge, by its name."""
    from tiny_judges import write_judge

    return cache(lambda name: write_judge(tmp_path_factory.mktemp(name) / "judge", name))


@pytest.fixture(scope="session")
def local_judge(judge_folder):
    """A tiny judge, loaded, by its name."""
    return cache(lambda name: load_judge({"name": name, "model": str(judge_folder(name))}))
