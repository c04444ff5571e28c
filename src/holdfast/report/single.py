"""What one stage found, for the terminal."""

import json
from pathlib import Path

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


def repair_summary(path: Path) -> str:
    """How many weights a repair_report.json says were zeroed, in all and layer by layer."""
    content = json.loads(path.read_text(encoding="utf-8"))
    layers: dict[object, list[int]] = {}
    for matrix in content["matrices"]:
        counts = layers.setdefault(matrix["layer"], [0, 0])
        counts[0] += matrix["zeroed"]
        counts[1] += matrix["total"]
    share = 100 * content["zeroed"] / content["total"]
    lines = [
        f"{content['method']}: zeroed {content['zeroed']:,} weights of {content['total']:,} "
        f"({share:.2f} %)"
    ]
    lines += [
        f"  {'elsewhere' if layer is None else f'layer {layer}'}: {zeroed:,} of {total:,}"
        for layer, (zeroed, total) in layers.items()
    ]
    return "\n".join(lines)
