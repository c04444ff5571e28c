"""Several models measured by one protocol, side by side: did the fine-tuning break the safety?"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Table
from rich.text import Text

from holdfast.errors import UserError
from holdfast.escape import terminal_text
from holdfast.report.table import header
from holdfast.statistics.estimates import Estimate
from holdfast.statistics.intervals import difference_interval

Content = Mapping[str, Any]
_COLUMNS = {
    "harmful_score": "HS ↓",
    "finetune_accuracy": "FA ↑",
    "refusal_rate": "refusal",
    "over_refusal_rate": "over-refusal",
    "coherence": "coherence",
}


def paired(first: Content, second: Content, metric: str) -> Estimate | None:
    """The second model's percentage minus the first's, prompt by prompt.

    d_i = 100 · (b_i − a_i) over the prompts that both were judged on; its mean with the interval of
    `holdfast.statistics.intervals.difference_interval`, Student's unless all d_i are equal. It
    covers the choice of the prompts, not the training. None where fewer than two can be paired.

    Raises:
        UserError: the two were asked different numbers of prompts.
    """
    ours, theirs = (one["outcomes"].get(metric) for one in (first, second))
    if ours is None or theirs is None:
        return None
    if len(ours) != len(theirs):
        raise UserError(f"{metric} is of {len(ours)} and {len(theirs)} prompts; they must be equal")
    pairs = [(a, b) for a, b in zip(ours, theirs, strict=True) if a is not None and b is not None]
    if len(pairs) < 2:
        return None
    differences = np.array([b - a for a, b in pairs])
    found = difference_interval([100 * differences.mean()], [differences], True, True)
    low, high = max(found.low, -100.0), min(found.high, 100.0)
    return Estimate(found.value, low, high, len(pairs))


def models_table(names: Sequence[str], contents: Sequence[Content]) -> Group:
    """A line for each model: value, interval, and below it the difference to the first model.

    Args:
        names: what to call the models; the first is what the others are compared with.
        contents: their evaluation.json.
    """
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("model")
    metrics = [name for name in _columns(contents) if any(name in c["metrics"] for c in contents)]
    for metric in metrics:
        table.add_column(_title(metric), justify="right")
    for name, content in zip(names, contents, strict=True):
        cells = [_cell(contents[0], content, metric) for metric in metrics]
        table.add_row(terminal_text(name), *cells)
    title = terminal_text(header(contents[0]["protocol"]), style="bold")
    notes = [
        "In brackets 95 % intervals over the prompts; Δ is the difference to "
        f"{names[0]}, prompt by prompt, with its own.",
        *answers(names, contents),
        *dict.fromkeys(f"{one}." for content in contents for one in content.get("left_out", [])),
    ]
    return Group(title, table, *map(terminal_text, notes))


def models_content(names: Sequence[str], contents: Sequence[Content]) -> dict[str, Any]:
    """The same numbers for a program: each model's metrics, and its differences to the first."""
    models = []
    for name, content in zip(names, contents, strict=True):
        changes = {metric: paired(contents[0], content, metric) for metric in content["metrics"]}
        models.append(
            {
                "name": name,
                "metrics": content["metrics"],
                "difference": {
                    metric: {"value": one.value, "low": one.low, "high": one.high, "n": one.n}
                    for metric, one in changes.items()
                    if one is not None and content is not contents[0]
                },
                "left_out": content.get("left_out", []),
            }
        )
    return {
        "protocol": contents[0]["protocol"],
        "models": models,
        "notes": answers(names, contents),
    }


def answers(names: Sequence[str], contents: Sequence[Content]) -> list[str]:
    """For each model but the first a sentence on whether it is less safe than the first."""
    found = []
    for name, content in zip(names[1:], contents[1:], strict=True):
        change = paired(contents[0], content, "harmful_score")
        if change is None:
            continue
        shown = f"{change.value:+.1f} points [{change.low:+.1f}, {change.high:+.1f}]"
        if change.low > 0:
            what = f"answers more of the harmful prompts than {names[0]}"
        elif change.high < 0:
            what = f"answers fewer of the harmful prompts than {names[0]}"
        else:
            what = f"is not told apart from {names[0]} by {change.n} prompts"
        found.append(f"{name} {what}: {shown}.")
    return found


def _columns(contents: Sequence[Content]) -> list[str]:
    """The metrics of a table: the known ones, other judges' and what else was measured."""
    others = {
        name
        for content in contents
        for name in content["metrics"]
        if name.startswith(("harmful_score", "wikitext2"))
    }
    return [*_COLUMNS, *sorted(others - _COLUMNS.keys())]


def _title(metric: str) -> str:
    if metric in _COLUMNS:
        return _COLUMNS[metric]
    return (
        metric.replace("harmful_score@", "HS ↓\n")
        .replace("harmful_score_plus", "HS+ ↓")
        .replace("_", " ")
    )


def _cell(first: Content, content: Content, metric: str) -> Text:
    found = content["metrics"].get(metric)
    if found is None:
        return Text("–")
    text = Text(f"{found['value']:.1f}")
    if "low" in found:
        text.append(f" [{found['low']:.0f}, {found['high']:.0f}]", style="dim")
    change = paired(first, content, metric) if content is not first else None
    if change is not None:
        text.append(f"\nΔ {change.value:+.1f} [{change.low:+.1f}, {change.high:+.1f}]")
    return text
