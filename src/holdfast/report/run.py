"""A run as data: every finished pipeline with its outcomes, and what is not finished."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from holdfast.report.budgets import Budget
from holdfast.statistics.estimates import Estimate


@dataclass(frozen=True)
class Result:
    """One finished pipeline with one seed.

    Args:
        variant: Its name in the study.
        axes: Its place on the study's axes, among them harmful_ratio where that varies.
        seed: Its seed.
        align, finetune, repair: Its methods; None for no such stage.
        metrics: Every metric with the interval of this seed alone.
        outcomes: By metric an entry per prompt, NaN where a judge could not tell; empty where no
            evaluation.json is there.
        prompts: The fingerprint of the prompts that a metric was measured on.
        stages: The folders of its stages by kind, relative to the run's.
        budget: What it took.
        left_out: What its evaluation says that it did not measure, and why.
        system_prompt: The hash of the system prompt that it was asked with; "" without one.
        screen: The method that screened the user's rows, if any did.
    """

    variant: str
    axes: dict[str, Any]
    seed: int
    align: str | None
    finetune: str | None
    repair: str | None
    metrics: dict[str, Estimate]
    outcomes: dict[str, np.ndarray] = field(default_factory=dict)
    prompts: dict[str, str] = field(default_factory=dict)
    stages: dict[str, str] = field(default_factory=dict)
    budget: Budget = field(default_factory=Budget)
    left_out: tuple[str, ...] = ()
    system_prompt: str = ""
    screen: str | None = None

    @property
    def is_plain_sft(self) -> bool:
        """Whether no defense is in it: plain SFT as alignment and as fine-tuning, and no more."""
        methods = (self.align, self.screen, self.finetune, self.repair)
        return methods == ("sft", None, "sft", None)


@dataclass(frozen=True)
class Unfinished:
    """A pipeline without results: its place, and "failed", "skipped" or "not finished"."""

    variant: str
    axes: dict[str, Any]
    seed: int
    state: str


@dataclass(frozen=True)
class Run:
    """All that a run's folder says.

    Args:
        root: The folder.
        title, command, about, notes, published, holdfast: As study.json has them.
        protocol: How it was measured: name, version and the rest.
        results: Every finished pipeline and seed, in the study's order.
        unfinished: The others.
        stages: Every stage of the study by name: {"kind", "method", "needs"}.
        failures: The error's text by the stage's name.
        skipped: The stages that were not run since one that they need failed.
        search: What study.json has of the searches for settings, one entry a study.
        records: What results.json holds of every finished pipeline and seed.
        places: The coords of all pipelines of study.json, finished or not.
    """

    root: Path
    title: str
    command: str
    about: list[dict[str, Any]]
    notes: list[str]
    published: list[dict[str, Any]]
    holdfast: str
    protocol: dict[str, Any]
    results: list[Result]
    unfinished: list[Unfinished] = field(default_factory=list)
    stages: dict[str, dict[str, Any]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    search: list[dict[str, Any]] = field(default_factory=list)
    records: list[dict[str, Any]] = field(default_factory=list)
    places: list[dict[str, Any]] = field(default_factory=list)
