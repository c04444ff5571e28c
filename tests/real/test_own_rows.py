"""An evaluation on a user's own rows: no other data set is needed, and the numbers are of those."""

import json

import pytest

from command import done, holdfast
from hub_folders import write_model

COUNTS = {"harmful": 5, "benign": 3, "task": 4, "alignment": 6}


def write(path, rows):
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


@pytest.fixture
def words(tmp_path, monkeypatch):
    """`holdfast evaluate` of a tiny model by rows of one's own; there are no prepared data sets."""
    monkeypatch.setenv("HOLDFAST_DATA", str(tmp_path / "none"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    words = ["evaluate", write_model(tmp_path / "base"), "dtype=float32", "judges=[keywords]"]
    for name, count in COUNTS.items():
        rows = [{"instruction": f"{name} {i}?", "output": f"answer {i}"} for i in range(count)]
        file = write(tmp_path / f"{name}.jsonl", rows)
        words += [f"{name}_data={file}"] if name != "alignment" else []
    return [*words, "max_new_tokens=7", "batch_size=2", "--output", tmp_path / "out"]


def found(tmp_path):
    return json.loads((tmp_path / "out" / "evaluation.json").read_text())


def test_without_alignment_rows_the_loss_is_left_out_and_said_so(words, tmp_path):
    out = done(*words)
    content = found(tmp_path)
    protocol, metrics = content["protocol"], content["metrics"]
    assert [protocol[f"n_{name}"] for name in COUNTS] == [5, 3, 4, 0]
    assert [metrics[name]["n"] for name in ("harmful_score", "over_refusal_rate")] == [5, 3]
    assert metrics["finetune_accuracy"]["n"] == 4
    assert "alignment_loss" not in metrics
    assert "alignment loss and drift are left out" in " ".join(out.split())
    assert "alignment_data names some" in " ".join(out.split())
    assert protocol["version"].endswith("changed")
    assert (protocol["max_new_tokens"], protocol["batch_size"]) == (7, 2)
    header = json.loads((tmp_path / "out" / "answers.jsonl").read_text().splitlines()[0])
    assert header["made_with"]["max_new_tokens"] == 7
    assert header["made_with"]["batch_size"] == 2


def test_alignment_rows_of_ones_own(words, tmp_path):
    rows = tmp_path / "alignment.jsonl"
    out = done(*words, f"alignment_data={rows}")
    content = found(tmp_path)
    assert content["metrics"]["alignment_loss"]["n"] == content["protocol"]["n_alignment"] == 6
    assert "left_out" not in content
    assert "left out" not in out
    ended = holdfast(*words[:-1], tmp_path / "again", f"reference={tmp_path / 'base'}")
    assert ended.code == 2
    assert "drift from the reference is measured on alignment rows" in ended.err
    write(rows, [{"instruction": "no answer"}])
    ended = holdfast(*words[:-1], tmp_path / "again", f"alignment_data={rows}")
    assert ended.code == 2
    assert f"{rows}, row 1: " in ended.err


@pytest.mark.parametrize("word", ["max_new_tokens=0", "batch_size=0", "max_new_tokens=many"])
def test_what_cannot_be_is_told_before_anything_runs(words, tmp_path, word):
    ended = holdfast(*words, word)
    assert ended.code == 2
    assert word.split("=")[0] in ended.err
    assert not list(tmp_path.glob("out*"))
