"""The published numbers of a study beside the run's own."""

from holdfast.report.comparison import Comparison, Run
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
    return published_text(results, run.published, run.places, differences, reduced, comparison)
