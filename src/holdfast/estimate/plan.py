"""``holdfast run … --plan``: what would run, what is shared, and what it would cost."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rich.box import SIMPLE_HEAD
from rich.console import RenderableType
from rich.table import Table

from holdfast.escape import terminal_text
from holdfast.estimate.estimate import Estimate, PlanEstimate, estimate_plan
from holdfast.models.accelerator import has_accelerator
from holdfast.stages.doubts import doubts
from holdfast.stages.folders import recorded_identity
from holdfast.stages.pipeline import Pipeline, Stage, all_stages, stage_folder

# Seconds on one core beyond which nobody waits for a processor: GPU hours are told then.
_LONG_ON_PROCESSOR = 200 * 3600
_WORDS = {"align": "alignment", "screen": "screening", "finetune": "fine-tuning"}
_WORDS["repair"] = "repair"


@dataclass(frozen=True)
class Planned:
    """What a run would do and cost.

    Args:
        heading: what part of a run it is; "" for all of it.
        pipelines: how many pipelines.
        stages: how many stages are different.
        shared: how many stages of the pipelines are another pipeline's too, and run only there.
        groups: the stages by kind and method.
        unit: what time is told in: "organism" (minutes on a core), "processor" or "gpu".
        by_name: nobody knows which stages are there already.
        estimate: what all of it costs.
        left_seconds: on one core, of the stages that are not there yet.
        notes: sentences on what the estimate does not know, and what may not be meant.
    """

    heading: str
    pipelines: int
    stages: int
    shared: int
    groups: list["Group"]
    unit: Literal["organism", "processor", "gpu"]
    by_name: bool
    estimate: PlanEstimate
    left_seconds: float
    notes: list[str]

    def content(self) -> dict[str, Any]:
        """It all for a program."""
        return {
            "heading": self.heading or None,
            "pipelines": self.pipelines,
            "stages": self.stages,
            "shared": self.shared,
            "runs_on": self.unit,
            "gpu_seconds": None if self.unit != "gpu" else self.estimate.gpu_seconds,
            "core_seconds": None if self.unit == "gpu" else self.estimate.core_seconds,
            "peak_bytes": self.estimate.peak_bytes or None,
            "groups": [group.content(self) for group in self.groups],
            "notes": self.notes,
        }


@dataclass(frozen=True)
class Group:
    """The stages of one kind and method.

    Args:
        kind, method: what they are.
        used: in how many pipelines each of them is.
        there: how many are there already.
        estimates: what each costs.
    """

    kind: str
    method: str
    used: list[int]
    there: int
    estimates: list[Estimate]

    def content(self, plan: Planned) -> dict[str, Any]:
        """It for a program; what is not known is None."""
        on_gpu = plan.unit == "gpu"
        return {
            "kind": self.kind,
            "method": self.method,
            "stages": len(self.used),
            "there": None if plan.by_name else self.there,
            "pipelines_each": _ends(self.used),
            "steps": _ends([one.steps for one in self.estimates]),
            "gpu_seconds": _sum([one.gpu_seconds for one in self.estimates]) if on_gpu else None,
            "core_seconds": None if on_gpu else _sum([one.core_seconds for one in self.estimates]),
            "peak_bytes": max((one.peak_bytes or 0 for one in self.estimates), default=0) or None,
        }

    def cells(self, plan: Planned) -> list[str]:
        """It as a line of the table."""
        on_gpu = plan.unit == "gpu"
        seconds = [one.gpu_seconds if on_gpu else one.core_seconds for one in self.estimates]
        time = _sum(seconds)
        cells = [_WORDS.get(self.kind, "evaluation"), self.method, str(len(self.used))]
        cells += [] if plan.by_name else [str(self.there)]
        cells += [_range(self.used), _range([one.steps for one in self.estimates])]
        cells += ["–" if time is None else f"{time / (3600 if on_gpu else 60):.1f}"]
        if plan.unit != "organism":
            cells.append(_range([_gib(one.peak_bytes) for one in self.estimates]))
        return cells


def plan_of(pipelines: Sequence[Pipeline], root: Path, by_name: bool, heading: str = "") -> Planned:
    """The stages of a run by kind and method: how many, steps, time, memory.

    The time is GPU hours; minutes on one core for the organism, and for models that are small
    enough to run on a machine without a GPU where this is one.

    Args:
        pipelines: the pipelines of the run.
        root: its folder.
        by_name: the stages are identified by names alone, so nobody knows which are there already.
        heading: what part of a run it is; "" for all of it.
    """
    stages = all_stages(pipelines)
    plan = estimate_plan(stages)
    organism = all(stage.stack.is_organism for stage in stages)
    here = not organism and not has_accelerator() and 0 < plan.core_seconds < _LONG_ON_PROCESSOR
    if here:
        plan = estimate_plan(stages, on_processor=True)
    there = set() if by_name else {one.identity for one in stages if is_there(one, root)}
    used = Counter(s.identity for p in pipelines for s in p.stages.values())
    members: dict[tuple[str, str], list[Stage]] = {}
    for stage in stages:
        members.setdefault((stage.kind, _method(stage)), []).append(stage)
    groups = [
        Group(
            kind,
            method,
            [used[stage.identity] for stage in own],
            sum(stage.identity in there for stage in own),
            [plan.stages[stage.identity] for stage in own],
        )
        for (kind, method), own in members.items()
    ]
    left = [one.core_seconds or 0.0 for i, one in plan.stages.items() if i not in there]
    return Planned(
        heading,
        len(pipelines),
        len(stages),
        used.total() - len(stages),
        groups,
        "organism" if organism else "processor" if here else "gpu",
        by_name,
        plan,
        sum(left),
        [*plan.notes, *([] if by_name else doubts(stages))],
    )


def shown_plan(plan: Planned, root: Path) -> list[RenderableType]:
    """A plan for a reader.

    Args:
        plan: the plan.
        root: the folder of the run.
    """
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    titles = ["stage", "method", "stages", "pipelines each", "steps"]
    titles += {
        "organism": ["minutes"],
        "processor": ["CPU minutes", "GiB"],
        "gpu": ["GPU hours", "GiB"],
    }[plan.unit]
    if not plan.by_name:
        titles.insert(3, "there")
    for title in titles:
        table.add_column(title, justify="left" if title in ("stage", "method") else "right")
    for group in plan.groups:
        table.add_row(*map(terminal_text, group.cells(plan)))
    lines = [
        f"{plan.pipelines} pipelines of {plan.stages + plan.shared} stages, {plan.stages} of them "
        f"different: {plan.shared} are shared.",
        _cost(plan),
        *plan.notes,
        f"It would be written to {root}.",
    ]
    heading = [terminal_text(plan.heading, style="bold")] if plan.heading else []
    return [*heading, table, *map(terminal_text, lines)]


def _cost(plan: Planned) -> str:
    """What it costs, in a sentence."""
    whole, memory = plan.estimate, _gib(plan.estimate.peak_bytes)
    if plan.unit == "organism":
        is_some = any(group.there for group in plan.groups)
        rest = f", {_minutes(plan.left_seconds)} of them left" if is_some else ""
        return (
            f"The organism needs no GPU: about {_minutes(whole.core_seconds)} minutes on one core"
            f"{rest}, within a factor of two; --workers N takes N cores."
        )
    if plan.unit == "processor":
        return (
            f"No GPU here: about {_minutes(whole.core_seconds)} minutes on one core of the "
            f"processor, within a factor of three, and {memory} GiB at most."
        )
    return (
        f"About {whole.gpu_seconds / 3600:,.0f} GPU hours on one A100 (80 GB) and {memory} GiB at "
        "most, within a factor of two."
    )


def is_there(stage: Stage, root: Path) -> bool:
    """Whether a run's folder holds a stage's result already."""
    return recorded_identity(stage_folder(root, stage)) == stage.identity


def _minutes(seconds: float) -> str:
    minutes = seconds / 60
    return f"{minutes:,.0f}" if minutes >= 10 else f"{minutes:.1f}"


def _sum(values: Sequence[float | None]) -> float | None:
    """The sum; None where a part of it is not known."""
    known = [one for one in values if one is not None]
    return sum(known) if len(known) == len(values) else None


def _method(stage: Stage) -> str:
    return str(stage.settings.get("method", stage.settings.get("protocol", "")))


def _gib(size: int | None) -> int | None:
    return None if size is None else round(size / 2**30)


def _ends(values: Sequence[int | None]) -> list[int] | None:
    """The least and the most that is known; None where nothing is."""
    known = [value for value in values if value is not None]
    return [min(known), max(known)] if known else None


def _range(values: Sequence[int | None]) -> str:
    ends = _ends(values)
    if ends is None or ends == [0, 0]:
        return "–"
    return f"{ends[0]:,}" if ends[0] == ends[1] else f"{ends[0]:,} to {ends[1]:,}"
