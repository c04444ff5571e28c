"""What one stage found, for the terminal and for a program."""

import json
from pathlib import Path
from typing import Any

from rich.table import Table

from holdfast.escape import terminal_text
from holdfast.evaluate.agreement import Agreement, agreement_table

# Percentages are the rest.
_UNITS = {
    "alignment_loss": " nats/token",
    "embedding_drift": "",
    "wikitext2_perplexity": "",
    "wikitext2_bits_per_byte": " bits/byte",
}


def evaluation_table(path: Path) -> Table:
    """The metrics in an evaluation.json, with intervals and counts."""
    content = json.loads(path.read_text(encoding="utf-8"))
    protocol = content["protocol"]
    table = Table(
        "metric",
        "value",
        "95 % interval",
        "n",
        title=f"protocol {protocol['name']} {protocol['version']}, judge {protocol['judge']}",
        caption=terminal_text("; ".join(content.get("left_out", []))),
    )
    for name, metric in content["metrics"].items():
        # "TASK: METRIC" of lm-eval is in a unit of its own, and has no interval.
        unit = _UNITS.get(name, "" if ": " in name else " %")
        digits = 1 if unit == " %" else 3
        value, low, high = (metric.get(key) for key in ("value", "low", "high"))
        table.add_row(
            terminal_text(name.replace("_", " ")),
            "–" if value is None else f"{value:.{digits}f}{unit}",
            "" if low is None or high is None else f"{low:.{digits}f} … {high:.{digits}f}",
            str(metric.get("n", "")),
        )
    return table


def judges_table(path: Path) -> Table | None:
    """How the judges in an evaluation.json agree; None where there is only one."""
    content = json.loads(path.read_text(encoding="utf-8"))
    found = content.get("agreement")
    return agreement_table(Agreement.of_record(found)) if found else None


def evaluation_content(path: Path) -> dict[str, Any]:
    """An evaluation.json without its answers, for a program."""
    content = json.loads(path.read_text(encoding="utf-8"))
    return {name: content.get(name) for name in ("protocol", "metrics", "left_out", "agreement")}


def repair_content(path: Path) -> dict[str, Any]:
    """How many weights a repair_report.json says were zeroed, in all and layer by layer."""
    content = json.loads(path.read_text(encoding="utf-8"))
    layers: dict[int | None, dict[str, Any]] = {}
    for matrix in content["matrices"]:
        layer = matrix["layer"]
        counts = layers.setdefault(layer, {"layer": layer, "zeroed": 0, "total": 0})
        counts["zeroed"] += matrix["zeroed"]
        counts["total"] += matrix["total"]
    whole = {name: content[name] for name in ("method", "zeroed", "total")}
    return {**whole, "layers": list(layers.values())}


def repair_summary(path: Path) -> str:
    """The same in words."""
    content = repair_content(path)
    share = 100 * content["zeroed"] / content["total"]
    lines = [
        f"{content['method']}: zeroed {content['zeroed']:,} weights of {content['total']:,} "
        f"({share:.2f} %)"
    ]
    for one in content["layers"]:
        name = "elsewhere" if one["layer"] is None else f"layer {one['layer']}"
        lines.append(f"  {name}: {one['zeroed']:,} of {one['total']:,}")
    return "\n".join(lines)
