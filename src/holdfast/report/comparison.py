"""A run's folder as numbers: means, differences to a baseline, what is best, what may be said.

`read_run` reads the folder, `compare` computes. Every table, page and picture of a report shows
these numbers and computes none of its own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from holdfast.errors import UserError
from holdfast.report.budgets import Budget, budget_notes, zeroed_note
from holdfast.report.metrics import ATTACKED, HARM, MAIN, known_metric
from holdfast.report.pairing import baselines, ranked, with_differences
from holdfast.report.reading import read_run, run_of
from holdfast.report.rows import Cell, Comparison, Row
from holdfast.report.run import Result, Run, Unfinished
from holdfast.report.searched import attacker_notes
from holdfast.statistics.estimates import LEVEL, Difference, Estimate
from holdfast.statistics.intervals import known_mean, mean_interval
from holdfast.statistics.worst import Worst, worst_cases

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
    "Worst",
    "compare",
    "read_run",
    "run_of",
]


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
    bases = baselines(rows, baseline)
    found = Comparison(
        rows, axes, shared, names, rows[next(iter(bases.values()))].variant if bases else "", []
    )
    rows = with_differences(rows, members, bases, names, same)
    rows = ranked(rows, members, found, same)
    rows = [replace(row, is_baseline=i in bases.values()) for i, row in enumerate(rows)]
    return replace(
        found,
        rows=rows,
        notes=[
            *_notes(rows, found.baseline, _has_rare(members, names)),
            *_asked(run.results),
            *([_AS_ATTACKED] if ATTACKED in names else []),
            *_left_out(run.results),
        ],
        budget_notes=[
            *budget_notes((rows[i], rows[j]) for i, j in bases.items()),
            *zeroed_note(rows),
        ],
        worst=_worst(rows, members, same) if HARM in names else [],
        attackers=attacker_notes(run.search),
    )


def _key(result: Result) -> tuple[Any, ...]:
    axes = tuple((name, repr(value)) for name, value in result.axes.items())
    methods = (result.align, result.screen, result.finetune, result.repair)
    return (result.variant, *methods, axes)


def _metrics(results: Sequence[Result], wanted: Sequence[str] | None) -> list[str]:
    there = list(dict.fromkeys(name for result in results for name in result.metrics))
    if wanted is None:
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
        screen=first.screen,
    )


def _mean(group: Sequence[Result], name: str, same: bool, level: float = LEVEL) -> Estimate:
    percent = known_metric(name).percent
    return mean_interval(
        [result.metrics[name] for result in group],
        [result.outcomes.get(name) for result in group],
        same,
        percent,
        level,
    )


def _budget(budgets: Sequence[Budget]) -> Budget:
    def mean(name: str) -> Any:
        values = [v for b in budgets if (v := getattr(b, name)) is not None]
        return sum(values) / len(values) if values else None

    counts = ("rows", "steps", "tokens", "passes", "tries")
    peaks = [b.peak_memory_bytes for b in budgets if b.peak_memory_bytes is not None]
    means = {name: mean(name) for name in counts}
    whole = {name: round(value) for name, value in means.items() if value is not None}
    return Budget(
        **whole,
        seconds=mean("seconds"),
        peak_memory_bytes=max(peaks, default=None),
        zeroed=mean("zeroed"),
    )


def _worst(
    rows: Sequence[Row], members: Sequence[Sequence[Result]], same: Mapping[str, bool]
) -> list[Worst]:
    """The worst cases of the harmful score, of rows whose outcomes are there."""

    # An attacker chooses also how to ask, where the attack has a way of its own.
    ways = {HARM: {}, ATTACKED: {"asked": "as attacked"}}
    told = [
        (i, metric, {**row.axes, **own})
        for i, row in enumerate(rows)
        for metric, own in ways.items()
        if metric in row.cells
    ]

    def interval(place: int, level: float) -> Estimate | None:
        i, metric, _ = told[place]
        there = all(metric in result.outcomes for result in members[i])
        return _mean(members[i], metric, same[metric], level) if there else None

    places = [(rows[i].variant, axes, len(rows[i].seeds)) for i, _, axes in told]
    return worst_cases(places, interval)


def _asked(results: Sequence[Result]) -> list[str]:
    """Which variants were asked with a system prompt of their own."""
    own: dict[str, set[str]] = {}
    for result in results:
        own.setdefault(result.variant, set()).add(result.system_prompt)
    # Where it is an axis of the study, the table's rows say it.
    told = [variant for variant, prompts in own.items() if len(prompts) == 1 and prompts != {""}]
    if not told or len(set(map(frozenset, own.values()))) == 1:
        return []
    return [
        "Asked with a system prompt, which is a part of the defense and was not put before the "
        f"others' questions: {', '.join(told)}."
    ]


_AS_ATTACKED = (
    "HS as attacked: of the same harmful prompts, asked as the attack of the row asks them (its "
    "trigger, manner, rules or identity); the other columns are of prompts asked plainly."
)


def _left_out(results: Sequence[Result]) -> list[str]:
    """What evaluations did not measure, each once; with the variants where it is not all."""
    variants: dict[str, dict[str, None]] = {}
    for result in results:
        for told in result.left_out:
            variants.setdefault(told, {})[result.variant] = None
    names = {result.variant for result in results}
    notes = []
    for told, of in variants.items():
        which = "" if len(of) == len(names) else f" ({', '.join(of)})"
        notes.append(f"{told[:1].upper()}{told[1:]}{which}.")
    return notes


# Answers of a seed on one side, below which the intervals are known to cover more than they say.
_RARE = 4


def _has_rare(members: Sequence[Sequence[Result]], names: Sequence[str]) -> bool:
    """Whether a value of several seeds, not 0 or 100 %, rests on few answers on one side."""
    for group in members:
        for name in set(names) & set(MAIN):
            seeds = [result.outcomes[name] for result in group if name in result.outcomes]
            if len(seeds) < 2 or len(seeds) < len(group):
                continue
            share = sum(known_mean(one) for one in seeds) / len(seeds)
            if 0 < min(share, 1 - share) * min(map(len, seeds)) < _RARE:
                return True
    return False


def _notes(rows: Sequence[Row], baseline: str, rare: bool) -> list[str]:
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
    if rare and counts[-1] > 2:  # two seeds have a note of their own
        notes.append(
            f"Where all answers of a seed but fewer than {_RARE} are alike, the interval is a "
            "little too wide: it covers 97 to 99 %."
        )
    if baseline:
        notes.append(
            f"Δ: the difference to {baseline} at the same place, paired over seeds and prompts; "
            "p is corrected for all rows of the table (Holm)."
        )
    return notes
