"""Published numbers beside one's own: what a paper reports, what this run found, the difference."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Table
from rich.text import Text

from holdfast.report.escape import markdown_text, terminal_text
from holdfast.report.statistics import Estimate, over_seeds

# What a published entry may report, its title, and the metric of results.json that it is there.
METRICS = {
    "HS": ("HS ↓", "harmful_score"),
    "FA": ("FA ↑", "finetune_accuracy"),
    "seconds_per_step": ("s a step", None),
    "memory_gb": ("GiB", None),
}
ABSENT = "not in holdfast yet"
NOT_RUN = "not run"
LEFT_OUT = "left out"
_TRAINING = ("finetune", "align")  # whose step a paper measures: the last stage that trains


@dataclass(frozen=True)
class Cell:
    """One published number and ours.

    Args:
        published: the paper's; HS and FA in percent.
        ours: the mean over our seeds, and over the axes that the entry does not name, with its
            interval; None where ``state`` says why.
        state: "", "not run", "not in holdfast yet" (no such variant in the study), "left out" (no
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
    """

    place: dict[str, Any]
    cells: dict[str, Cell]


def published_rows(
    results: Mapping[str, Any],
    published: Iterable[Mapping[str, Any]],
    places: Sequence[Mapping[str, Any]],
) -> list[Row]:
    """Every published entry with our numbers, in the entries' order.

    Seeds of one place are brought together by `over_seeds`. Where an entry leaves an axis out, each
    seed's mean over the axis comes first; its interval is the mean of the places' intervals, since
    they share the prompts and so the luck of their choice. An axis that the grid does not have (the
    models of a study that runs on the organism) tells no rows apart.

    Args:
        results: what results.json holds; its records' "coords" say where they belong.
        published: a study's ``published``.
        places: the coords of all points of the study's grid, run or not.
    """
    records = list(results.get("records", []))
    rows = []
    for entry in published:
        place = {key: value for key, value in entry.items() if key not in METRICS}
        cells = {
            name: _cell(float(entry[name]), name, place, records, places)
            for name in METRICS
            if name in entry
        }
        rows.append(Row(place, cells))
    return rows


def _cell(
    published: float,
    metric: str,
    place: Mapping[str, Any],
    records: Sequence[Mapping[str, Any]],
    places: Sequence[Mapping[str, Any]],
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
    means = [_mean([values[seed] for values in run]) for seed in seeds]
    top = 100.0 if METRICS[metric][1] else float("inf")
    return Cell(published, over_seeds(means, bounds=(0.0, top)))


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


def published_table(
    results: Mapping[str, Any],
    published: Iterable[Mapping[str, Any]],
    places: Sequence[Mapping[str, Any]],
    differences: Sequence[str] = (),
    reduced: bool = False,
) -> Group:
    """The comparison for the terminal: title, table, notes.

    Args:
        results, published, places: as `published_rows`.
        differences: sentences on how the protocol and the run differ from the paper's.
        reduced: the run was cut short, so its values are not the study's.
    """
    rows = published_rows(results, published, places)
    axes, metrics = _columns(rows)
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for axis in axes:
        table.add_column(terminal_text(axis))
    for name in metrics:
        table.add_column(Text(f"{METRICS[name][0]}\npaper"), justify="right")
        table.add_column(Text("\nyours"), justify="right")
        table.add_column(Text("\ndifference"), justify="right")
    for row in rows:
        table.add_row(*map(terminal_text, _words(row, axes, metrics)))
    # Not the table's own title and caption, which are wrapped at its width.
    title = terminal_text(_title(results, reduced), style="bold")
    notes = [terminal_text(note, style="dim") for note in _notes(rows, metrics, differences)]
    return Group(title, *([table] if rows else []), *notes)


def published_markdown(
    results: Mapping[str, Any],
    published: Iterable[Mapping[str, Any]],
    places: Sequence[Mapping[str, Any]],
    differences: Sequence[str] = (),
    reduced: bool = False,
) -> str:
    """The same in Markdown, see `published_table`."""
    rows = published_rows(results, published, places)
    axes, metrics = _columns(rows)
    lines = [f"**{markdown_text(_title(results, reduced))}**", ""]
    if rows:
        titles = [markdown_text(axis) for axis in axes]
        for name in metrics:
            titles += [f"{METRICS[name][0]} paper", "yours", "difference"]
        lines.append("| " + " | ".join(titles) + " |")
        lines.append("|" + "---|" * len(axes) + "---:|" * (len(titles) - len(axes)))
        for row in rows:
            lines.append("| " + " | ".join(map(markdown_text, _words(row, axes, metrics))) + " |")
        lines.append("")
    lines += [f"- {markdown_text(note)}" for note in _notes(rows, metrics, differences)]
    return "\n".join(lines) + "\n"


def _title(results: Mapping[str, Any], reduced: bool) -> str:
    title = "The paper's numbers and yours"
    if (results.get("protocol") or {}).get("name") == "organism":
        return f"{title} (organism, reduced: not comparable in value, only in direction)"
    if reduced:
        return f"{title} (reduced: not comparable in value, only in direction)"
    return title


def _columns(rows: Sequence[Row]) -> tuple[list[str], list[str]]:
    """The axes and the metrics that any row has."""
    axes = list(dict.fromkeys(["variant", *(key for row in rows for key in row.place)]))
    return axes, [name for name in METRICS if any(name in row.cells for row in rows)]


def _words(row: Row, axes: Sequence[str], metrics: Sequence[str]) -> list[str]:
    words = [_plain(row.place.get(axis, "mean")) for axis in axes]
    for name in metrics:
        cell = row.cells.get(name)
        if cell is None:
            words += ["–", "–", "–"]
            continue
        digits = 1 if METRICS[name][1] else 3 if name == "seconds_per_step" else 2
        words += [f"{cell.published:.{digits}f}", *_ours(cell, digits)]
    return words


def _ours(cell: Cell, digits: int) -> list[str]:
    if cell.ours is None or cell.difference is None:
        return [cell.state, "–"]
    value, low, high = cell.ours.value, cell.ours.low, cell.ours.high
    interval = f" [{low:.{digits}f}, {high:.{digits}f}]" if low < high else ""
    return [f"{value:.{digits}f}{interval}", f"{cell.difference:+.{digits}f}"]


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _notes(rows: Sequence[Row], metrics: Sequence[str], differences: Sequence[str]) -> list[str]:
    if not rows:
        return ["No published numbers of this experiment are known here.", *differences]
    notes = ["The paper's numbers are of one seed each, without intervals; yours are 95 %."]
    if any(len(row.place) < len(_columns(rows)[0]) for row in rows):
        notes.append("mean: over all values of that axis, the paper's and yours.")
    if "memory_gb" in metrics:
        notes.append(
            "Memory: yours is the most that was allocated; the papers' code reads what PyTorch "
            "reserved, which is more."
        )
    return [*notes, *differences]
