"""What pictures have in common: the colours and shapes of variants, and their text."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from holdfast.escape import visible
from holdfast.report.rows import Row
from holdfast.report.sheet import settings_words
from holdfast.statistics.estimates import Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK = "#333333"
# Okabe and Ito's palette, without its yellow; the shape changes with the colour.
_COLORS = (
    "#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#808080",
    "#882255",
)  # fmt: skip
_SHAPES = "osD^vPX*p"
_DASHES = ("-", "--", ":")


def mark(number: int) -> dict[str, Any]:
    """The look of a variant by its place in the table; beyond nine, dashes tell them apart."""
    turn = number // len(_COLORS)
    return {
        "color": _COLORS[number % len(_COLORS)],
        "marker": _SHAPES[number % len(_SHAPES)],
        "linestyle": _DASHES[turn % len(_DASHES)],
    }


def intervals(axes: "Axes", x: Estimate, y: Estimate, color: str, width: float) -> None:
    """Draw a point's intervals both ways, below the point itself."""
    axes.errorbar(
        x.value,
        y.value,
        xerr=[[x.value - x.low], [x.high - x.value]],
        yerr=[[y.value - y.low], [y.high - y.value]],
        fmt="none",
        ecolor=color,
        elinewidth=width,
        alpha=0.45,
        capsize=0,
        zorder=2,
    )


def plain(text: str) -> str:
    """Text that matplotlib takes literally: a $ would begin a formula."""
    return visible(text).replace("$", r"\$")


def line_name(row: Row, shared: Sequence[str], but: str = "") -> str:
    """A row's variant, with the settings that only it has: what is one line, or one kind of point.

    Args:
        row: the row.
        shared: the axes that all variants have.
        but: an axis that does not count, for it is what the line runs over.
    """
    own = {a: value for a, value in row.axes.items() if a not in shared and a != but}
    return f"{row.variant} ({settings_words(own)})" if own else row.variant
