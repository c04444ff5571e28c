"""``holdfast run … --plan``: what would run, what is shared, and what it would cost."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from holdfast.report.escape import terminal_text
from holdfast.studies.engine import stage_folder
from holdfast.studies.estimate import estimate_plan
from holdfast.studies.folders import recorded_identity
from holdfast.studies.plan import Pipeline, Stage, all_stages

_WORDS = {"align": "alignment", "finetune": "fine-tuning", "repair": "repair"}


def print_plan(
    pipelines: Sequence[Pipeline], root: Path, console: Console, by_name: bool, heading: str = ""
) -> None:
    """Show the stages of a run by kind and method: how many, steps, GPU hours, memory.

    Args:
        pipelines: the pipelines of the run.
        root: its folder.
        console: where to show it.
        by_name: the stages are identified by names alone, so nobody knows which are there already.
        heading: what part of a run it is; "" for all of it.
    """
    stages = all_stages(pipelines)
    plan = estimate_plan(stages)
    used = Counter(s.identity for p in pipelines for s in p.stages.values())
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    titles = ["stage", "method", "stages", "pipelines each", "steps", "GPU hours", "GiB"]
    if not by_name:
        titles.insert(3, "there")
    for title in titles:
        table.add_column(title, justify="left" if title in ("stage", "method") else "right")
    groups: dict[tuple[str, str], list[Stage]] = {}
    for stage in stages:
        groups.setdefault((stage.kind, _method(stage)), []).append(stage)
    for (kind, method), own in groups.items():
        found = [plan.stages[stage.identity] for stage in own]
        seconds = [one.gpu_seconds for one in found]
        known = [one for one in seconds if one is not None]
        table.add_row(
            _WORDS.get(kind, "evaluation"),
            terminal_text(method),
            str(len(own)),
            *([] if by_name else [str(_there(own, root))]),
            _range([used[stage.identity] for stage in own]),
            _range([one.steps for one in found]),
            f"{sum(known) / 3600:.1f}" if len(known) == len(seconds) else "–",
            _range([_gib(one.peak_bytes) for one in found]),
        )
    if heading:
        console.print(terminal_text(heading, style="bold"))
    console.print(table)
    total = used.total()
    lines = [
        f"{len(pipelines)} pipelines of {total} stages, {len(stages)} of them different: "
        f"{total - len(stages)} are shared.",
        *plan.notes,
        f"It would be written to {root}.",
    ]
    if all(stage.stack.is_organism for stage in stages):
        lines.insert(1, "The organism needs no GPU: some seconds a stage, on one core each.")
    else:
        hours = plan.gpu_seconds / 3600
        lines.insert(
            1,
            f"About {hours:,.0f} GPU hours on one A100 (80 GB) and {_gib(plan.peak_bytes)} GiB at "
            "most, within a factor of two.",
        )
    for line in lines:
        console.print(line, highlight=False, markup=False)


def _there(stages: Sequence[Stage], root: Path) -> int:
    return sum(recorded_identity(stage_folder(root, s)) == s.identity for s in stages)


def _method(stage: Stage) -> str:
    return str(stage.settings.get("method", stage.settings.get("protocol", "")))


def _gib(size: int | None) -> int | None:
    return None if size is None else round(size / 2**30)


def _range(values: Sequence[int | None]) -> str:
    known = sorted({value for value in values if value is not None})
    if not known or known == [0]:
        return "–"
    return f"{known[0]:,}" if len(known) == 1 else f"{known[0]:,} to {known[-1]:,}"
