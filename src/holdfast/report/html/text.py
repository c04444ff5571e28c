"""Text and numbers for the page. Whatever a model said is shown, and nothing of it is obeyed."""

import unicodedata
from collections.abc import Mapping
from typing import Any

from markupsafe import Markup, escape

from holdfast.report.comparison import Difference, Estimate
from holdfast.report.escape import visible

# Longer texts are cut, and the page says so.
LONGEST = 600


def shown(text: str, longest: int = LONGEST) -> Markup:
    r"""A text of unknown origin as HTML of its own direction, cut to a length.

    Characters that do not print are written out, as in \x1b, in a style that tells them from a
    backslash in the text itself. Line breaks and tabs stay. ``<bdi>`` keeps the text's direction
    from what stands around it.
    """
    kept = text[:longest]
    parts, plain = [], ""
    for character in kept:
        if character in "\n\t" or unicodedata.category(character) not in _UNSEEN:
            plain += character
            continue
        parts += [escape(plain), Markup('<span class="unseen">{}</span>').format(_code(character))]
        plain = ""
    body = Markup("").join([*parts, escape(plain)])
    cut = len(text) - len(kept)
    more = Markup(' <span class="cut">… {} more characters</span>').format(f"{cut:,}")
    return Markup('<bdi dir="auto">{}</bdi>').format(body) + (more if cut else Markup(""))


_UNSEEN = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")


def _code(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def short(value: Any) -> str:
    """A value of an axis: 0.00015 as 1.5e-4, a missing one as a dash."""
    if value is None:
        return "–"
    if isinstance(value, float):
        text = f"{value:.6g}"
        if value and (abs(value) < 0.001 or abs(value) >= 1e6):
            mantissa, _, exponent = f"{value:.5e}".partition("e")
            text = f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"
        return text.replace("-", "−") if value < 0 else text
    return visible(str(value))


_STAGES = {
    "align": "alignment",
    "finetune": "fine-tuning",
    "repair": "repair",
    "evaluate": "evaluation",
}


def axis_name(axis: str) -> str:
    """An axis for people: finetune.learning_rate as "fine-tuning learning rate"."""
    kind, dot, setting = axis.partition(".")
    name = f"{_STAGES.get(kind, kind)} {setting}" if dot else axis
    return visible(name.replace("_", " "))


def place_name(axes: Mapping[str, Any]) -> str:
    """A place on some axes in words: "harmful ratio 0.1, fine-tuning learning rate 1.5e-4"."""
    return ", ".join(f"{axis_name(axis)} {short(value)}" for axis, value in axes.items())


def number(value: float, percent: bool = True) -> str:
    """One decimal for a percentage, three digits that count for anything else."""
    text = f"{value:.1f}" if percent else f"{value:.3g}"
    return text.replace("-", "−")


def interval(estimate: Estimate | Difference, percent: bool = True) -> str:
    """The interval in brackets; empty where there is none."""
    if estimate.low == estimate.high:
        return ""
    return f"[{number(estimate.low, percent)}, {number(estimate.high, percent)}]"


def signed(value: float, percent: bool = True) -> str:
    """A difference with its sign."""
    return ("+" if value > 0 else "") + number(value, percent)


def probability(p: float | None) -> str:
    """A p-value: three decimals, and none below them."""
    if p is None:
        return "–"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def whole(value: float | None) -> str:
    """A count with separators."""
    return "–" if value is None else f"{value:,.0f}"


def duration(seconds: float | None) -> str:
    """Seconds as a person would say them."""
    if seconds is None:
        return "–"
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes = seconds / 60
    return f"{minutes:.1f} min" if minutes < 100 else f"{minutes / 60:.1f} h"


def memory(size: int | None) -> str:
    """Bytes in GiB."""
    return "–" if size is None else f"{size / 2**30:.2f} GiB"
