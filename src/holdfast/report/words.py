"""Values, axes and measures in words, the same in every form of the report."""

import math
from collections.abc import Mapping
from typing import Any

from holdfast.escape import visible
from holdfast.statistics.estimates import Difference, Estimate


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
    "screen": "screening",
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


def named(variant: str, axes: Mapping[str, Any]) -> str:
    """A variant with its place on axes: "Lisa (fine-tuning rho 0.1)"."""
    return f"{variant} ({place_name(axes)})" if axes else variant


def number(value: float, percent: bool = True) -> str:
    """One decimal for a percentage, three digits that count for anything else."""
    text = f"{value:.1f}" if percent else f"{value:.3g}"
    return text.replace("-", "−")


def interval(estimate: Estimate | Difference, percent: bool = True) -> str:
    """The interval in brackets; empty where there is none, or where it has no ends."""
    if estimate.low == estimate.high or not math.isfinite(estimate.high - estimate.low):
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


def share(value: float | None) -> str:
    """A share of 0 to 1 in per cent."""
    return "–" if value is None else f"{100 * value:.3g} %"


def memory(size: int | None) -> str:
    """Bytes in GiB."""
    return "–" if size is None else f"{size / 2**30:.2f} GiB"
