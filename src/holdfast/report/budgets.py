"""Where rows that are compared had different budgets, in plain sentences."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from holdfast.report.words import share

# What a budget is of. Seconds and memory are what a method costs, not what it was given.
_ENTRIES = {
    "rows": "rows",
    "steps": "training steps",
    "passes": "forward-backward passes",
    "tokens": "training tokens",
    "tries": "tries",
}
_SAME = 0.01  # a difference of one per cent is not worth a sentence


@dataclass(frozen=True)
class Budget:
    """What one pipeline was given and took; None where it is not recorded.

    Args:
        rows: Rows of training and of repair, each stage's once.
        steps: Optimizer steps.
        tokens: Tokens trained on.
        passes: Forward-backward passes over a batch.
        tries: Settings that were tried before this one was chosen.
        seconds: Seconds of all stages but the evaluation.
        peak_memory_bytes: The most memory that one of them held.
        zeroed: The share of the weights looked at that the repair set to zero, 0 to 1. It is above
            the dense ratio that was asked for, as every row loses at least one weight.
    """

    rows: int | None = None
    steps: int | None = None
    tokens: int | None = None
    passes: int | None = None
    tries: int | None = None
    seconds: float | None = None
    peak_memory_bytes: int | None = None
    zeroed: float | None = None


class Budgeted(Protocol):
    """A row with a name and a budget."""

    @property
    def variant(self) -> str:
        """Its name."""
        ...

    @property
    def budget(self) -> Budget:
        """What it was given."""
        ...


def budget_notes(pairs: Iterable[tuple[Budgeted, Budgeted]]) -> list[str]:
    """A sentence on all variants whose budget is not that of the row it is compared with.

    Args:
        pairs: every row with its baseline.
    """
    by_variant: dict[str, list[tuple[Budgeted, Budgeted]]] = {}
    for row, base in pairs:
        if row.variant != base.variant:
            by_variant.setdefault(row.variant, []).append((row, base))
    alike: dict[tuple[str, str], list[str]] = {}
    for variant, compared in by_variant.items():
        parts = [part for entry in _ENTRIES if (part := _difference(compared, entry))]
        if parts:
            key = (", ".join(parts), compared[0][1].variant)
            alike.setdefault(key, []).append(variant)
    return [
        f"Budgets differ: {', '.join(variants)} had {parts} of {base}."
        for (parts, base), variants in alike.items()
    ]


def zeroed_note(rows: Iterable[Budgeted]) -> list[str]:
    """A sentence on the share of weights that each repair zeroed; none without repairs."""
    shares: dict[str, list[float]] = {}
    for row in rows:
        if row.budget.zeroed is not None:
            shares.setdefault(row.variant, []).append(row.budget.zeroed)
    told = [f"{variant} {_percent(values)}" for variant, values in shares.items()]
    return [f"Weights that the repair set to zero: {', '.join(told)}."] if told else []


def _percent(shares: Sequence[float]) -> str:
    """One share, or the lowest and the highest of several, in per cent."""
    low, high = share(min(shares)), share(max(shares))
    return low if low == high else f"{low} to {high}"


def _difference(compared: Sequence[tuple[Budgeted, Budgeted]], entry: str) -> str:
    """How one entry differs, over all places; "" where it does not or is not known."""
    values = [(getattr(a.budget, entry), getattr(b.budget, entry)) for a, b in compared]
    ratios = [(ours / theirs, ours, theirs) for ours, theirs in values if ours and theirs]
    if all(abs(ratio - 1) <= _SAME for ratio, _, _ in ratios):
        return ""
    low, high = min(ratios), max(ratios)
    if f"{low[0]:.2f}" == f"{high[0]:.2f}":
        return f"{low[0]:.2f} × the {_ENTRIES[entry]} ({low[1]:,} to {low[2]:,})"
    return f"{low[0]:.2f} to {high[0]:.2f} × the {_ENTRIES[entry]}"
