"""The published numbers of a study beside the run's own."""

from dataclasses import replace

from holdfast.report.comparison import Comparison, Run
from holdfast.report.html.text import axis_name
from holdfast.report.published_table import PublishedText, published_text


def published(run: Run, comparison: Comparison) -> PublishedText | None:
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
    found = published_text(results, run.published, run.places, differences, reduced, comparison)
    names, titles = found.header[: found.axes], found.header[found.axes :]
    rows = [[_number(text) for text in row] for row in found.rows]
    # As a sentence of its own.
    caution = found.caution[:1].upper() + found.caution[1:] + "." if found.caution else ""
    return replace(found, caution=caution, header=[*map(axis_name, names), *titles], rows=rows)


def _number(text: str) -> str:
    """A negative number with the sign that the page's other tables have."""
    return "−" + text[1:] if text.startswith("-") else text
