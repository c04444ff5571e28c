"""``holdfast run … --plan``: what would run, what is shared, and what it would cost."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from holdfast.report.escape import terminal_text
from holdfast.studies.estimate import Estimate, estimate_stage
from holdfast.studies.model_size import ModelSize, model_size
from holdfast.studies.plan import Pipeline, Stage, all_stages
from holdfast.studies.stages import KINDS

_WORDS = {"align": "alignment", "finetune": "fine-tuning", "repair": "repair"}


def print_plan(pipelines: Sequence[Pipeline], root: Path, console: Console) -> None:
    """Show the stages of a run by kind and method: how many, steps, GPU hours, memory."""
    stages = all_stages(pipelines)
    used = Counter(s.identity for p in pipelines for s in p.stages.values())
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for title in ("stage", "method", "stages", "pipelines each", "steps", "GPU hours", "GiB"):
        table.add_column(title, justify="left" if title in ("stage", "method") else "right")
    sizes: dict[str, ModelSize | None] = {}
    unknown: set[str] = set()
    hours = 0.0
    for kind in KINDS:
        methods = dict.fromkeys(_method(s) for s in stages if s.kind == kind)
        for method in methods:
            own = [s for s in stages if s.kind == kind and _method(s) == method]
            found = [_estimate(stage, sizes) for stage in own]
            unknown |= {one.unknown for one in found if one.unknown}
            spent = [one.gpu_seconds for one in found if one.gpu_seconds is not None]
            hours += sum(spent) / 3600
            shared = sorted({used[s.identity] for s in own})
            table.add_row(
                _WORDS.get(kind, "evaluation"),
                terminal_text(method),
                str(len(own)),
                f"{shared[0]}" if len(shared) == 1 else f"{shared[0]} to {shared[-1]}",
                _range([one.steps for one in found]),
                "–" if len(spent) < len(found) else f"{sum(spent) / 3600:.1f}",
                _range([_gib(one.peak_bytes) for one in found]),
            )
    console.print(table)
    total = sum(used.values())
    console.print(
        f"{len(pipelines)} pipelines of {total} stages, {len(stages)} of them different: "
        f"{total - len(stages)} are shared.",
        highlight=False,
    )
    if all(stage.stack.is_organism for stage in stages):
        console.print("The organism needs no GPU: seconds a stage, on one core each.")
    else:
        console.print(
            f"About {hours:.0f} GPU hours on one A100 (80 GB), within a factor of two; see "
            "holdfast.studies.estimate for how that is told.",
            highlight=False,
        )
    for reason in sorted(unknown):
        console.print(f"Not in it: {reason}.", highlight=False)
    console.print(f"It would be written to {root}.", highlight=False, markup=False)


def _method(stage: Stage) -> str:
    return str(stage.settings.get("method", stage.settings.get("protocol", "")))


def _estimate(stage: Stage, sizes: dict[str, ModelSize | None]) -> Estimate:
    base = stage.stack.base
    if base not in sizes:
        sizes[base] = model_size(base)
    return estimate_stage(stage.kind, stage.settings, sizes[base], organism=stage.stack.is_organism)


def _gib(size: int | None) -> int | None:
    return None if size is None else round(size / 2**30)


def _range(values: Sequence[int | None]) -> str:
    known = sorted({value for value in values if value is not None})
    if not known or known == [0]:
        return "–"
    return f"{known[0]:,}" if len(known) == 1 else f"{known[0]:,} to {known[-1]:,}"
