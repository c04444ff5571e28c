"""Mistakes in a command's words: every command and every option, each in one sentence."""

import sys
from collections.abc import Iterator
from typing import Any

import pytest
import typer
from typer.main import get_command

from holdfast import cli


def commands(command: Any = None, words: tuple[str, ...] = ()) -> Iterator[tuple[Any, Any]]:
    command = command or get_command(cli.app)
    yield words, command
    for name, one in getattr(command, "commands", {}).items():
        yield from commands(one, (*words, name))


def options() -> Iterator[Any]:
    for words, command in commands():
        for one in command.get_params(typer.Context(command)):
            if one.param_type_name == "option":
                yield pytest.param(words, one, id="-".join((*words, one.opts[-1].strip("-"))))


OPTIONS = list(options())
NUMBERS = [o for o in OPTIONS if o.values[1].type_descriptor.annotation in (int, float)]


@pytest.fixture
def told(monkeypatch, capsys):
    """Run `holdfast` with some words; gives what it says of the mistake in them."""

    def run(*words: str) -> str:
        monkeypatch.setattr(sys, "argv", ["holdfast", *words])
        try:
            code = cli.main()
        except SystemExit as end:
            code = end.code
        shown = capsys.readouterr()
        assert code == 2
        assert shown.out == ""
        assert shown.err.startswith("holdfast: ")
        assert shown.err.endswith(".\n")
        assert shown.err.count("\n") == 1
        return shown.err

    return run


def test_there_are_options_with_numbers():
    percents = {"max-harmful-score", "max-harmful-increase", "min-accuracy", "max-over-refusal"}
    assert {"seeds", "workers", "rows", "lines", "seed", "prompts", "max-dropped", *percents} == {
        one.values[1].opts[-1].strip("-") for one in NUMBERS
    }


@pytest.mark.parametrize(("words", "option"), NUMBERS)
@pytest.mark.parametrize("value", ["-1", "x", "1.5", "1e400", "nan", ""])
def test_a_number_that_cannot_be(words, option, value, told):
    if value == "1.5" and option.type_descriptor.annotation is float:
        pytest.skip("it can be")
    assert option.opts[-1] in told(*words, option.opts[-1], value)


def test_a_number_out_of_its_range_is_told_with_the_range(told):
    for words in (["run", "x.yaml"], ["demo"]):
        assert told(*words, "--seeds", "0") == "holdfast: --seeds is 0; it must be 1 or more.\n"
    said = told("organism", "show", "--seed", "4294967296")
    assert said == "holdfast: --seed is 4294967296; it must be from 0 to 4294967295.\n"
    assert told("run", "x.yaml", "--workers", "0").endswith("it must be 1 or more.\n")
    assert "--seeds must be a whole number" in told("run", "x.yaml", "--seeds", "three")


@pytest.mark.parametrize(("words", "option"), OPTIONS)
def test_a_slip_in_an_options_name_is_told_with_the_nearest(words, option, told):
    name = option.opts[-1]
    slip = name[:4] + name[5:]  # a letter is missing
    said = told(*words, slip)
    assert f"no option '{slip}'; did you mean '{name}'?" in said


@pytest.mark.parametrize(("words", "option"), OPTIONS)
def test_an_option_without_its_value_or_with_one_too_many(words, option, told):
    name = option.opts[-1]
    said = told(*words, f"{name}=3") if option.is_flag else told(*words, name)
    assert name in said
    assert said.startswith(f"holdfast: `{' '.join(('holdfast', *words))}`: ")
    assert said.endswith(f"see `{' '.join(('holdfast', *words))} --help`.\n")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["alig"], "there is no command 'holdfast alig'; did you mean 'align'? known are demo,"),
        (["data", "lst"], "there is no command 'holdfast data lst'; did you mean 'list'?"),
        (
            ["organism", "xyz"],
            "there is no command 'holdfast organism xyz'; known are train, show.",
        ),
        (["evalute", "--limit"], "did you mean 'evaluate'?"),
        (["list", "--format", "jsn"], "there is no --format jsn; did you mean 'json'?"),
        (["run", "a.yaml", "--launcher", "slrm"], "did you mean 'slurm'? known are local, slurm."),
        (["report", ".", "--format", "jso"], "did you mean 'json'?"),
        (["run"], "`holdfast run`: FILE is missing; see `holdfast run --help`."),
        (["report"], "`holdfast report`: DIR is missing"),
        (["push", "folder"], "`holdfast push`: REPO is missing"),
        (["organism", "train"], "`holdfast organism train`: --output is missing"),
        (["status", "a", "b"], "got unexpected extra argument"),
    ],
)
def test_words_that_name_nothing(words, says, told):
    assert says in told(*words)


@pytest.mark.parametrize("words", [(), ("data",), ("organism",)])
def test_no_words_show_the_help(words, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["holdfast", *words])
    assert cli.main() == 2
    shown = capsys.readouterr()
    assert "Commands" in shown.out
    assert shown.err == ""
