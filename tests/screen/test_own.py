"""A screen of one's own: a class with a method score(rows), named by the place of its code."""

import json

import pytest

from command import done
from holdfast import screen_rows
from holdfast.data.reading import read_rows
from holdfast.errors import UserError
from holdfast.stages.making import make_pipeline
from holdfast.stages.methods import method_of

MODULE = '''
from dataclasses import dataclass
from holdfast import Scored, ScreenConfig

@dataclass
class LongScreenConfig(ScreenConfig):
    """Settings.

    Args:
        threshold: so many characters.
    """

    threshold: float | None = 20

class LongScreen:
    """Flags long answers."""

    def __init__(self, config):
        self.config = config

    def score(self, rows):
        return [Scored(len(row["output"]), "its length") for row in rows]

class Silent:
    """No screen."""

class SilentConfig(ScreenConfig):
    """Settings."""

class Greedy(LongScreen):
    def __init__(self, config, paired_dataset):
        pass

@dataclass
class GreedyConfig(ScreenConfig):
    """Settings."""

class Bare(LongScreen):
    pass

@dataclass
class ShortConfig(ScreenConfig):
    """Settings."""

class Short(LongScreen):
    """Forgets the last row."""

    def score(self, rows):
        return super().score(rows[:-1])

@dataclass
class PlainConfig(ScreenConfig):
    """Settings."""

class Plain(LongScreen):
    """Gives numbers."""

    def score(self, rows):
        return [1.0 for _ in rows]

@dataclass
class ArrayConfig(ScreenConfig):
    """Settings."""

class Array(LongScreen):
    """Gives what an array of numbers holds; of the second row it is no number."""

    def score(self, rows):
        import numpy
        found = numpy.full(len(rows), 0.5, dtype="float32")
        found[1:2] = numpy.nan
        return [Scored(one, "a number") for one in found]

@dataclass
class WordsConfig(ScreenConfig):
    """Settings."""

class Words(LongScreen):
    """Says in words how harmful a row is."""

    def score(self, rows):
        return [Scored("high", "a word") for _ in rows]

@dataclass
class NothingConfig(ScreenConfig):
    """Settings."""

class Nothing(LongScreen):
    """Gives nothing."""

    def score(self, rows):
        pass

@dataclass
class BareConfig:
    """Settings."""
'''


@pytest.fixture
def here(tmp_path, monkeypatch):
    (tmp_path / "my_screens.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_it_runs_as_a_command_and_stands_in_a_study(here):
    rows = [{"instruction": "q", "output": "x" * n} for n in (5, 25, 19, 20)]
    (here / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    own = "my_screens:LongScreen"
    done("screen", "rows.jsonl", "--method", own, "--output", "out")
    assert [len(row["output"]) for row in read_rows("out/rows.jsonl")] == [5, 19]
    done("screen", "rows.jsonl", "--method", own, "threshold=6", "--output", "less")
    assert [len(row["output"]) for row in read_rows("less/rows.jsonl")] == [5]
    stage = make_pipeline({"screen": own, "finetune": "sft"}).stages["screen"]
    assert stage.name.startswith("screen-LongScreen-")
    assert stage.version == method_of("screen", own).version != ""


def test_scores_of_any_type_of_number_are_read(here):
    """A file in JSON has no type of numpy's, and no NaN: of such a row the screen cannot tell."""
    row = json.dumps({"instruction": "q", "output": "x"})
    (here / "rows.jsonl").write_text(f"{row}\n{row}\n")
    output = here / "arrays"
    words = ("--method", "my_screens:Array", "threshold=1", "--output", output)
    done("screen", here / "rows.jsonl", *words)
    first, second = (json.loads(line) for line in (output / "scores.jsonl").open())
    assert (first, second) == ([0.5, "a number", ""], [None, "a number", ""])
    assert json.loads((output / "screen.json").read_text())["unsure"] == 1
    (dropped,) = read_rows(output / "dropped.jsonl")
    assert dropped["screen_score"] is None


@pytest.mark.parametrize("name", ["Short", "Plain", "Words", "Nothing"])
def test_scores_that_are_none_are_told(here, name):
    said = f"the screen {name} does not give one holdfast.Scored for each row: .* got 2 rows"
    with pytest.raises(UserError, match=said):
        screen_rows([{"instruction": "q", "output": "x"}] * 2, f"my_screens:{name}", threshold=1.0)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Silent", "is no class with a method score"),
        ("Bare", "BareConfig is no subclass of holdfast.ScreenConfig"),
        ("Greedy", "asks for 'paired_dataset', which screening does not have; it has alignment_d"),
        ("LongScren", "did you mean 'LongScreen'"),
    ],
)
def test_what_is_wrong_with_it_is_told(here, name, said):
    with pytest.raises(UserError, match=said):
        method_of("screen", f"my_screens:{name}")
