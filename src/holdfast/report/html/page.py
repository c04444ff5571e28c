"""Everything that the page shows, brought together, and the page itself."""

import base64
import hashlib
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from holdfast.escape import visible
from holdfast.report.comparison import Comparison, Run, compare
from holdfast.report.drawing.canvas import settings
from holdfast.report.drawing.looks import PALETTE
from holdfast.report.findings import findings
from holdfast.report.html import budget
from holdfast.report.html.about import About, about, made_by
from holdfast.report.html.figures import Figure, Legend, legend, over_attacks, over_axes, tradeoff
from holdfast.report.html.judges import agreement_rows
from holdfast.report.html.layers import Pictures, layer_pictures
from holdfast.report.html.published import Published, published
from holdfast.report.html.samples import Samples, samples
from holdfast.report.html.tables import (
    Filter,
    Table,
    differences,
    filters,
    main_table,
    other_table,
)
from holdfast.report.html.text import shown
from holdfast.report.words import axis_name, short

# Characters of an error's text; its end, which names the error, is kept.
_LONGEST_ERROR = 6000
# Lines of the table of all differences.
_MOST_DIFFERENCES = 1500


@dataclass(frozen=True)
class Page:
    """What the template shows; the parts are described where they are made."""

    run: Run
    comparison: Comparison
    findings: list[str]
    about: About
    main: Table
    other: Table | None
    differences: list[list[str]]
    differences_left_out: int
    filters: list[Filter]
    legend: list[Legend]
    tradeoff: Figure | None
    curves: list[Figure]
    worst: budget.Table | None
    attacks: Figure | None
    published: Published | None
    layers: list[Pictures]
    search: tuple[budget.Table, str] | None
    budget: budget.Table
    agreements: list[list[str]]
    samples: Samples
    failures: list[tuple[str, Markup]]
    unfinished: list[list[str]]
    unfinished_axes: list[str]
    made_by: str
    style: Markup
    script: Markup
    style_hash: str
    script_hash: str

    @property
    def shared(self) -> list[str]:
        """The axes within one place of which rows are compared, in words."""
        return [axis_name(axis) for axis in self.comparison.shared]

    @property
    def failures_title(self) -> str:
        """What to call what is not there."""
        return "Failures" if self.run.failures or self.run.skipped else "Not finished"

    @property
    def sections(self) -> list[tuple[str, str]]:
        """The sections that there are: their anchors and titles."""
        run = self.run
        there = {
            "findings": ("What was found", self.findings),
            "results": ("Results", True),
            "tradeoff": ("HS against FA", self.tradeoff),
            "curves": ("Swept axes", self.curves),
            "worst": ("Worst case", self.worst),
            "attacks": ("Attacks × defenses", self.attacks),
            "published": ("Published numbers", self.published),
            "layers": ("Layers", self.layers),
            "budget": ("Budget", True),
            "search": ("Search", self.search),
            "judges": ("Judges", self.agreements),
            "samples": ("Samples", self.samples.groups),
            "failures": (self.failures_title, run.failures or run.skipped or run.unfinished),
            "notes": ("Notes", run.notes and not self.published),
            "run": ("What was run", True),
        }
        return [(anchor, title) for anchor, (title, shown) in there.items() if shown]


@settings()  # once for all pictures
def page_of(run: Run, baseline: str | None = None) -> Page:
    """Gather what the page shows; see `compare` for the baseline.

    Raises:
        UserError: no such baseline; a stage's file is broken.
    """
    comparison = compare(run, baseline)
    found = differences(comparison)
    style, script = _style(), _file("script.js")
    axes = list(dict.fromkeys(axis for one in run.unfinished for axis in one.axes))
    return Page(
        run=run,
        comparison=comparison,
        findings=findings(comparison),
        about=about(run),
        main=main_table(comparison),
        other=other_table(comparison),
        differences=found[:_MOST_DIFFERENCES],
        differences_left_out=max(0, len(found) - _MOST_DIFFERENCES),
        filters=filters(comparison),
        legend=legend(comparison),
        tradeoff=tradeoff(comparison),
        curves=over_axes(comparison),
        worst=budget.worst_table(comparison),
        attacks=over_attacks(comparison),
        published=published(run, comparison),
        layers=layer_pictures(run, comparison.shared),
        budget=budget.ledger_table(comparison),
        search=budget.search_table(run),
        agreements=agreement_rows(run),
        samples=samples(run, comparison.shared),
        failures=[(stage, _error(text)) for stage, text in run.failures.items()],
        unfinished=[
            [one.variant, *(short(one.axes.get(a)) for a in axes), str(one.seed), one.state]
            for one in run.unfinished
        ],
        unfinished_axes=[axis_name(axis) for axis in axes],
        made_by=made_by(),
        style=Markup(style),
        script=Markup(script),
        style_hash=_hash(style),
        script_hash=_hash(script),
    )


def render(page: Page) -> str:
    """The page as HTML."""
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_printable,
    )
    return environment.from_string(_file("page.html.jinja")).render(page=page) + "\n"


def _printable(value: Any) -> Any:
    """Text of a run's files, such as a variant's name, with what does not print written out."""
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _error(text: str) -> Markup:
    kept = text[-_LONGEST_ERROR:]
    return shown("…\n" + kept if len(kept) < len(text) else kept, len(kept) + 2)


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"sha256-{base64.b64encode(digest).decode('ascii')}"


def _style() -> str:
    """The style sheet; the colours of the pictures are those that they are drawn in."""
    colors = (
        f"  --{name}: light-dark({light}, {dark});" for name, (light, dark) in PALETTE.items()
    )
    return ":root {\n" + "\n".join(colors) + "\n}\n" + _file("style.css")


def _file(name: str) -> str:
    return files("holdfast.report.html").joinpath(name).read_text(encoding="utf-8")
