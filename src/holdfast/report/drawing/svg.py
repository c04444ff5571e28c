"""From matplotlib's SVG to one that stands inside the page, in its light and in its dark."""

import io
import math
import re
from collections.abc import Sequence
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from markupsafe import Markup
from matplotlib.figure import Figure

from holdfast.report.drawing.looks import PALETTE

_VARIABLES = {light: f"var(--{name})" for name, (light, _) in PALETTE.items()}
# What the page's style sheet says for all texts, or what is SVG's own default.
_LEFT_TO_THE_PAGE = {"font", "font-family", "font-style", "font-variant", "font-stretch"}
_DEFAULTS = {("stroke-linejoin", "miter"), ("text-anchor", "start"), ("font-weight", "400")}
_LINK = "{http://www.w3.org/1999/xlink}href"


def page_svg(figure: Figure, label: str, told: Sequence[str], look: str) -> Markup:
    """The figure as an ``<svg>`` element for a page.

    It has no style attribute, which the page's policy forbids, and no id, so any number of
    pictures may stand on one page; what is used several times is written where it is used. The
    drawn colours are exchanged for the page's variables.

    Args:
        figure: the figure.
        label: what it shows, for those who do not see it.
        told: the words of the artists whose gid is ``told-NUMBER``.
        look: its class; "fixed" is of the figure's own size, not of the page's width, and a "key"
            is hidden from those who read the name beside it.
    """
    file = io.BytesIO()
    figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    source = ElementTree.fromstring(file.getvalue())
    parts = {one.get("id"): one for one in source.iter() if one.get("id")}
    width, height = (
        f"{float(source.get(k, '0').removesuffix('pt')):g}" for k in ("width", "height")
    )
    root = Element("svg", {"viewBox": f"0 0 {width} {height}"})
    root.attrib |= {"class": look} if look else {}
    root.attrib |= {"width": width, "height": height} if look == "fixed" else {}
    told_to_all = {"role": "img", "aria-label": label}
    root.attrib |= {"aria-hidden": "true"} if look == "key" else told_to_all
    for child in source:
        _into(root, child, parts, told)
    return Markup(ElementTree.tostring(root, encoding="unicode"))


def _into(
    parent: Element, source: Element, parts: dict[str | None, Element], told: Sequence[str]
) -> None:
    tag = source.tag.rpartition("}")[2]
    if tag in ("metadata", "defs"):
        return
    number = (source.get("id") or "").removeprefix("told-")
    words = told[int(number)] if number.isdecimal() else None
    if tag == "g" and words is None:
        for child in source:  # a group that says nothing
            _into(parent, child, parts, told)
        return
    if tag == "use":
        # A mark: the path that it names, where it is used.
        shape = parts[source.attrib[_LINK].removeprefix("#")]
        place = f"translate({_short(source.get('x', '0'))} {_short(source.get('y', '0'))})"
        given = {"d": shape.attrib["d"], "transform": place, "style": source.get("style", "")}
        ElementTree.SubElement(parent, "path", _attributes(given))
        return
    given = _attributes(source.attrib)
    if tag == "path" and given.get("fill") == "none" and "stroke" not in given:
        return  # the ground, which is the page's
    found = ElementTree.SubElement(parent, tag, given)
    found.text = source.text if tag == "text" else None
    if words is not None:
        ElementTree.SubElement(found, "title").text = words
    for child in source:
        _into(found, child, parts, told)


def _attributes(given: dict[str, str]) -> dict[str, str]:
    """Attributes of an element, those of its style among them."""
    found = {}
    for name in ("d", "x", "y", "transform"):
        if name in given:
            found[name] = _short(given[name])
    # matplotlib turns every text, most of them by nothing, and places it twice.
    if found.get("transform", "").startswith(("rotate(0 ", "rotate(-0 ")):
        del found["transform"]
    for part in filter(None, given.get("style", "").split("; ")):
        name, _, value = part.partition(": ")
        if name in _LEFT_TO_THE_PAGE or (name, value) in _DEFAULTS:
            continue
        if name in ("fill", "stroke") and value.startswith("#"):
            value = _VARIABLES[value.lower()]
        found[name] = value
    return found


def _short(text: str) -> str:
    """Numbers of a path or place with two decimals, without line breaks."""
    text = re.sub(r"\s+", " ", text.strip())
    return re.sub(r"-?\d+\.\d{3,}", lambda m: _number(float(m[0])), text)


def _number(value: float) -> str:
    rounded = round(value, 2)
    return f"{rounded:g}" if math.fabs(rounded) < 1e4 else str(rounded)
