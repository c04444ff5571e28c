"""A whole report for the terminal, in Markdown and in LaTeX: the tables and what was run."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from rich.console import Group

from holdfast.escape import markdown_text, terminal_text
from holdfast.report.latex import latex_document
from holdfast.report.rows import Comparison
from holdfast.report.run import Run
from holdfast.report.searched import search_sheet
from holdfast.report.sheet import Sheet, budget_sheet, results_sheet, worst_sheet
from holdfast.report.table import TerminalSheet, header, markdown_sheet


@dataclass(frozen=True)
class Document:
    """A report before its format is chosen.

    Args:
        title: What was run.
        paragraphs: What it asks, what differs from a paper, what is not finished, the command.
        sheets: The results, the worst case, the search for settings, the budgets.
    """

    title: str
    paragraphs: list[str]
    sheets: list[Sheet]


def document(run: Run, comparison: Comparison, metrics: Sequence[str] | None = None) -> Document:
    """The report of a run; with ``metrics`` the first table is of those alone."""
    paragraphs = []
    for about in run.about:
        where = ", ".join(str(about[key]) for key in ("paper", "source") if about.get(key))
        told = [where, str(about.get("note") or "")]
        paragraphs.append(": ".join(filter(None, told)))
    paragraphs += [*run.notes, *_unfinished(run)]
    if run.command:
        paragraphs.append(f"Made by: {run.command}")
    sheets = [results_sheet(comparison, header(run.protocol), metrics)]
    worst = worst_sheet(comparison)
    if worst is not None:
        sheets.append(worst)
    tried = search_sheet(run)
    if tried is not None:
        sheets.append(tried)
    # The results have said already where budgets differ.
    ledger = budget_sheet(comparison)
    sheets.append(Sheet(ledger.title, ledger.columns, ledger.rows))
    return Document(run.title, list(filter(None, paragraphs)), sheets)


def _unfinished(run: Run) -> list[str]:
    """What is not in the tables, since it failed or has not run."""
    notes = []
    for state in dict.fromkeys(one.state for one in run.unfinished):
        missing = [one for one in run.unfinished if one.state == state]
        names = ", ".join(dict.fromkeys(one.variant for one in missing))
        total = len(run.results) + len(run.unfinished)
        verb = "are" if state == "not finished" else "have" if state == "failed" else "were"
        notes.append(f"{len(missing)} of {total} pipelines {verb} {state} ({names}).")
    for stage, error in run.failures.items():
        last = (error.strip().splitlines() or ["unknown"])[-1]
        notes.append(f"Failed: {stage}: {last}")
    return notes


def terminal_document(report: Document) -> Group:
    """The report for rich."""
    return Group(
        terminal_text(report.title, style="bold underline"),
        *(terminal_text(paragraph) for paragraph in report.paragraphs),
        "",
        *(part for sheet in report.sheets for part in (TerminalSheet(sheet), "")),
    )


def markdown_document(report: Document, pictures: Sequence[str] = ()) -> str:
    """The report in Markdown.

    Args:
        report: the report.
        pictures: paths of pictures, as a link from the report's place has them.
    """
    lines = [f"# {markdown_text(report.title)}", ""]
    for paragraph in report.paragraphs:
        lines += [markdown_text(paragraph), ""]
    first, *others = report.sheets
    lines += ["## Results", "", markdown_sheet(first)]
    for picture in pictures:
        words = PurePosixPath(picture).stem.replace("-", ", ").replace("_", " ")
        lines += [f"![{markdown_text(words)}](<{picture}>)", ""]
    for sheet in others:
        untitled = Sheet("", sheet.columns, sheet.rows, sheet.notes)
        lines += [f"## {markdown_text(sheet.title)}", markdown_sheet(untitled).replace("\n", "", 1)]
    return "\n".join(lines).rstrip() + "\n"


def latex_report(report: Document) -> str:
    """The report in LaTeX, a document that compiles."""
    return latex_document(report.title, report.paragraphs, report.sheets)
