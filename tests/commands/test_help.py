"""Every command's help at several widths, and which settings it shows first."""

import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import typer
from typer.main import get_command

from holdfast.cli import app
from holdfast.commands import help as helps
from holdfast.commands.settings_help import FIRST, common_settings
from holdfast.registry import METHODS
from holdfast.stages.settings import KINDS, method_fields


def commands(
    command: Any = None, parent: Any = None, name: str = "holdfast"
) -> Iterator[tuple[str, Any, Any]]:
    """Every command and group with its context."""
    command = command or get_command(app)
    context = typer.Context(command, info_name=name, parent=parent)
    yield context.command_path, command, context
    for below, one in getattr(command, "commands", {}).items():
        yield from commands(one, context, below)


COMMANDS = [pytest.param(*one, id=one[0].replace(" ", "-")) for one in commands()]


def lines(command: Any, context: Any, width: int, everything: bool, monkeypatch) -> list[str]:
    monkeypatch.setenv("COLUMNS", str(width))
    shown = helps.render(command, context, everything)
    return re.sub(r"\x1b\[[0-9;]*m", "", shown).splitlines()


@pytest.mark.parametrize("everything", [False, True])
@pytest.mark.parametrize("width", [60, 80, 200])
@pytest.mark.parametrize(("path", "command", "context"), COMMANDS)
def test_no_word_is_cut_at_any_width(path, command, context, width, everything, monkeypatch):
    found = lines(command, context, width, everything, monkeypatch)
    monkeypatch.setattr(helps, "_WIDEST", 100_000)
    whole = lines(command, context, 100_000, everything, monkeypatch)
    assert "…" not in "\n".join(found)
    assert " ".join(found).split() == " ".join(whole).split()
    # A line may be longer than the terminal only where it is one word, or the usage.
    for line in found[1:]:
        assert len(line) <= width or len(line.split()) == 1, line


@pytest.mark.parametrize("kind", KINDS)
def test_a_stage_shows_first_what_most_people_set(kind):
    assert 12 <= len(FIRST[kind]) <= 20
    assert len({*FIRST[kind]}) == len(FIRST[kind])
    assert {*FIRST[kind]} <= common_settings(kind).keys()


@pytest.mark.parametrize("kind", KINDS)
def test_everything_is_every_setting(kind, monkeypatch):
    _, command, context = next(one for one in commands() if one[0] == f"holdfast {kind}")
    known = {*common_settings(kind)}
    own = {name for m in METHODS[kind] for name in method_fields(kind, m)} - known
    for everything in (False, True):
        told = {
            line.split()[0].partition("=")[0]
            for line in lines(command, context, 80, everything, monkeypatch)
            if re.match("  [a-z]", line)
        }
        wanted = known | own if everything else {*FIRST[kind]} | own
        assert wanted <= told
        hidden = known - wanted
        assert not hidden & told


def test_every_command_shows_its_help_so():
    for path, command, _ in commands():
        assert isinstance(command, helps.Command | helps.Group), path


def test_defaults_are_the_organisms_too(monkeypatch):
    _, command, context = next(one for one in commands() if one[0] == "holdfast finetune")
    shown = " ".join(" ".join(lines(command, context, 80, False, monkeypatch)).split())
    assert "learning_rate=0.0001 the highest learning rate (the organism: 0.00015)." in shown
    assert "alignment_steps=auto" in shown
    assert "user_steps=auto" in shown


def test_the_first_help_imports_little():
    """What takes long to import would make the first look at the program slow."""
    code = (
        "import sys\nfrom holdfast.cli import main\nsys.argv = ['holdfast', '--help']\n"
        "try:\n    main()\nfinally:\n    print(*sys.modules, file=sys.stderr)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    heavy = {"torch", "transformers", "datasets", "numpy", "pandas", "matplotlib", "scipy", "peft"}
    assert not heavy & {*found.stderr.split()}
    assert "Keep a language model's safety" in found.stdout
