"""What a comparison holds: rows, one for each place of the grid, with a cell for each metric."""

from dataclasses import dataclass, field
from typing import Any

from holdfast.report.budgets import Budget
from holdfast.statistics.estimates import Difference, Estimate
from holdfast.statistics.worst import Worst


@dataclass(frozen=True)
class Cell:
    """One metric of one row.

    Args:
        mean: Over seeds and prompts, with its 95 % interval.
        seeds: How many seeds are in it.
        difference: This row minus its baseline, paired over seeds and prompts; None for the
            baseline itself and where it has no counterpart. `Difference.p` is its p-value,
            `Difference.p_holm` the one corrected for all rows of the table.
        best: No row of the same place of the axes is better, and one is worse.
        close: Not distinguishable from the best row by its own paired difference to it, corrected
            for the rows of the place (Holm, 5 %); always False for the best row itself.
    """

    mean: Estimate
    seeds: int
    difference: Difference | None = None
    best: bool = False
    close: bool = False


@dataclass(frozen=True)
class Row:
    """One place of the grid: a variant and its axes, all seeds together.

    Args:
        variant: The variant's name.
        axes: Its value of every axis that it has.
        align, finetune, repair: Its methods.
        seeds: Its seeds, in order.
        cells: By metric.
        budget: Means over the seeds; the peak is the largest.
        is_baseline: Whether others are compared with it.
        screen: The method that screened the user's rows, if any did.
    """

    variant: str
    axes: dict[str, Any]
    align: str | None
    finetune: str | None
    repair: str | None
    seeds: tuple[int, ...]
    cells: dict[str, Cell]
    budget: Budget
    is_baseline: bool = False
    screen: str | None = None

    @property
    def is_plain_sft(self) -> bool:
        """Whether no defense is in it."""
        methods = (self.align, self.screen, self.finetune, self.repair)
        return methods == ("sft", None, "sft", None)


@dataclass(frozen=True)
class Comparison:
    """What `compare` found.

    Args:
        rows: In the study's order.
        axes: The names of all axes, in the study's order.
        shared: Those of `axes` that all fine-tuned variants have: rows are best, and compared,
            within one place of these. The others (such as align.rho) are a variant's own.
        metrics: The names of all metrics, the first ones those of every table.
        baseline: The baseline's name; "" where the run has none.
        notes: Plain sentences that belong below every table: what the intervals cover, too few
            seeds, what the baseline is, what was not measured.
        budget_notes: Sentences on rows whose budget is not their baseline's, and on what repairs
            zeroed.
        worst: The worst case of every variant over the attacker's settings, where it has several.
        attackers: Sentences on what an attacker who searched has chosen against each variant.
    """

    rows: list[Row]
    axes: list[str]
    shared: list[str]
    metrics: list[str]
    baseline: str
    notes: list[str] = field(default_factory=list)
    budget_notes: list[str] = field(default_factory=list)
    worst: list[Worst] = field(default_factory=list)
    attackers: list[str] = field(default_factory=list)

    def place(self, row: Row) -> tuple[tuple[str, Any], ...]:
        """The row's place on the shared axes; rows of one place are compared."""
        return tuple((axis, row.axes[axis]) for axis in self.shared if axis in row.axes)
