"""Shows on the terminal how far the stages of a run are."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from holdfast.attacks import ATTACKS, MIXED
from holdfast.report.words import axis_name, short
from holdfast.stages.making import SHARED
from holdfast.stages.methods import short_name
from holdfast.stages.pipeline import Stage

_WORDS = {
    "align": "aligning",
    "screen": "screening",
    "finetune": "fine-tuning",
    "repair": "repairing",
    "evaluate": "evaluating",
}


class Display:
    """A bar for the whole run and one for each stage under way; plain lines where no terminal is.

    Args:
        console: where to show it.
        stages: the stages of the run.
        title: what the run is.
    """

    def __init__(self, console: Console, stages: Sequence[Stage], title: str):
        self.console, self.names, total = console, told_apart(stages), len(stages)
        self.bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        self.all = self.bars.add_task(
            f"[bold]{escape(title)}", total=total, note=f"0/{total} stages"
        )
        self.total, self.over = total, 0
        self.there = 0  # stages that were there already and are not told yet
        self.tasks: dict[str, TaskID] = {}

    def __enter__(self) -> "Display":
        self.bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._tell_cached()
        self.bars.stop()

    def told(self, note: str) -> None:
        """Print a note between the bars."""
        self._tell_cached()
        self.console.print(note, markup=False, highlight=False)

    def begun(self, stage: Stage) -> None:
        """Add the stage's bar."""
        self._tell_cached()
        note = "starting (the first one imports torch, some seconds)" if not self.over else ""
        if stage.identity in self.tasks:
            return  # it has waited for another run, or is tried again
        self.tasks[stage.identity] = self.bars.add_task(
            "  " + escape(self.names[stage.identity]), total=1.0, note=note
        )

    def moved(self, stage: Stage, share: float, note: str) -> None:
        """Move the stage's bar."""
        self.bars.update(self.tasks[stage.identity], completed=share, note=escape(note))

    def ended(self, stage: Stage, outcome: str) -> None:
        """Remove the stage's bar and count it."""
        if outcome == "cached":
            self.there += 1
        else:
            self._tell_cached()
        self.over += 1
        self.bars.update(self.all, completed=self.over, note=f"{self.over}/{self.total} stages")
        if stage.identity in self.tasks:
            self.bars.remove_task(self.tasks.pop(stage.identity))
        told = outcome != "cached" and not self.console.is_terminal
        if told or outcome in ("failed", "skipped"):
            self.console.print(
                f"[{self.over}/{self.total}] {escape(self.names[stage.identity])}: {outcome}",
                highlight=False,
            )

    def _tell_cached(self) -> None:
        """One line for all stages that were there already: a study may have thousands."""
        if self.there and not self.console.is_terminal:
            what = "stage is" if self.there == 1 else "stages are"
            self.console.print(
                f"[{self.over}/{self.total}] {self.there} {what} there already: cached",
                highlight=False,
                markup=False,
            )
        self.there = 0


def told_apart(stages: Sequence[Stage]) -> dict[str, str]:
    """By its identity what to call a stage: in words, and what else tells it from others."""
    groups: dict[str, list[Stage]] = {}
    for stage in stages:
        groups.setdefault(describe(stage), []).append(stage)
    found = {}
    for name, alike in groups.items():
        differing = _differing(alike) if len(alike) > 1 else [""] * len(alike)
        found |= {s.identity: name + more for s, more in zip(alike, differing, strict=True)}
    return found


def _differing(stages: Sequence[Stage]) -> list[str]:
    """The settings of stages, and of those that they start from, in which they differ."""
    columns: dict[str, list[Any]] = {}
    for i, stage in enumerate(stages):
        for one in stage.lineage():
            for key, value in one.settings.items():
                name = key if key in SHARED else f"{one.kind}.{key}"
                columns.setdefault(name, [None] * len(stages))[i] = value
    words = [""] * len(stages)
    for name, values in columns.items():
        if any(value != values[0] for value in values):
            words = [
                f"{word}, {axis_name(name)} {short(value)}"
                for word, value in zip(words, values, strict=True)
            ]
    return words


def describe(stage: Stage) -> str:
    """A stage in words: what it does, by which methods, with which seed."""
    methods = [short_name(s.settings["method"]) for s in _steps(stage) if s.kind != "evaluate"]
    methods = methods or [str(stage.settings["model"])]
    tuned = next((s.settings for s in _steps(stage) if s.kind in ("screen", "finetune")), None)
    where = "" if tuned is None else _attack(tuned)
    return f"{_WORDS[stage.kind]} {' + '.join(methods)}{where}, seed {stage.settings['seed']}"


def _attack(settings: Mapping[str, Any]) -> str:
    """By what a fine-tuning is attacked: its share of harmful rows, and the attack's name."""
    name = settings.get("attack", MIXED)
    ratio = f", p = {settings['harmful_ratio']:g}" if ATTACKS[name].mixes else ""
    return ratio if name == MIXED else f"{ratio}, {name}"


def _steps(stage: Stage) -> list[Stage]:
    """The stages that it stands on and itself, screenings before what reads their rows."""
    return [one for s in stage.lineage() for one in (s.screened, s) if one is not None]
