"""Published numbers beside one's own, for a terminal of 80 columns and in Markdown."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Table
from rich.text import Text

from holdfast.escape import markdown_text, terminal_text
from holdfast.report.published import METRICS, Cell, Row, published_rows
from holdfast.report.rows import Comparison


@dataclass(frozen=True)
class PublishedTable:
    """The comparison before its format is chosen.

    Args:
        rows: one for each published entry.
        caution: why the values cannot be compared; empty where they can.
        differences: sentences on how the protocol and the run differ from the paper's.
    """

    rows: list[Row]
    caution: str
    differences: Sequence[str]

    @property
    def axes(self) -> list[str]:
        """The columns that say where in the grid a row is."""
        return list(dict.fromkeys(["variant", *(key for row in self.rows for key in row.place)]))

    @property
    def metrics(self) -> list[str]:
        """The metrics that any row has."""
        return [name for name in METRICS if any(name in row.cells for row in self.rows)]

    @property
    def title(self) -> str:
        """What it is, with the caution."""
        return "The paper's numbers and yours" + (f" ({self.caution})" if self.caution else "")

    @property
    def notes(self) -> list[str]:
        """What a reader must know."""
        if not self.rows:
            return ["No published numbers of this experiment are known here.", *self.differences]
        notes = ["The paper's numbers are of one seed each, without intervals; yours are 95 %."]
        if any(len(row.place) < len(self.axes) for row in self.rows):
            notes.append("mean: over all values of that axis, the paper's and yours.")
        if any(row.paper for row in self.rows):
            notes.append("here: the value of the run that stands for the paper's.")
        if "memory_gb" in self.metrics:
            notes.append(
                "Memory: yours is the most that was allocated; the papers' code reads what PyTorch "
                "reserved, which is more."
            )
        return [*notes, *self.differences]

    @property
    def header(self) -> list[str]:
        """The titles of the columns, as of `words`."""
        ours = [[f"{METRICS[n][0]} paper", "yours", "difference"] for n in self.metrics]
        return [*self.axes, *(title for titles in ours for title in titles)]

    @property
    def words(self) -> list[list[str]]:
        """The rows as text."""
        axes, metrics = self.axes, self.metrics
        return [_words(row, axes, metrics) for row in self.rows]

    def terminal(self) -> Group:
        """Title, table and notes for a terminal of 80 columns."""
        axes, metrics = self.axes, self.metrics
        table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
        for axis in axes:
            words = map(terminal_text, re.split(r"(?<=[._])", axis))  # learning_rate in two lines
            table.add_column(Text("\n").join(words), overflow="fold")
        for name in metrics:
            # Wider than a line of 80 characters allows if any of them were wrapped.
            for title in (f"{METRICS[name][0]}\npaper", "\nyours", "\ndiff."):
                table.add_column(Text(title), justify="right", no_wrap=True)
        for row in self.rows:
            table.add_row(*_lines(row, axes, metrics))
        # Not the table's own title and caption, which are wrapped at its width.
        title = terminal_text(self.title, style="bold")
        notes = [terminal_text(note, style="dim") for note in self.notes]
        return Group(title, *([table] if self.rows else []), *notes)

    def markdown(self) -> str:
        """Title, table and notes in Markdown."""
        lines, axes = [f"**{markdown_text(self.title)}**", ""], len(self.axes)
        if self.rows:
            lines.append("| " + " | ".join(map(markdown_text, self.header)) + " |")
            lines.append("|" + "---|" * axes + "---:|" * (len(self.header) - axes))
            for row in self.words:
                lines.append("| " + " | ".join(map(markdown_text, row)) + " |")
            lines.append("")
        lines += [f"- {markdown_text(note)}" for note in self.notes]
        return "\n".join(lines) + "\n"


def published_table(
    results: Mapping[str, Any],
    published: Iterable[Mapping[str, Any]],
    places: Sequence[Mapping[str, Any]],
    differences: Sequence[str] = (),
    reduced: bool = False,
    comparison: Comparison | None = None,
) -> PublishedTable:
    """Every published number beside the run's own.

    Args:
        results, published, places, comparison: as `published_rows`.
        differences: sentences on how the protocol and the run differ from the paper's.
        reduced: the run was cut short, so its values are not the study's.
    """
    rows = published_rows(results, published, places, comparison)
    return PublishedTable(rows, _caution(results, reduced), differences)


def _caution(results: Mapping[str, Any], reduced: bool) -> str:
    """Why the values cannot be compared; empty where they can."""
    if (results.get("protocol") or {}).get("name") == "organism":
        return "organism, reduced: not comparable in value, only in direction"
    return "reduced: not comparable in value, only in direction" if reduced else ""


def _lines(row: Row, axes: Sequence[str], metrics: Sequence[str]) -> list[Text]:
    """A row for the terminal: what is said of a value stands below it."""
    states = {cell.state for cell in row.cells.values()}
    alone = states.pop() if len(states) == 1 else ""  # said once, below the variant's name
    lines = []
    for axis in axes:
        own = alone if axis == "variant" else ""
        ours, theirs = row.place.get(axis, "mean"), row.paper.get(axis)
        if theirs is not None:
            own = f"here {_short(axis, ours)}"
        lines.append(_below(_short(axis, ours if theirs is None else theirs), own))
    for name in metrics:
        cell, digits = row.cells.get(name), _digits(name)
        if cell is None:
            lines += [Text("–")] * 3
        elif cell.ours is None or cell.difference is None:
            own = "–" if alone else cell.state
            lines += [Text(f"{cell.published:.{digits}f}"), Text(own), Text("–")]
        else:
            value, low, high = cell.ours.value, cell.ours.low, cell.ours.high
            interval = f"{math.floor(low)}–{math.ceil(high)}" if low < high else ""
            lines.append(Text(f"{cell.published:.{digits}f}"))
            lines.append(_below(f"{value:.{digits}f}", interval))
            lines.append(Text(f"{cell.difference:+.{digits}f}".replace("-", "−")))
    return lines


def _below(text: str, own: str) -> Text:
    found = terminal_text(text)
    return found.append("\n").append_text(terminal_text(own, style="dim")) if own else found


def _short(axis: str, value: Any) -> str:
    """A value without what a narrow column has no room for: a model's owner."""
    return str(value).rsplit("/", 1)[-1] if axis == "model" else _plain(value)


def _digits(metric: str) -> int:
    return 1 if METRICS[metric][1] else 3 if metric == "seconds_per_step" else 2


def _words(row: Row, axes: Sequence[str], metrics: Sequence[str]) -> list[str]:
    """A row for Markdown."""
    words = []
    for axis in axes:
        ours, theirs = _plain(row.place.get(axis, "mean")), row.paper.get(axis)
        words.append(ours if theirs is None else f"{_plain(theirs)} (here {ours})")
    for name in metrics:
        cell, digits = row.cells.get(name), _digits(name)
        if cell is None:
            words += ["–", "–", "–"]
        else:
            words += [f"{cell.published:.{digits}f}", *_ours(cell, digits)]
    return words


def _ours(cell: Cell, digits: int) -> list[str]:
    if cell.ours is None or cell.difference is None:
        return [cell.state, "–"]
    value, low, high = cell.ours.value, cell.ours.low, cell.ours.high
    found = []
    for by, sign in ((0.0, ""), (cell.published, "+")):  # ours, and ours minus the paper's
        mean = f"{value - by:{sign}.{digits}f}"
        bounds = f" [{low - by:.{digits}f}, {high - by:.{digits}f}]" if low < high else ""
        found.append((mean + bounds).replace("-", "−"))
    return found


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
