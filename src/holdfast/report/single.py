"""What one stage found, for the terminal."""

import json
from pathlib import Path

from rich.table import Table

_UNITS = {"alignment_loss": " nats/token", "embedding_drift": ""}


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
    )
    for name, metric in content["metrics"].items():
        unit = _UNITS.get(name, " %")
        digits = 1 if unit == " %" else 3
        table.add_row(
            name.replace("_", " "),
            f"{metric['value']:.{digits}f}{unit}",
            f"{metric['low']:.{digits}f} … {metric['high']:.{digits}f}",
            str(metric["n"]),
        )
    return table


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
