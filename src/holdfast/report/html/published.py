"""The published numbers of a study beside the run's own."""

from dataclasses import dataclass

from holdfast.report.comparison import Comparison, Run
from holdfast.report.published_table import published_table
from holdfast.report.words import axis_name


@dataclass(frozen=True)
class Published:
    """The table of the page.

    Args:
        caution: why the values cannot be compared; empty where they can.
        header: the columns.
        rows: one for each published entry.
        axes: how many of the columns say where in the grid; the others are numbers.
        notes: what a reader must know.
    """

    caution: str
    header: list[str]
    rows: list[list[str]]
    axes: int
    notes: list[str]


def published(run: Run, comparison: Comparison) -> Published | None:
    """Every number that the study's paper reports, ours, and how the run differs from the paper's.

    None where the study has no published numbers.
    """
    if not run.published:
        return None
    protocol = run.protocol
    measured = f"Measured by {protocol['name']} (version {protocol['version']})"
    described = protocol.get("description")
    differences = [f"{measured}: {described}" if described else f"{measured}.", *run.notes]
    differences += [str(entry["note"]) for entry in run.about if entry.get("note")]
    if len({result.seed for result in run.results}) == 1:
        differences.append("One seed, as in the paper: the difference may be the seed's.")
    reduced = "changed" in str(protocol["version"])
    results = {"protocol": protocol, "records": run.records}
    found = published_table(results, run.published, run.places, differences, reduced, comparison)
    axes = len(found.axes)
    header = [*map(axis_name, found.axes), *found.header[axes:]]
    rows = [[_number(text) for text in row] for row in found.words]
    # As a sentence of its own.
    caution = found.caution[:1].upper() + found.caution[1:] + "." if found.caution else ""
    return Published(caution, header, rows, axes, found.notes)


def _number(text: str) -> str:
    """A negative number with the sign that the page's other tables have."""
    return "−" + text[1:] if text.startswith("-") else text
