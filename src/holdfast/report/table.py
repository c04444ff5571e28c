"""The comparison as a table, for the terminal and in Markdown."""

import math
from collections.abc import Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from holdfast.report.escape import markdown_text, terminal_text
from holdfast.report.results import Pipeline, display_name, pipelines
from holdfast.report.statistics import Estimate

_METHODS = ("align", "fine-tune", "repair", "p")
_METRICS = {
    "harmful_score": "HS ↓",
    "finetune_accuracy": "FA ↑",
    "refusal_rate": "refusal",
    "over_refusal_rate": "over-refusal",
    "coherence": "coherence",
}


def comparison_table(results: Mapping[str, Any]) -> Table:
    """One line per pipeline, seeds brought together: mean and, below it, the 95 % interval.

    Args:
        results: what results.json holds.

    Raises:
        UserError: as `holdfast.report.results.read_results`.
    """
    rows = pipelines(results)
    table = Table(
        title=terminal_text(header(results)),
        caption=Text("\n").join(map(terminal_text, footnotes(results, rows))),
        caption_justify="left",
        title_justify="left",
        box=SIMPLE_HEAD,
        padding=0,
    )
    axes = _axes(rows)
    for name in _METHODS:
        table.add_column(name, justify="right" if name == "p" else "left", min_width=len(name))
    for name in axes:
        table.add_column(Text(".\n").join(map(terminal_text, name.split("."))), justify="right")
    for name in (*_METRICS.values(), "seconds"):
        table.add_column(_header(name), justify="right", no_wrap=True)
    for row in rows:
        names = map(terminal_text, [*_names(row), *_places(row, axes)])
        values = (_two_lines(row.metrics.get(name)) for name in _METRICS)
        table.add_row(*names, *values, _seconds(row))
    return table


def markdown_table(results: Mapping[str, Any]) -> str:
    """The same table in Markdown, with its header line and footnotes.

    Raises:
        UserError: as `comparison_table`.
    """
    rows = pipelines(results)
    axes = _axes(rows)
    titles = [*_METHODS, *map(markdown_text, axes), *_METRICS.values(), "seconds"]
    lines = [markdown_text(header(results)), ""]
    lines.append("| " + " | ".join(titles) + " |")
    lines.append("|" + "---|" * 3 + "---:|" * (len(titles) - 3))
    for row in rows:
        names = [markdown_text(name) for name in [*_names(row), *_places(row, axes)]]
        values = [_interval(row.metrics.get(name)) for name in _METRICS]
        lines.append("| " + " | ".join([*names, *values, _seconds(row)]) + " |")
    lines += ["", *(f"{markdown_text(note)}  " for note in footnotes(results, rows))]
    return "\n".join(lines).rstrip() + "\n"


def header(results: Mapping[str, Any]) -> str:
    """The protocol in a line: name, version, how many prompts, judge."""
    protocol = results["protocol"]
    counts = {"n_harmful": "harmful", "n_benign": "benign", "n_task": "task"}
    parts = [f"protocol {protocol['name']} (version {protocol['version']})"]
    known = [f"{protocol[key]} {name}" for key, name in counts.items() if key in protocol]
    if known:
        parts.append("n = " + " + ".join(known) + " prompts")
    if "judge" in protocol:
        parts.append(f"judge: {protocol['judge']}")
    return " · ".join(parts)


def footnotes(results: Mapping[str, Any], rows: list[Pipeline]) -> list[str]:
    """What the intervals cover, and where budgets differ."""
    seeds = sorted({row.seeds for row in rows})
    if seeds == [1]:
        notes = ["One seed: the 95 % intervals cover the choice of prompts only, not the training."]
    else:
        count = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
        notes = [f"Mean of {count} seeds; the 95 % intervals cover seeds and prompts."]
        if seeds[0] == 1:
            notes.append("Where there is one seed they cover the prompts only.")
    notes += _budget_notes(results)
    return notes


def _budget_notes(results: Mapping[str, Any]) -> list[str]:
    """One line on every entry of the records' "budget" that is not the same in all of them."""
    budgets = [record["budget"] for record in results["records"] if record.get("budget")]
    names = sorted({name for budget in budgets for name in budget})
    notes = []
    for name in names:
        values = sorted({budget[name] for budget in budgets if name in budget})
        if len(values) > 1:
            notes.append(f"Budgets differ: {name} from {values[0]:,} to {values[-1]:,}.")
    return notes


def _names(row: Pipeline) -> list[str]:
    names = ["–" if m is None else display_name(m) for m in (row.align, row.finetune, row.repair)]
    if row.variant:
        # Beside the last method of the pipeline, which is what a variant varies.
        methods = (row.align, row.finetune, row.repair)
        last = max((i for i, m in enumerate(methods) if m is not None), default=0)
        names[last] += f" ({row.variant})"
    return [*names, "–" if row.harmful_ratio is None else f"{row.harmful_ratio:g}"]


def _axes(rows: list[Pipeline]) -> list[str]:
    """The axes of the study, in the order of the rows."""
    return list(dict.fromkeys(axis for row in rows for axis, _ in row.axes))


def _places(row: Pipeline, axes: list[str]) -> list[str]:
    values = dict(row.axes)
    return [_short(values[axis]) if axis in values else "–" for axis in axes]


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _interval(estimate: Estimate | None) -> str:
    if estimate is None:
        return "–"
    if estimate.low == estimate.high:  # a bare number in results.json
        return f"{estimate.value:.1f}"
    return f"{estimate.value:.1f} [{estimate.low:.1f}, {estimate.high:.1f}]"


def _two_lines(estimate: Estimate | None) -> Text:
    """The value, and below it the interval in whole percents, rounded outwards."""
    if estimate is None:
        return Text("–")
    text = Text(f"{estimate.value:.1f}")
    if estimate.low < estimate.high:
        text.append(f"\n{math.floor(estimate.low)}–{math.ceil(estimate.high)}", style="dim")
    return text


def _seconds(row: Pipeline) -> str:
    return "–" if row.seconds is None else f"{row.seconds:.1f}"


def _header(name: str) -> str:
    """A column's title; the long one in two lines, so that a line of 80 characters is enough."""
    return name.replace("over-", "over-\n")
