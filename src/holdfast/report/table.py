"""Sheets for the terminal and in Markdown, and the table that closes a run."""

from collections.abc import Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from holdfast.report.escape import markdown_text, terminal_text
from holdfast.report.rows import Comparison
from holdfast.report.run import Run
from holdfast.report.sheet import Entry, Sheet, results_sheet


class TerminalSheet:
    """A sheet for rich: values with what is beside them below; what has no room is left out."""

    def __init__(self, sheet: Sheet):
        self.sheet = sheet

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The widest table that fits, with title and notes."""
        spare = max(column.spare for column in self.sheet.columns)
        table = self._table(spare)
        free = options.update(max_width=10_000)  # or the measure would be cut to the width
        while spare and Measurement.get(console, free, table).minimum > options.max_width:
            spare -= 1
            table = self._table(spare)
        notes = [terminal_text(note, style="dim") for note in self.sheet.notes]
        yield Group(terminal_text(self.sheet.title, style="bold"), table, *notes)

    def _table(self, spare: int) -> Table:
        """The table without the columns that are spared first."""
        columns = self.sheet.columns
        kept = [i for i, column in enumerate(columns) if column.spare <= spare]
        table = Table(box=SIMPLE_HEAD, padding=0)
        for i in kept:
            column, values = columns[i], [row[i] for row in self.sheet.rows]
            title = column.title.replace("over-", "over-\n")
            # Values are not broken; names and titles are, between words.
            width = max((len(line) for e in values for line in (e.text, e.below)), default=1)
            words = max((len(w) for e in values for w in e.text.split()), default=1)
            named = max(len(word) for word in title.split())
            table.add_column(
                Text("\n").join(map(terminal_text, title.split("\n"))),
                justify="right" if column.right else "left",
                min_width=max(named, width if column.right else min(words, 24)),
                overflow="fold",
            )
        for row in self.sheet.rows:
            table.add_row(*(_two_lines(row[i]) for i in kept))
        return table


def _two_lines(entry: Entry) -> Text:
    text = terminal_text(entry.text, style="bold" if entry.look == "best" else "")
    if entry.look == "close":
        text = Text("≈", style="dim") + text
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
    known = [f"{protocol[key]} {name}" for key, name in counts.items() if key in protocol]
    if known:
        parts.append("n = " + " + ".join(known) + " prompts")
    if "judge" in protocol:
        parts.append(f"judge: {protocol['judge']}")
    return " · ".join(parts)
