"""``holdfast run … --plan``: what would run, what is shared, and what it would cost."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from holdfast.escape import terminal_text
from holdfast.estimate.estimate import Estimate, estimate_plan
from holdfast.models.accelerator import has_accelerator
from holdfast.stages.doubts import doubts
from holdfast.stages.folders import recorded_identity
from holdfast.stages.pipeline import Pipeline, Stage, all_stages, stage_folder

# Seconds on one core beyond which nobody waits for a processor: GPU hours are told then.
_LONG_ON_PROCESSOR = 200 * 3600
_WORDS = {"align": "alignment", "finetune": "fine-tuning", "repair": "repair"}


def print_plan(
    pipelines: Sequence[Pipeline], root: Path, console: Console, by_name: bool, heading: str = ""
) -> None:
    """Show the stages of a run by kind and method: how many, steps, time, memory.

    The time is GPU hours; minutes on one core for the organism, and for models that are small
    enough to run on a machine without a GPU where this is one.

    Args:
        pipelines: the pipelines of the run.
        root: its folder.
        console: where to show it.
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
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    titles = ["stage", "method", "stages", "pipelines each", "steps"]
    titles += ["minutes"] if organism else ["CPU minutes" if here else "GPU hours", "GiB"]
    if not by_name:
        titles.insert(3, "there")
    for title in titles:
        table.add_column(title, justify="left" if title in ("stage", "method") else "right")
    groups: dict[tuple[str, str], list[Stage]] = {}
    for stage in stages:
        groups.setdefault((stage.kind, _method(stage)), []).append(stage)
    for (kind, method), own in groups.items():
        found = [plan.stages[stage.identity] for stage in own]
        times = (
            [_told([one.core_seconds for one in found], 60)]
            if organism
            else [
                _told([one.core_seconds for one in found], 60)
                if here
                else _told([one.gpu_seconds for one in found], 3600),
                _range([_gib(one.peak_bytes) for one in found]),
            ]
        )
        table.add_row(
            _WORDS.get(kind, "evaluation"),
            terminal_text(method),
            str(len(own)),
            *([] if by_name else [str(sum(one.identity in there for one in own))]),
            _range([used[stage.identity] for stage in own]),
            _range([one.steps for one in found]),
            *times,
        )
    if heading:
        console.print(terminal_text(heading, style="bold"))
    console.print(table)
    total = used.total()
    lines = [
        f"{len(pipelines)} pipelines of {total} stages, {len(stages)} of them different: "
        f"{total - len(stages)} are shared.",
        *plan.notes,
        *([] if by_name else doubts(stages)),
        f"It would be written to {root}.",
    ]
    if organism:
        left = [one for identity, one in plan.stages.items() if identity not in there]
        rest = f", {_minutes(left)} of them left" if there else ""
        lines.insert(
            1,
            f"The organism needs no GPU: about {_minutes(plan.stages.values())} minutes on one core"
            f"{rest}, within a factor of two; --workers N takes N cores.",
        )
    elif here:
        lines.insert(
            1,
            f"No GPU here: about {_minutes(plan.stages.values())} minutes on one core of the "
            f"processor, within a factor of three, and {_gib(plan.peak_bytes)} GiB at most.",
        )
    else:
        hours = plan.gpu_seconds / 3600
        lines.insert(
            1,
            f"About {hours:,.0f} GPU hours on one A100 (80 GB) and {_gib(plan.peak_bytes)} GiB at "
            "most, within a factor of two.",
        )
    for line in lines:
        console.print(line, highlight=False, markup=False)


def is_there(stage: Stage, root: Path) -> bool:
    """Whether a run's folder holds a stage's result already."""
    return recorded_identity(stage_folder(root, stage)) == stage.identity


def _minutes(estimates: Iterable[Estimate]) -> str:
    minutes = sum(one.core_seconds or 0.0 for one in estimates) / 60
    return f"{minutes:,.0f}" if minutes >= 10 else f"{minutes:.1f}"


def _told(seconds: Sequence[float | None], unit: int) -> str:
    """The sum in a unit; a dash where a part of it is not known."""
    known = [one for one in seconds if one is not None]
    return f"{sum(known) / unit:.1f}" if len(known) == len(seconds) else "–"


def _method(stage: Stage) -> str:
    return str(stage.settings.get("method", stage.settings.get("protocol", "")))


def _gib(size: int | None) -> int | None:
    return None if size is None else round(size / 2**30)


def _range(values: Sequence[int | None]) -> str:
    known = sorted({value for value in values if value is not None})
    if not known or known == [0]:
        return "–"
    return f"{known[0]:,}" if len(known) == 1 else f"{known[0]:,} to {known[-1]:,}"
