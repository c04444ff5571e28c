"""The numbers of a comparison as a long table, for CSV and Parquet: one line a row and metric."""

import csv
import io
import math
from pathlib import Path
from typing import Any

from holdfast.report.metrics import known_metric
from holdfast.report.rows import Comparison
from holdfast.report.run import Run

_BUDGET = ("rows", "steps", "passes", "tokens", "tries", "seconds", "peak_memory_bytes")
_TYPES: dict[str, type] = {
    **dict.fromkeys(
        ("variant", "align", "screen", "finetune", "repair", "metric", "unit", "baseline"), str
    ),
    **dict.fromkeys(("value", "low", "high", "seconds"), float),
    **dict.fromkeys(("difference", "difference_low", "difference_high", "p", "p_holm"), float),
    **dict.fromkeys(("is_baseline", "best", "not_told_from_best"), bool),
    **dict.fromkeys(("seeds", "prompts", "difference_seeds", "peak_memory_bytes"), int),
    **dict.fromkeys(("rows", "steps", "passes", "tokens", "tries"), int),
}


def records(comparison: Comparison) -> list[dict[str, Any]]:
    """One record a row and metric, all with the same keys; what is not known is None.

    Axes are columns of their own names, with "axis." before a name that a column has already.
    """
    found = []
    for row in comparison.rows:
        axes = {
            (f"axis.{axis}" if axis in _TYPES else axis): row.axes.get(axis)
            for axis in comparison.axes
        }
        budget = {name: getattr(row.budget, name) for name in _BUDGET}
        methods = {"align": row.align, "screen": row.screen}
        methods |= {"finetune": row.finetune, "repair": row.repair}
        for name in comparison.metrics:
            cell = row.cells.get(name)
            if cell is None:
                continue
            difference = cell.difference
            found.append(
                {
                    "variant": row.variant,
                    **axes,
                    **methods,
                    "metric": name,
                    "unit": "percent" if known_metric(name).percent else None,
                    "value": cell.mean.value,
                    "low": cell.mean.low,
                    "high": cell.mean.high,
                    "seeds": cell.seeds,
                    "prompts": cell.mean.n,
                    "baseline": comparison.baseline or None,
                    "is_baseline": row.is_baseline,
                    "difference": difference.value if difference else None,
                    "difference_low": _end(difference.low) if difference else None,
                    "difference_high": _end(difference.high) if difference else None,
                    "difference_seeds": difference.seeds if difference else None,
                    "p": difference.p if difference else None,
                    "p_holm": difference.p_holm if difference else None,
                    "best": cell.best,
                    "not_told_from_best": cell.close,
                    **budget,
                }
            )
    return found


def _end(value: float) -> float | None:
    """The end of an interval; None where nothing is known of it, for files have no infinity."""
    return value if math.isfinite(value) else None


def content(run: Run, comparison: Comparison) -> dict[str, Any]:
    """A whole report for a program: the records, the worst cases, and what belongs to them."""
    return {
        "folder": run.root,
        "title": run.title,
        "made_by": run.command,
        "protocol": run.protocol,
        "baseline": comparison.baseline or None,
        "notes": [*run.notes, *comparison.notes, *comparison.budget_notes],
        "rows": records(comparison),
        "worst": [
            {
                "variant": one.variant,
                "axes": one.axes,
                "setting": one.setting,
                "value": one.estimate.value,
                "low": one.estimate.low,
                "high": one.estimate.high,
                "settings": one.settings,
                "seeds": one.seeds,
            }
            for one in comparison.worst
        ],
        "unfinished": [
            {"variant": one.variant, "axes": one.axes, "seed": one.seed, "state": one.state}
            for one in run.unfinished
        ],
        "failures": run.failures,
    }


def csv_text(comparison: Comparison) -> str:
    """The records as CSV with a header; numbers in full, None as an empty cell."""
    rows = records(comparison)
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]) if rows else ["variant"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def write_parquet(comparison: Comparison, path: Path) -> None:
    """The records as Parquet; an axis of numbers and texts is a column of texts."""
    import pyarrow
    from pyarrow import parquet

    rows = records(comparison)
    kinds = {str: pyarrow.string(), float: pyarrow.float64(), bool: pyarrow.bool_()}
    kinds[int] = pyarrow.int64()
    columns = {}
    for name in rows[0] if rows else []:
        values = [row[name] for row in rows]
        kind = _TYPES.get(name) or _kind(values)
        columns[name] = pyarrow.array(
            [None if value is None else kind(value) for value in values], kinds[kind]
        )
    parquet.write_table(pyarrow.table(columns), path)


def _kind(values: list[Any]) -> type:
    """The one type that an axis's values have; a text where they have several."""
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {int}:
        return int
    if kinds <= {int, float}:
        return float
    return bool if kinds == {bool} else str
