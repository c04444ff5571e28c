"""Published numbers beside one's own: what a paper reports, what this run found, the difference.

`holdfast.report.published_table` shows them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from holdfast.report.rows import Comparison
from holdfast.statistics.estimates import Estimate, over_seeds

# What a published entry may report, its title, and the metric of results.json that it is there.
METRICS = {
    "HS": ("HS ↓", "harmful_score"),
    "FA": ("FA ↑", "finetune_accuracy"),
    "seconds_per_step": ("s a step", None),
    "memory_gb": ("GiB", None),
    "PPL": ("perplexity", "wikitext2_perplexity"),
}
ABSENT = "not in this study"
NOT_RUN = "not run"
LEFT_OUT = "left out"
_SHARES = ("HS", "FA")  # in percent; nothing else ends at 100
_PAPER = "paper"
_TRAINING = ("finetune", "align")  # whose step a paper measures: the last stage that trains


@dataclass(frozen=True)
class Cell:
    """One published number and ours.

    Args:
        published: the paper's; HS and FA in percent.
        ours: the mean over our seeds, and over the axes that the entry does not name, with its
            interval; None where ``state`` says why.
        state: "", "not run", "not in this study" (no such variant in the study), "left out" (no
            such place in its grid), or how much of a mean has run.
    """

    published: float
    ours: Estimate | None
    state: str = ""

    @property
    def difference(self) -> float | None:
        """Ours minus the paper's."""
        return None if self.ours is None else self.ours.value - self.published


@dataclass(frozen=True)
class Row:
    """What a paper reports of one place of the grid.

    Args:
        place: the variant and the axes that the entry names; a mean runs over the others.
        cells: by metric.
        paper: the paper's values of axes that have another one in this grid, such as ρ = 2 where
            the organism's 22 stands for it.
    """

    place: dict[str, Any]
    cells: dict[str, Cell]
    paper: dict[str, Any] = field(default_factory=dict)


def published_rows(
    results: Mapping[str, Any],
    published: Iterable[Mapping[str, Any]],
    places: Sequence[Mapping[str, Any]],
    comparison: Comparison | None = None,
) -> list[Row]:
    """Every published entry with our numbers, in the entries' order.

    One place has the mean and interval of the run's own table, where its comparison is given.
    Otherwise seeds are brought together by `over_seeds`. Where an entry leaves an axis out, each
    seed's mean over the axis comes first; its interval is the mean of the places' intervals, since
    they share the prompts and so the luck of their choice. An axis that the grid does not have (the
    models of a study that runs on the organism) tells no rows apart.

    Args:
        results: what results.json holds; its records' "coords" say where they belong.
        published: a study's ``published``; ``paper`` in an entry holds the paper's own values of
            axes that have another one in this grid.
        places: the coords of all points of the study's grid, run or not.
        comparison: the run's numbers, prompt by prompt.
    """
    records = list(results.get("records", []))
    rows = []
    for entry in published:
        place = {key: value for key, value in entry.items() if key not in (*METRICS, _PAPER)}
        cells = {
            name: _cell(float(entry[name]), name, place, records, places, comparison)
            for name in METRICS
            if name in entry
        }
        rows.append(Row(place, cells, dict(entry.get(_PAPER, {}))))
    return rows


def _cell(
    published: float,
    metric: str,
    place: Mapping[str, Any],
    records: Sequence[Mapping[str, Any]],
    places: Sequence[Mapping[str, Any]],
    comparison: Comparison | None,
) -> Cell:
    axes = {key for coords in places for key in coords}
    at = {key: value for key, value in place.items() if key in axes}
    wanted = [coords for coords in places if _matches(coords, at)]
    if not wanted:
        known = any(coords["variant"] == place["variant"] for coords in places)
        return Cell(published, None, LEFT_OUT if known or not places else ABSENT)
    found = [
        {r["seed"]: value for r in records if _at(r, coords) and (value := _value(r, metric))}
        for coords in wanted
    ]
    run = [values for values in found if values]
    if not run:
        return Cell(published, None, NOT_RUN)
    if len(run) < len(wanted):
        return Cell(published, None, f"{len(run)} of {len(wanted)} run")
    seeds = sorted(set.intersection(*(set(values) for values in run)))
    if not seeds:
        return Cell(published, None, NOT_RUN)
    # A grid has a point for every seed.
    if comparison is not None and all(coords == wanted[0] for coords in wanted):
        shown = _shown(comparison, wanted[0], METRICS[metric][1])
        if shown is not None:
            return Cell(published, shown)
    means = [_mean([values[seed] for values in run]) for seed in seeds]
    top = 100.0 if metric in _SHARES else float("inf")
    return Cell(published, over_seeds(means, bounds=(0.0, top)))


def _shown(
    comparison: Comparison, coords: Mapping[str, Any], metric: str | None
) -> Estimate | None:
    """What the run's own table shows of a metric at one place."""
    for row in comparison.rows:
        if metric in row.cells and _matches({**row.axes, "variant": row.variant}, coords):
            return row.cells[metric].mean
    return None


def _at(record: Mapping[str, Any], coords: Mapping[str, Any]) -> bool:
    own = record.get("coords") or {"variant": record.get("variant", "")}
    return own.keys() == coords.keys() and _matches(own, coords)


def _matches(coords: Mapping[str, Any], place: Mapping[str, Any]) -> bool:
    return all(key in coords and coords[key] == value for key, value in place.items())


def _value(record: Mapping[str, Any], metric: str) -> Estimate | None:
    """A record's value of a published metric; None where it has none."""
    name = METRICS[metric][1]
    if name is not None:
        found = record["metrics"].get(name)
        if found is None:
            return None
        parts = found if isinstance(found, Mapping) else {"value": found}
        value = float(parts["value"])
        low, high = parts.get("low", value), parts.get("high", value)
        return Estimate(value, low, high, parts.get("n", 0))
    costs = record.get("cost") or {}
    cost = next((costs[kind] for kind in _TRAINING if kind in costs), {})
    if metric == "seconds_per_step":
        known = cost.get("seconds") and cost.get("steps")
        value = cost["seconds"] / cost["steps"] if known else None
    else:
        peak = cost.get("peak_memory_bytes")
        value = peak / 2**30 if peak else None
    return None if value is None else Estimate(value, value, value, 1)


def _mean(values: Sequence[Estimate]) -> Estimate:
    return Estimate(
        fmean(v.value for v in values),
        fmean(v.low for v in values),
        fmean(v.high for v in values),
        min(v.n for v in values),
    )
