"""A picture: drawn once with matplotlib, given as PNG, as PDF for a paper, as SVG for the page.

Places and sizes are pixels of the page from the upper left corner; one is a point of paper. Nothing
of a user's own matplotlib settings, no date and no random number goes into a picture.
"""

import bisect
import functools
import os
import unicodedata
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
from markupsafe import Markup
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text

from holdfast.errors import UserError
from holdfast.escape import visible
from holdfast.report.drawing.looks import INK, PANEL, SOFT, Look
from holdfast.report.drawing.svg import page_svg

DPI = 160  # of a PNG
_EDGE = 6  # pixels that a line of text stays off the picture's end
_LONGEST = 300  # characters of any text
_SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "holdfast",
    "pdf.fonttype": 42,
    "text.parse_math": False,  # a $ begins no formula
    "text.color": INK,
    "font.family": ["DejaVu Sans"],
    "font.size": 11,
    "path.simplify": False,
}


@contextmanager
def settings() -> Iterator[None]:
    """Matplotlib as it comes, with what all pictures share; no word of glyphs that a font lacks."""
    if matplotlib.rcParams["svg.hashsalt"] == _SETTINGS["svg.hashsalt"]:
        yield  # they are in force
        return
    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        warnings.filterwarnings("ignore", message="Matplotlib currently does not support")
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_SETTINGS)
        yield


class Picture:
    """A figure of a size in pixels.

    Args:
        width, height: its size.
        label: what it shows, for those who do not see it.
    """

    def __init__(self, width: float, height: float, label: str):
        self.width, self.height, self.label = width, height, label
        self.figure = Figure(figsize=(width / 72, height / 72), dpi=72, facecolor=PANEL)
        self._told: list[str] = []

    def axes(self, left: float, top: float, width: float, height: float) -> Axes:
        """Axes without a frame in a rectangle; nothing is cut at their border."""
        bottom = self.height - top - height
        place = (left / self.width, bottom / self.height, width / self.width, height / self.height)
        axes = self.figure.add_axes(place, facecolor="none")
        axes.set_axisbelow(True)
        for side in axes.spines.values():
            side.set_visible(False)
        return axes

    def words(self, x: float, y: float, text: str, **style: Any) -> Text:
        """A line of text whose middle is at a height, from a place to the picture's right end."""
        style = {"ha": "left", "va": "center", "fontsize": 11, "color": SOFT, **style}
        found = self.figure.text(x / self.width, 1 - y / self.height, "", **style)
        room = self.width - x - _EDGE
        found.set_text(fitted(text, room, style["fontsize"], style.get("fontweight", "normal")))
        return found

    def mark(self, x: float, y: float, look: Look) -> None:
        """A mark at a place, as in a legend."""
        place = ([x / self.width], [1 - y / self.height])
        line = Line2D(*place, linestyle="none", **look.marker(8))
        self.figure.add_artist(line)

    def tell(self, artist: Artist, words: str) -> None:
        """Have a pointer on the artist show some words."""
        artist.set_gid(f"told-{len(self._told)}")
        self._told.append(plain(words, _LONGEST))

    @settings()
    def svg(self, look: str = "") -> Markup:
        """The picture as an element of a page, with a class of its style; see `page_svg`."""
        return page_svg(self.figure, plain(self.label, _LONGEST), self._told, look)

    @settings()
    def save(self, path: Path) -> None:
        """Write the picture as its file's ending says (.png or .pdf), whole or not at all.

        Raises:
            UserError: it cannot be written.
        """
        kind = path.suffix.removeprefix(".")
        # A PDF has the date and both have matplotlib's version otherwise.
        undated = {"png": {"Software": None}, "pdf": {"CreationDate": None, "Producer": None}}
        beside = path.with_name(path.name + ".new")
        try:
            self.figure.savefig(
                beside, format=kind, dpi=DPI if kind == "png" else 72, metadata=undated[kind]
            )
            os.replace(beside, path)
        except OSError as error:
            raise UserError(f"{path} cannot be written: {error.strerror or error}.") from None
        finally:
            beside.unlink(missing_ok=True)


@functools.cache
def size(text: str, fontsize: float, weight: str = "normal") -> tuple[float, float]:
    """Width and height of a text as it will be drawn."""
    figure = Figure(dpi=72)
    probe = Text(0, 0, plain(text, _LONGEST), fontsize=fontsize, fontweight=weight, figure=figure)
    box = probe.get_window_extent(FigureCanvasAgg(figure).get_renderer())
    return box.width, box.height


def fitted(text: str, room: float, fontsize: float, weight: str = "normal") -> str:
    """A text as `plain` gives it, cut where it would be wider than the room."""

    def fits(length: int) -> bool:
        return size(plain(text, length), fontsize, weight)[0] <= room

    if fits(_LONGEST):
        return plain(text, _LONGEST)
    return plain(text, bisect.bisect_left(range(1, _LONGEST), True, key=lambda n: not fits(n)))


def plain(text: str, longest: int = 60) -> str:
    """Text of unknown origin for a picture: what does not print is written out, its end is cut."""
    # XML knows no U+FFFE and the like, which are no characters at all.
    known = "".join(c if unicodedata.category(c) != "Cn" else f"\\u{ord(c):04x}" for c in text)
    shown = visible(known[: longest + 1])
    return shown if len(shown) <= longest else shown[:longest] + "…"
