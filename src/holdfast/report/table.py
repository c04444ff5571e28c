"""Sheets for the terminal and in Markdown, and the table that closes a run."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.table import Table
from rich.text import Text

from holdfast.escape import markdown_text, terminal_text
from holdfast.report.rows import Comparison
from holdfast.report.run import Run
from holdfast.report.sheet import Entry, Sheet, results_sheet


class TerminalSheet:
    """A sheet for rich: values with what is beside them below.

    Columns that have no room are left out, and named below the table; no value is ever cut. Where
    not even the columns that stay have room, every row is a paragraph.
    """

    def __init__(self, sheet: Sheet):
        self.sheet = sheet

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The widest table that fits, with title and notes."""
        columns, notes = self.sheet.columns, [*self.sheet.notes]
        spares = range(max(column.spare for column in columns), -1, -1)
        for spare in spares:
            kept = [i for i, column in enumerate(columns) if column.spare <= spare]
            body = self._table(kept, options.max_width)
            if body is not None:
                break
        else:
            kept, body = [*range(len(columns))], self._paragraphs()
        gone = [column.title for i, column in enumerate(columns) if i not in kept]
        if gone:
            notes.append(
                f"Left out, as the terminal has {options.max_width} columns: {', '.join(gone)}."
            )
        told = [terminal_text(note, style="dim") for note in notes]
        yield Group(terminal_text(self.sheet.title, style="bold"), body, *told)

    def _table(self, kept: Sequence[int], room: int) -> Table | None:
        """The table of some columns; None where there is no room for them."""
        shapes = [self._widths(i) for i in kept]
        free = room - sum(least for least, _ in shapes) - _EDGES - (len(kept) - 1)
        if free < 0:
            return None
        table = Table(box=SIMPLE_HEAD, padding=0)
        for i, (least, most) in zip(kept, shapes, strict=True):
            column = self.sheet.columns[i]
            more = min(free, most - least)
            free -= more
            table.add_column(
                Text("\n").join(map(terminal_text, _title(column.title).split("\n"))),
                justify="right" if column.right else "left",
                width=least + more,
                overflow="fold",
            )
        for row in self.sheet.rows:
            table.add_row(*(_two_lines(row[i]) for i in kept))
        return table

    def _widths(self, i: int) -> tuple[int, int]:
        """The least and the most characters of a column.

        Values are not broken; names and titles are, between words.
        """
        column, cells = self.sheet.columns[i], [_two_lines(row[i]) for row in self.sheet.rows]
        width = max((cell_len(line) for c in cells for line in c.plain.splitlines()), default=1)
        words = max((cell_len(word) for c in cells for word in c.plain.split()), default=1)
        title = _title(column.title)
        named = max(map(cell_len, title.split()))
        least = max(named, width if column.right else min(words, 24))
        return least, max(least, width, *map(cell_len, title.splitlines()))

    def _paragraphs(self) -> Group:
        """Every row as its values with their titles, in lines as long as the terminal has them."""
        others = self.sheet.columns[1:]
        rows = []
        for name, *entries in self.sheet.rows:
            told = [
                Text(f"{column.title} ", style="dim") + _marked(e) + f" {e.more}".rstrip()
                for column, e in zip(others, entries, strict=True)
            ]
            rows.append(terminal_text(name.text, style="bold") + "\n" + Text("; ").join(told))
        return Group(*rows)


_EDGES = 2  # characters beside a table of rich


def _title(title: str) -> str:
    return title.replace("over-", "over-\n")


def _marked(entry: Entry) -> Text:
    text = terminal_text(entry.text, style="bold" if entry.look == "best" else "")
    return Text("≈", style="dim") + text if entry.look == "close" else text


def _two_lines(entry: Entry) -> Text:
    text = _marked(entry)
    return text.append(f"\n{entry.below}", style="not bold dim") if entry.below else text


def comparison_table(run: Run, comparison: Comparison) -> TerminalSheet:
    """The results for the terminal, as a run shows them at its end."""
    return TerminalSheet(results_sheet(comparison, header(run.protocol)))


def markdown_table(run: Run, comparison: Comparison) -> str:
    """The same table in Markdown, with the protocol above it and its notes below."""
    return markdown_sheet(results_sheet(comparison, header(run.protocol)))


def markdown_sheet(sheet: Sheet) -> str:
    """A sheet in Markdown: its title, the table, its notes."""
    columns = sheet.columns
    lines = [markdown_text(sheet.title), ""]
    lines.append("| " + " | ".join(markdown_text(column.title) for column in columns) + " |")
    lines.append("|" + "".join("---:|" if column.right else "---|" for column in columns))
    lines += ["| " + " | ".join(map(_in_one_line, row)) + " |" for row in sheet.rows]
    lines += ["", *(f"{markdown_text(note)}  " for note in sheet.notes)]
    return "\n".join(lines).rstrip() + "\n"


def _in_one_line(entry: Entry) -> str:
    text, more = markdown_text(entry.text), f" {entry.more}" if entry.more else ""
    if entry.look == "best":
        text = f"**{text}**"
    # The brackets of an interval are no link, and stay as they are; p < 0.001 is no tag.
    return ("≈ " if entry.look == "close" else "") + text + more.replace("<", "&lt;")


def header(protocol: Mapping[str, Any]) -> str:
    """The protocol in a line: name, version, how many prompts, judge."""
    counts = {"n_harmful": "harmful", "n_benign": "benign", "n_task": "task"}
    parts = [f"protocol {protocol['name']} (version {protocol['version']})"]
    known = [f"{protocol[key]} {name}" for key, name in counts.items() if protocol.get(key)]
    if known:
        parts.append("n = " + " + ".join(known) + " prompts")
    if "judge" in protocol:
        parts.append(f"judge: {protocol['judge']}")
    return " · ".join(parts)
