"""Rows against rows: each with its baseline, and with the best of its place."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from holdfast.errors import UserError
from holdfast.report.metrics import known_metric
from holdfast.report.rows import Cell, Comparison, Row
from holdfast.report.run import Result
from holdfast.settings import nearest
from holdfast.statistics.estimates import Difference, holm
from holdfast.statistics.intervals import difference_interval

ALPHA = 0.05


def baselines(rows: Sequence[Row], baseline: str | Mapping[str, Any] | None) -> dict[int, int]:
    """By row the index of its baseline: at the same values of all axes that the baseline has."""
    fixed: dict[str, Any] = {}
    if baseline is None:
        candidates = [i for i, row in enumerate(rows) if row.is_plain_sft]
    else:
        given = {"variant": baseline} if isinstance(baseline, str) else dict(baseline)
        fixed = {key: value for key, value in given.items() if key != "variant"}
        known = list(dict.fromkeys(row.variant for row in rows))
        if given.get("variant") not in known:
            close = nearest(str(given.get("variant")), known)
            hint = f"did you mean '{close}'? " if close else ""
            raise UserError(
                f"the run has no variant '{given.get('variant')}' to be the baseline; {hint}it has "
                f"{', '.join(known)}."
            )
        candidates = [
            i
            for i, row in enumerate(rows)
            if row.variant == given["variant"]
            and all(row.axes.get(axis) == value for axis, value in fixed.items())
        ]
        if not candidates:
            told = ", ".join(f"{axis} = {value}" for axis, value in fixed.items())
            raise UserError(f"the baseline '{given['variant']}' was not run at {told}.")
    names = list(dict.fromkeys(rows[i].variant for i in candidates))
    candidates = [i for i in candidates if rows[i].variant == names[0]] if names else []
    found = {}
    for i, row in enumerate(rows):
        for j in candidates:
            free = {axis: v for axis, v in rows[j].axes.items() if axis not in fixed}
            if i != j and all(axis in row.axes and row.axes[axis] == v for axis, v in free.items()):
                found[i] = j
                break
    return found


def with_differences(
    rows: Sequence[Row],
    members: Sequence[Sequence[Result]],
    bases: Mapping[int, int],
    names: Sequence[str],
    same: Mapping[str, bool],
) -> list[Row]:
    """The rows with their differences to the baseline, corrected by Holm within each metric."""
    cells: list[dict[str, Cell]] = [dict(row.cells) for row in rows]
    for name in names:
        found = {
            i: difference
            for i, j in bases.items()
            if name in cells[i]
            and (difference := _difference(members[i], members[j], name, same[name])) is not None
        }
        corrected = holm([difference.p for difference in found.values()])
        for (i, difference), p in zip(found.items(), corrected, strict=True):
            cells[i][name] = replace(cells[i][name], difference=replace(difference, p_holm=p))
    return [replace(row, cells=own) for row, own in zip(rows, cells, strict=True)]


def _difference(
    ours: Sequence[Result], theirs: Sequence[Result], name: str, same: bool
) -> Difference | None:
    """Ours minus theirs over the seeds that both have; None where there are none."""
    other = {result.seed: result for result in theirs if name in result.metrics}
    pairs = [(r, other[r.seed]) for r in ours if name in r.metrics and r.seed in other]
    if not pairs:
        return None
    values = [a.metrics[name].value - b.metrics[name].value for a, b in pairs]
    percent = known_metric(name).percent
    by_prompt = [_by_prompt(a, b, name) for a, b in pairs]
    return difference_interval(values, by_prompt, same, percent)


def _by_prompt(a: Result, b: Result, name: str) -> np.ndarray | None:
    """The differences prompt by prompt; None where the two were asked different ones."""
    ours, theirs = a.outcomes.get(name), b.outcomes.get(name)
    if ours is None or theirs is None or ours.shape != theirs.shape:
        return None
    if a.prompts.get(name) != b.prompts.get(name):
        return None
    return ours - theirs


def ranked(
    rows: Sequence[Row],
    members: Sequence[Sequence[Result]],
    comparison: Comparison,
    same: Mapping[str, bool],
) -> list[Row]:
    """The rows with the best of each place marked, and what cannot be told from it."""
    cells: list[dict[str, Cell]] = [dict(row.cells) for row in rows]
    places: dict[Any, list[int]] = {}
    for i, row in enumerate(rows):
        places.setdefault(repr(comparison.place(row)), []).append(i)
    for name in comparison.metrics:
        better = known_metric(name).better
        if better is None:
            continue
        for place in places.values():
            there = [i for i in place if name in rows[i].cells]
            if len(there) < 2:
                continue
            values = {i: rows[i].cells[name].mean.value for i in there}
            top = min(values.values()) if better == "lower" else max(values.values())
            best = [i for i in there if values[i] == top]
            if len(best) == len(there):
                continue  # a mark on every row says nothing
            others = [i for i in there if i not in best]
            found = [_difference(members[i], members[best[0]], name, same[name]) for i in others]
            corrected = holm([d.p if d is not None else 1.0 for d in found])
            for i in best:
                cells[i][name] = replace(cells[i][name], best=True)
            for i, p in zip(others, corrected, strict=True):
                cells[i][name] = replace(cells[i][name], close=p >= ALPHA)
    return [replace(row, cells=own) for row, own in zip(rows, cells, strict=True)]
