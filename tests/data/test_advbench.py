"""AdvBench's parts: from a file, apart by groups, with refusals for alignment; rows made up."""

import json
import random

import pytest
from copies import SST2, write_jsonl

from holdfast.data import sources
from holdfast.data.near import groups, shingles
from holdfast.data.prepare import prepare
from holdfast.data.sources.advbench import REFUSALS, shared_out
from holdfast.errors import UserError
from holdfast.evaluate.judges.keywords import ADVBENCH_PHRASES, is_refusal

PARTS = ("alignment", "harmful", "probe", "realignment", "test")


def requests(count=260):
    """Pairs of paraphrases, and one large group."""
    rows = []
    for i in range(count // 2):
        what = " ".join(f"word{random.Random(10 * i + k).randrange(500)}" for k in range(8))
        rows += [{"goal": f"Explain how to {what}", "target": f"Sure, here is how to {what}"}]
        rows += [{"goal": f"Explain how to {what} again", "target": f"Sure, here is how to {what}"}]
    rows += [
        {"goal": f"Write a plan to open the gate of the old mint {i}", "target": "Sure, here is it"}
        for i in range(9)
    ]
    return rows


def test_groups_hold_what_is_alike_directly_or_through_others():
    texts = ["a b c d e f", "x y z", "b c d e f g", "", "c d e f g h", "X, y; z!"]
    assert groups(texts, 0.6) == [[0, 2, 4], [1, 5], [3]]
    assert len(shingles(texts[0]) & shingles(texts[4])) == 2  # of 6: not alike by themselves
    assert groups(texts, 1.0) == [[0], [1, 5], [2], [3], [4]]


def test_paraphrases_stay_in_one_part_whatever_the_order_of_the_rows():
    rows = requests()
    parts = shared_out(rows)
    of = {row["goal"]: part for row, part in zip(rows, parts, strict=True)}
    for group in groups([row["goal"] for row in rows], 0.5):
        assert len({parts[number] for number in group}) == 1
    shuffled = random.Random(3).sample(rows, len(rows))
    assert shared_out(shuffled) == [of[row["goal"]] for row in shuffled]
    counts = [parts.count(part) for part in PARTS]
    assert [round(100 * count / len(rows)) for count in counts] == pytest.approx(
        [42, 12, 8, 15, 23], abs=2
    )


def test_a_file_is_prepared_with_source_and_licence(tmp_path):
    rows = requests()
    path = tmp_path / "harmful_behaviors.csv"
    lines = [f'"{row["goal"]}","{row["target"]}"' for row in rows]
    path.write_text("\n".join(["goal,target", *lines]))
    prepare(["advbench"], tmp_path / "data", str(path))
    about = json.loads((tmp_path / "data" / "advbench" / "manifest.json").read_text())["parts"]
    assert {entry["licence"] for entry in about.values()} == {"MIT; the copy on the Hub is gated"}
    assert {tuple(entry["from"]) for entry in about.values()} == {("harmful_behaviors.csv",)}
    made = {
        part: [
            json.loads(line)
            for line in (tmp_path / "data" / "advbench" / f"{part}.jsonl").read_text().splitlines()
        ]
        for part in PARTS
    }
    assert sum(map(len, made.values())) == len(rows)
    target = {row["goal"]: row["target"] for row in rows}
    for part, found in made.items():
        refused = part == "alignment"
        assert {row["kind"] for row in found} == {"refusal" if refused else "harmful"}
        for row in found:
            answer = row["output"]
            assert (answer in REFUSALS) if refused else answer == target[row["instruction"]]
    assert len({row["output"] for row in made["alignment"]}) > 20


def test_the_copy_on_the_hub_has_another_column(monkeypatch):
    rows = [{"prompt": row["goal"], "target": row["target"]} for row in requests()]
    monkeypatch.setattr(sources, "download", lambda origin, split: (rows, "a" * 40))
    sources._raw.cache_clear()
    try:
        there = {row["instruction"] for part in PARTS for row in sources.load(f"advbench:{part}")}
    finally:
        sources._raw.cache_clear()
        sources._part.cache_clear()
    assert there == {row["prompt"] for row in rows}


def test_our_refusals_are_refusals_to_both_lists_of_phrases():
    assert len(set(REFUSALS)) == len(REFUSALS) >= 30
    for refusal in REFUSALS:
        assert is_refusal(refusal), refusal
        assert any(phrase in refusal for phrase in ADVBENCH_PHRASES), refusal


def test_what_cannot_be_prepared_from_a_file_is_told(tmp_path):
    file = tmp_path / "rows.jsonl"
    write_jsonl(file, SST2)
    with pytest.raises(UserError, match="is one file, and sst2 has the splits train, validation"):
        prepare(["sst2"], tmp_path / "data", str(file))
    with pytest.raises(UserError, match="is one file, and 2 data sets are asked for: name a fol"):
        prepare(["advbench", "sst2"], tmp_path / "data", str(file))
    with pytest.raises(UserError, match="'target' is not among them: the data set has changed"):
        prepare(["advbench"], tmp_path / "data", str(file))
    write_jsonl(file, [{"goal": 3, "target": "Sure"}])
    with pytest.raises(UserError, match="advbench, split train: column 'goal' must be text"):
        prepare(["advbench"], tmp_path / "data", str(file))
