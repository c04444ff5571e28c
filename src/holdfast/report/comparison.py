"""A run's folder as numbers: means, differences to a baseline, what is best, what may be said.

`read_run` reads the folder, `compare` computes. Every table, page and picture of a report shows
these numbers and computes none of its own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from holdfast.errors import UserError
from holdfast.report.intervals import difference_interval, mean_interval
from holdfast.report.metrics import known_metric
from holdfast.report.run import Budget, Result, Run, Unfinished, read_run, run_of
from holdfast.report.statistics import Difference, Estimate, holm

__all__ = [
    "Budget",
    "Cell",
    "Comparison",
    "Difference",
    "Estimate",
    "Result",
    "Row",
    "Run",
    "Unfinished",
    "compare",
    "read_run",
    "run_of",
]

ALPHA = 0.05


@dataclass(frozen=True)
class Cell:
    """One metric of one row.

    Args:
        mean: Over seeds and prompts, with its 95 % interval.
        seeds: How many seeds are in it.
        difference: This row minus its baseline, paired over seeds and prompts; None for the
            baseline itself and where it has no counterpart. `Difference.p` is its p-value,
            `Difference.p_holm` the one corrected for all rows of the table.
        best: No row of the same place of the axes is better.
        close: Not distinguishable from the best row by its own paired difference to it, corrected
            for the rows of the place (Holm, 5 %); always False for the best row itself.
    """

    mean: Estimate
    seeds: int
    difference: Difference | None = None
    best: bool = False
    close: bool = False


@dataclass(frozen=True)
class Row:
    """One place of the grid: a variant and its axes, all seeds together.

    Args:
        variant: The variant's name.
        axes: Its value of every axis that it has.
        align, finetune, repair: Its methods.
        seeds: Its seeds, in order.
        cells: By metric.
        budget: Means over the seeds; the peak is the largest.
        is_baseline: Whether others are compared with it.
    """

    variant: str
    axes: dict[str, Any]
    align: str | None
    finetune: str | None
    repair: str | None
    seeds: tuple[int, ...]
    cells: dict[str, Cell]
    budget: Budget
    is_baseline: bool = False

    @property
    def is_plain_sft(self) -> bool:
        """Whether no defense is in it."""
        return (self.align, self.finetune, self.repair) == ("sft", "sft", None)


@dataclass(frozen=True)
class Comparison:
    """What `compare` found.

    Args:
        rows: In the study's order.
        axes: The names of all axes, in the study's order.
        shared: Those of `axes` that all fine-tuned variants have: rows are best, and compared,
            within one place of these. The others (such as align.rho) are a variant's own.
        metrics: The names of all metrics, the first ones those of every table.
        baseline: The baseline's name; "" where the run has none.
        notes: Plain sentences that belong below every table: what the intervals cover, too few
            seeds, what the baseline is.
    """

    rows: list[Row]
    axes: list[str]
    shared: list[str]
    metrics: list[str]
    baseline: str
    notes: list[str] = field(default_factory=list)

    def place(self, row: Row) -> tuple[tuple[str, Any], ...]:
        """The row's place on the shared axes; rows of one place are compared."""
        return tuple((axis, row.axes[axis]) for axis in self.shared if axis in row.axes)


def compare(
    run: Run, baseline: str | Mapping[str, Any] | None = None, metrics: Sequence[str] | None = None
) -> Comparison:
    """Bring seeds together, and compare every row with its baseline.

    Args:
        run: what `read_run` gave.
        baseline: a variant's name; or a place, {"variant": NAME, AXIS: VALUE, …}, where its axes
            name one place of it for all rows; None is the study's plain SFT.
        metrics: only these, in this order.

    Raises:
        UserError: no such variant, axis or metric.
    """
    groups: dict[tuple[Any, ...], list[Result]] = {}
    for result in run.results:
        groups.setdefault(_key(result), []).append(result)
    names = _metrics(run.results, metrics)
    members = [sorted(group, key=lambda r: r.seed) for group in groups.values()]
    same = {name: _same_prompts(run.results, name) for name in names}
    rows = [_row(group, names, same) for group in members]
    axes = list(dict.fromkeys(axis for row in rows for axis in row.axes))
    shared = [
        axis for axis in axes if all(axis in row.axes for row in rows if row.finetune is not None)
    ]
    bases = _baselines(rows, baseline)
    found = Comparison(rows, axes, shared, names, _name(rows, bases), [])
    rows = _against(rows, members, bases, names, same)
    rows = _ranked(rows, members, found, same)
    rows = [replace(row, is_baseline=i in bases.values()) for i, row in enumerate(rows)]
    return replace(found, rows=rows, notes=_notes(rows, names, found.baseline))


