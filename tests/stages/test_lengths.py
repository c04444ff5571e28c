"""Rows whose answer max_length would cut away whole are found by the plan."""

import json

import pytest

from command import holdfast
from holdfast.errors import UserError
from holdfast.models import hub
from holdfast.models.stack import Stack
from holdfast.stages import lengths
from holdfast.stages.making import make_stage
from hub_folders import write_model

WHAT = ("colour", "river", "tool", "bird")
SHORT = [{"instruction": f"Name a {what}.", "output": f"No {what}."} for what in WHAT]
LONG = {"instruction": "Say it again: " + "word " * 60, "output": "word"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("lengths")
    write_model(place / "chat", chat=True)
    for name, rows in {"rows": [*SHORT[:2], LONG], "good": SHORT[2:]}.items():
        (place / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return place


def stage(folder, kind="align", parent=None, **settings):
    given = {"model": str(folder / "chat"), "data": str(folder / "rows.jsonl"), **settings}
    return make_stage(kind, given, parent)


@pytest.mark.parametrize(
    ("kind", "settings", "role"),
    [
        ("align", {}, "data"),
        ("finetune", {}, "data"),
        ("repair", {"method": "antidote"}, "data"),
        ("align", {"method": "t_vaccine", "data": "good", "harmful_data": "rows"}, "harmful_data"),
        (
            "finetune",
            {"method": "lisa", "data": "good", "alignment_data": "rows"},
            "alignment_data",
        ),
    ],
)
def test_a_row_that_is_cut_away_whole_is_told_before_any_run(folder, kind, settings, role):
    named = {
        key: str(folder / f"{value}.jsonl") if key.endswith("data") else value
        for key, value in settings.items()
    }
    message = rf"{role}, row 3: the whole answer is cut off: .* max_length is 60"
    with pytest.raises(UserError, match=message):
        stage(folder, kind, max_length=60, **named)
    stage(folder, kind, max_length=600, **named)


def test_what_is_left_out_on_purpose_is_no_mistake(folder):
    stage(folder, max_length=60, too_long="drop")


def test_the_template_counts_also_an_inherited_one(folder):
    """Alpaca's has forty words of its own."""
    good = str(folder / "good.jsonl")
    below = stage(folder, data=good, max_length=600, template="alpaca")
    stage(folder, "finetune", data=good, max_length=25)
    with pytest.raises(UserError, match=r"row 1: the whole answer is cut off"):
        stage(folder, "finetune", parent=below, data=good, max_length=25)


def test_the_command_ends_at_once_and_leaves_nothing(folder, tmp_path):
    data = f"data={folder / 'rows.jsonl'}"
    output = tmp_path / "out"
    words = ("align", str(folder / "chat"), data, "max_length=60", "--output", str(output))
    code, _, err = holdfast(*words)
    assert code == 2
    assert "row 3: the whole answer is cut off" in " ".join(err.split())
    assert not output.exists()


def test_nothing_is_downloaded_for_it(folder, monkeypatch):
    asked = []
    monkeypatch.setattr(hub, "is_downloaded", lambda *what: asked.append(what))
    monkeypatch.setattr(lengths, "_tokenizer", None)
    stack = Stack("owner/name", revision="a" * 40)
    lengths.check_lengths({"max_length": 60}, {"train": [LONG]}, stack, None, "here")
    assert asked == [("owner/name", "a" * 40, "tokenizer_config.json")]
