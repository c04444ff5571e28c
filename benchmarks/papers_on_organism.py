"""The papers' experiments on the model organism at its full size: do their findings hold there?

    python benchmarks/papers_on_organism.py [paper/vaccine/table6 …] [KEY=VALUE …] [--seeds 3]

Runs all of them, or those that are named, in one folder, so that what they have in common runs
once and a second call goes on where the first one ended; hours for all of them. Writes a page:
for each experiment the paper's numbers beside the organism's, and a computed line on whether what
the paper ranks stands in the same order.
"""

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import combinations
from pathlib import Path
from statistics import fmean
from typing import Any

from rich.console import Console

from holdfast.commands.run import run_files
from holdfast.errors import UserError
from holdfast.protocols import papers
from holdfast.report.comparison import Comparison, compare, read_run
from holdfast.report.published import METRICS, Row, published_rows
from holdfast.report.published_table import published_table
from holdfast.statistics.estimates import Estimate
from holdfast.studies.grid import points
from holdfast.studies.on_organism import on_organism
from holdfast.studies.study import read_study

# What is ranked: the first of these that an experiment reports.
RANKED = ("HS", "seconds_per_step")
Pair = tuple[float, Estimate]  # the paper's number and ours


def main(argv: Sequence[str] | None = None) -> None:
    options = _options(argv)
    settings = [word for word in options.words if "=" in word]
    named = [word for word in options.words if "=" not in word]
    console = Console()
    sections = []
    for reference in named or with_counterpart():
        run_files(
            [reference, *settings], options.seeds, options.root, console, model="organism", yes=True
        )
        results = json.loads((options.root / "results.json").read_text(encoding="utf-8"))
        sections.append(section(reference, results, compare(read_run(options.root))))
        # After each one: hours of work are not lost by a later failure.
        options.output.write_text("\n".join([_HEAD, *sections]), encoding="utf-8")
    console.print(f"page: {options.output}", highlight=False, markup=False)


def with_counterpart() -> list[str]:
    """The experiments whose task the organism has something like; free text it has not."""
    found = []
    for experiment in papers.papers():
        with suppress(UserError):
            on_organism(read_study(papers.find(experiment.reference)))
            found.append(experiment.reference)
    return found


_HEAD = """# The papers' experiments on the model organism

The papers' numbers (real models, one seed), where they could be read, beside those of the built-in
model organism, written by `python benchmarks/papers_on_organism.py`. The organism
is a tiny model of a made-up world, so values cannot be compared, only their order; how often the
order is the paper's is counted below each title. A pair is *too close to tell* where the two 95 %
intervals of the organism overlap: a cautious rule, for a paired difference tells more of them
apart. Of a variant with several places its intervals' ends are averaged, which makes them too wide.
"""


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("words", nargs="*", help="experiments and settings; all if none is named")
    parser.add_argument("--seeds", type=int, help="in the place of the papers' single one")
    parser.add_argument("--root", type=Path, default=Path("results/papers-on-organism"))
    parser.add_argument("--output", type=Path, default=Path("docs/papers-on-organism.md"))
    return parser.parse_args(argv)


def section(
    reference: str, results: Mapping[str, Any], comparison: Comparison | None = None
) -> str:
    """One experiment's part of the page: what was found, the numbers, what differs.

    Args:
        reference: the experiment.
        results: the run's results.json.
        comparison: the run's, for intervals over seeds and prompts; None for Student's over seeds.
    """
    study, notes = on_organism(read_study(papers.find(reference), reference))
    places = [point.coords for point in points(study)]
    rows = published_rows(results, study.published, places, comparison)
    reduced = "changed" in results["protocol"]["version"]
    table = published_table(results, study.published, places, notes, reduced, comparison)
    title = f"## {reference}: {study.title} ({study.about['source']})"
    return f"{title}\n\n{study.about['note']}\n\n{verdict(rows)}\n\n{table.markdown()}"


def verdict(rows: Sequence[Row]) -> str:
    """Whether what the paper ranks stands in the same order here.

    Several variants are ranked by their means over the places that two of them have in common, a
    single one's values of its axis by themselves. Pairs that the paper has as equals say nothing.
    """
    for metric in RANKED:
        known = [row for row in rows if metric in row.cells and row.cells[metric].ours is not None]
        variants = list(dict.fromkeys(row.place["variant"] for row in known))
        by_variant = len(variants) > 1
        pairs = list(_variants(known, variants, metric) if by_variant else _values(known, metric))
        pairs = [(a, b) for a, b in pairs if a[1][0] != b[1][0]]
        if pairs:
            what = "variants" if by_variant else "values"
            return _told(pairs, f"{METRICS[metric][0].rstrip(' ↓')}: of the pairs of {what}")
    return "Nothing to rank: the paper's numbers are not known here, or none could be run."


Named = tuple[str, Pair]


def _variants(
    rows: Sequence[Row], variants: Sequence[str], metric: str
) -> Iterator[tuple[Named, Named]]:
    cells: dict[str, dict[str, Pair]] = {}
    for row in rows:
        place = {**row.place, **row.paper}
        name = str(sorted((k, v) for k, v in place.items() if k != "variant"))
        cells.setdefault(row.place["variant"], {})[name] = _pair(row, metric)
    for a, b in combinations(variants, 2):
        common = cells[a].keys() & cells[b].keys()
        if common:
            yield (a, _mean(cells[a], common)), (b, _mean(cells[b], common))


def _values(rows: Sequence[Row], metric: str) -> Iterator[tuple[Named, Named]]:
    for a, b in combinations(rows, 2):
        yield (_value(a), _pair(a, metric)), (_value(b), _pair(b, metric))


def _value(row: Row) -> str:
    place = {**row.place, **row.paper}
    return ", ".join(str(value) for key, value in place.items() if key != "variant")


def _pair(row: Row, metric: str) -> Pair:
    cell = row.cells[metric]
    assert cell.ours is not None
    return cell.published, cell.ours


def _mean(cells: Mapping[str, Pair], places: Any) -> Pair:
    own = [cells[place] for place in sorted(places)]
    ours = [estimate for _, estimate in own]
    mean = Estimate(
        fmean(e.value for e in ours),
        fmean(e.low for e in ours),
        fmean(e.high for e in ours),
        min(e.n for e in ours),
    )
    return fmean(paper for paper, _ in own), mean


def _told(pairs: Sequence[tuple[Named, Named]], beginning: str) -> str:
    same, opposite, close = [], [], []
    for (a, (paper_a, ours_a)), (b, (paper_b, ours_b)) in pairs:
        if paper_a > paper_b:
            (a, paper_a, ours_a), (b, paper_b, ours_b) = (b, paper_b, ours_b), (a, paper_a, ours_a)
        name = f"{a} < {b}"
        if max(ours_a.low, ours_b.low) <= min(ours_a.high, ours_b.high):
            close.append(name)
        else:
            (same if ours_a.value < ours_b.value else opposite).append(name)
    counts = [
        f"{len(names)} {what}{_listed(names)}"
        for names, what in (
            (same, "as in the paper"),
            (opposite, "the other way round"),
            (close, "too close to tell"),
        )
    ]
    return f"**{beginning} that the paper ranks, {'; '.join(counts)}.**"


def _listed(names: Sequence[str]) -> str:
    return f" ({', '.join(names)})" if 0 < len(names) <= 6 else ""


if __name__ == "__main__":
    main()