def _key(result: Result) -> tuple[Any, ...]:
    axes = tuple((name, repr(value)) for name, value in result.axes.items())
    return (result.variant, result.align, result.finetune, result.repair, axes)


def _metrics(results: Sequence[Result], wanted: Sequence[str] | None) -> list[str]:
    there = list(dict.fromkeys(name for result in results for name in result.metrics))
    if wanted is None:
        from holdfast.report.metrics import MAIN

        return [*(m for m in MAIN if m in there), *(m for m in there if m not in MAIN)]
    for name in wanted:
        if name not in there:
            raise UserError(f"the run has no metric '{name}'; it has {', '.join(there)}.")
    return list(wanted)


def _same_prompts(results: Sequence[Result], metric: str) -> bool:
    """Whether several seeds were asked the same prompts; without a record of them, the safe yes.

    Seeds that share the prompts share the luck of their choice, so treating them so is never too
    narrow.
    """
    by_mark: dict[str, set[int]] = {}
    for result in results:
        by_mark.setdefault(result.prompts.get(metric, ""), set()).add(result.seed)
    return any(len(seeds) > 1 for seeds in by_mark.values())


def _row(group: Sequence[Result], names: Sequence[str], same: Mapping[str, bool]) -> Row:
    cells = {}
    for name in names:
        having = [result for result in group if name in result.metrics]
        if len(having) < len(group):
            continue  # a mean of other seeds than the row's would mislead
        cells[name] = Cell(_mean(having, name, same[name]), len(having))
    first = group[0]
    return Row(
        first.variant,
        first.axes,
        first.align,
        first.finetune,
        first.repair,
        tuple(result.seed for result in group),
        cells,
        _budget([result.budget for result in group]),
    )


def _mean(group: Sequence[Result], name: str, same: bool) -> Estimate:
    percent = known_metric(name).percent
    return mean_interval(
        [result.metrics[name] for result in group],
        [result.outcomes.get(name) for result in group],
        same,
        percent,
    )


def _budget(budgets: Sequence[Budget]) -> Budget:
    def mean(name: str) -> Any:
        values = [v for b in budgets if (v := getattr(b, name)) is not None]
        return sum(values) / len(values) if values else None

    names = ("rows", "steps", "tokens", "passes", "tries", "seconds")
    peaks = [b.peak_memory_bytes for b in budgets if b.peak_memory_bytes is not None]
    means = {name: mean(name) for name in names}
    whole = {k: round(v) if v is not None and k != "seconds" else v for k, v in means.items()}
    return Budget(**whole, peak_memory_bytes=max(peaks, default=None))


def _baselines(rows: Sequence[Row], baseline: str | Mapping[str, Any] | None) -> dict[int, int]:
    """By row the index of its baseline: at the same values of all axes that the baseline has."""
    fixed: dict[str, Any] = {}
    if baseline is None:
        candidates = [i for i, row in enumerate(rows) if row.is_plain_sft]
    else:
        given = {"variant": baseline} if isinstance(baseline, str) else dict(baseline)
        fixed = {key: value for key, value in given.items() if key != "variant"}
        known = list(dict.fromkeys(row.variant for row in rows))
        if given.get("variant") not in known:
            raise UserError(
                f"the run has no variant '{given.get('variant')}' to be the baseline; it has "
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


def _name(rows: Sequence[Row], bases: Mapping[int, int]) -> str:
    return rows[next(iter(bases.values()))].variant if bases else ""


def _against(
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
            if (difference := _difference(members[i], members[j], name, same[name])) is not None
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


def _ranked(
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
            others = [i for i in there if i not in best]
            found = [_difference(members[i], members[best[0]], name, same[name]) for i in others]
            corrected = holm([d.p if d is not None else 1.0 for d in found])
            for i in best:
                cells[i][name] = replace(cells[i][name], best=True)
            for i, p in zip(others, corrected, strict=True):
                cells[i][name] = replace(cells[i][name], close=p >= ALPHA)
    return [replace(row, cells=own) for row, own in zip(rows, cells, strict=True)]


def _notes(rows: Sequence[Row], names: Sequence[str], baseline: str) -> list[str]:
    """What the intervals cover, where there are too few seeds, what the baseline is."""
    counts = sorted({len(row.seeds) for row in rows})
    if counts == [1]:
        notes = ["One seed: the 95 % intervals cover the choice of prompts only, not the training."]
    else:
        told = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
        notes = [f"Mean of {told} seeds; the 95 % intervals cover seeds and prompts."]
        if counts[0] == 1:
            notes.append("Where there is one seed they cover the prompts only.")
    if 2 in counts:
        notes.append("Two seeds are too few to say anything but a very large difference.")
    if baseline:
        notes.append(
            f"Δ: the difference to {baseline} at the same place, paired over seeds and prompts; "
            "p is corrected for all rows of the table (Holm)."
        )
    return notes
