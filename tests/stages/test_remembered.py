"""What a run's folder remembers of its rows: none is made again, and damage is not believed."""

import json

import pytest

from holdfast.stages import fingerprints, remembered
from holdfast.stages.remembered import FILE, keep, recall
from holdfast.studies.grid import expand
from holdfast.studies.study import make_study

SPEC = {"align": "t_vaccine", "finetune": "lisa", "settings": {"align": {"rows": 12}}}


def identities():
    [pipeline] = expand(make_study({**SPEC, "seeds": [77]}, "here"))
    return [stage.identity for stage in pipeline.stages.values()]


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setattr(remembered, "_FOUND", {})
    return tmp_path


def forget(monkeypatch):
    monkeypatch.setattr(remembered, "_FOUND", {})
    made = []
    whole = fingerprints.stage_rows
    monkeypatch.setattr(
        fingerprints, "stage_rows", lambda *given: made.append(given[0]) or whole(*given)
    )
    return made


def test_a_second_run_makes_no_rows_and_finds_the_same_stages(root, monkeypatch):
    before = identities()
    keep(root)
    made = forget(monkeypatch)
    assert recall(root)
    assert identities() == before
    assert made == []


@pytest.mark.parametrize("how", ["none", "cut", "other code", "other shape", "a list"])
def test_what_is_missing_or_damaged_is_made_again(root, monkeypatch, how):
    before = identities()
    keep(root)
    text = (root / FILE).read_text()
    content = json.loads(text)
    broken = {
        "none": None,
        "cut": text[: len(text) // 2],
        "other code": json.dumps({**content, "code": "0" * 64}),
        "other shape": json.dumps({**content, "fingerprints": {"align": "abc"}}),
        "a list": "[]",
    }[how]
    (root / FILE).unlink()
    if broken is not None:
        (root / FILE).write_text(broken)
    made = forget(monkeypatch)
    recall(root)
    assert identities() == before
    assert made == ["align", "finetune", "evaluate"]
    keep(root)
    assert json.loads((root / FILE).read_text()) == content


def test_what_is_known_is_not_written_again(root):
    identities()
    keep(root)
    place = root / FILE
    mark = place.stat().st_ino, place.stat().st_mtime_ns
    keep(root)
    assert (place.stat().st_ino, place.stat().st_mtime_ns) == mark
