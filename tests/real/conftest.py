"""A tiny Llama, the judges' models and the prepared data sets, each made once."""

import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from tiny_judges import NAMES, write_judge

from holdfast.evaluate.judges import load_judge
from hub_folders import write_model
from stand_ins import prepare_data, write_copies


@pytest.fixture(scope="session")
def place(tmp_path_factory):
    """What a user has: a base, judges by name, and data that `holdfast data prepare` wrote."""
    root = tmp_path_factory.mktemp("real")
    judges = {name: write_judge(root / "judges" / name, name) for name in NAMES}
    return SimpleNamespace(
        root=root,
        base=write_model(root / "base"),
        judges=judges,
        data=prepare_data(write_copies(root / "copies"), root / "data"),
    )


@pytest.fixture
def data(place, monkeypatch) -> Path:
    """The prepared data sets, as commands find them."""
    monkeypatch.setenv("HOLDFAST_DATA", os.fspath(place.data))
    return place.data


@pytest.fixture(scope="session")
def judge(place):
    """A judge of the tiny ones, loaded, by its name."""
    loaded = {}

    def load(name):
        if name not in loaded:
            model = place.judges.get(name)
            loaded[name] = load_judge({"name": name, **({"model": str(model)} if model else {})})
        return loaded[name]

    return load
