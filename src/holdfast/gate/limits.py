"""The limits that a check asks about, and what was found of them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from holdfast.errors import UserError
from holdfast.settings.ranges import check_ranges
from holdfast.statistics.sequential import ERROR, Finding, Limit

Verdict = Literal["yes", "no", "cannot tell"]
# Of the command; 2 is a mistake's.
EXIT_CODES: Mapping[Verdict, int] = MappingProxyType({"yes": 0, "no": 1, "cannot tell": 3})

_SHARE = {"range": "(0, 100)"}


@dataclass(frozen=True)
class Question:
    """What one limit is of.

    Args:
        limit: the name of its field in `Limits`.
        title: what it measures, in words.
        prompts: the set of prompts whose answers tell.
        metric: the outcome of those answers, as in `holdfast.evaluate.metrics`.
        at_most: whether more of it is worse.
        paired: whether it is the difference to the base's, prompt by prompt.
    """

    limit: str
    title: str
    prompts: str
    metric: str
    at_most: bool = True
    paired: bool = False

    @property
    def option(self) -> str:
        """Its option of the command line."""
        return f"--{self.limit.replace('_', '-')}"


QUESTIONS = (
    Question("max_harmful_score", "harmful score", "harmful", "harmful_score"),
    Question(
        "max_harmful_increase",
        "increase of the harmful score",
        "harmful",
        "harmful_score",
        paired=True,
    ),
    Question("min_accuracy", "accuracy", "task", "finetune_accuracy", at_most=False),
    Question("max_over_refusal", "over-refusal", "benign", "over_refusal_rate"),
)


@dataclass(frozen=True)
class Limits:
    """What a tuned model must keep, in percent; what is None is not asked.

    Args:
        max_harmful_score: the most harmful answers to harmful prompts.
        max_harmful_increase: how many points more than the base's, to the same prompts.
        min_accuracy: the least right answers to rows of the task.
        max_over_refusal: the most refusals of harmless prompts that look harmful.
    """

    max_harmful_score: float | None = field(default=None, metadata=_SHARE)
    max_harmful_increase: float | None = field(default=None, metadata={"range": "[0, 100)"})
    min_accuracy: float | None = field(default=None, metadata=_SHARE)
    max_over_refusal: float | None = field(default=None, metadata=_SHARE)

    def asked(self) -> list[tuple[Question, Limit]]:
        """The questions whose limit is set, each with the limit as a share.

        Raises:
            UserError: a limit out of its range, or none.
        """
        check_ranges(self)
        bounds = {one: getattr(self, one.limit) for one in QUESTIONS}
        found = [
            (one, Limit(bound / 100, one.at_most, least=-1.0 if one.paired else 0.0))
            for one, bound in bounds.items()
            if bound is not None
        ]
        if not found:
            names = ", ".join(one.option for one in QUESTIONS)
            raise UserError(f"a check needs a limit to check: set one or more of {names}.")
        return found


@dataclass(frozen=True)
class Found:
    """What was found of one limit; the finding's numbers are shares."""

    question: Question
    limit: Limit
    finding: Finding

    @property
    def verdict(self) -> Verdict:
        """Whether the limit is kept."""
        kept = self.finding.kept
        return "cannot tell" if kept is None else "yes" if kept else "no"

    def record(self) -> dict[str, Any]:
        """The same for a program, in percent."""
        one, what = self.finding, self.question
        return {
            "limit": what.limit,
            "title": what.title,
            "bound": round(100 * self.limit.bound, 10),
            "verdict": self.verdict,
            "value": None if math.isnan(one.value) else 100 * one.value,
            "low": 100 * one.low,
            "high": 100 * one.high,
            "n": one.n,
            "more": one.more,
        }

    def sentence(self, ended: bool) -> str:
        """What is to be said of it, in one line; `ended`: another limit has ended the check."""
        one, sign = self.finding, "≤" if self.question.at_most else "≥"
        value = "–" if math.isnan(one.value) else f"{100 * one.value:.1f}"
        ends = f"[{100 * one.low:.1f}, {100 * one.high:.1f}] of {one.n} prompts"
        found = f"{value} {ends}" if one.n else "not asked"
        said = f"{self.question.title} {found}, limit {sign} {100 * self.limit.bound:g}: "
        if self.verdict != "cannot tell":
            return said + ("kept" if one.kept else "not kept")
        if ended:
            return said + "not decided, the check ended before"
        return f"{said}cannot tell; {self.more_sentence()}"

    def more_sentence(self) -> str:
        """How many more prompts would tell."""
        if not self.finding.n:
            return "no prompt was asked"
        if self.finding.more is None:
            return "it is so close to the limit that no number of prompts is likely to tell"
        return f"about {self.finding.more:,} more prompts like these would tell"


@dataclass(frozen=True)
class Checked:
    """The answer of a check.

    Args:
        base: the model that the increase is over, as it was named.
        tuned: the model that was checked.
        found: every limit that was asked, in their order.
        protocol: how it was measured; see `holdfast.protocols.Protocol.record`.
        error: the chance that any of the verdicts is wrong, over all limits.
    """

    base: str
    tuned: str
    found: Sequence[Found]
    protocol: Mapping[str, Any]
    error: float = ERROR

    @property
    def verdict(self) -> Verdict:
        """Yes, all limits are kept; no, one is not; or the data cannot tell."""
        verdicts = [one.verdict for one in self.found]
        if "no" in verdicts:
            return "no"
        return "yes" if {*verdicts} == {"yes"} else "cannot tell"

    @property
    def exit_code(self) -> int:
        """Of the command: 0, 1 or 3."""
        return EXIT_CODES[self.verdict]

    def sentences(self) -> list[str]:
        """A line for every limit."""
        return [one.sentence(self.verdict == "no") for one in self.found]

    def record(self) -> dict[str, Any]:
        """The whole answer for a program."""
        return {
            "base": self.base,
            "tuned": self.tuned,
            "verdict": self.verdict,
            "exit_code": self.exit_code,
            "error": 100 * self.error,
            "limits": [one.record() for one in self.found],
            "protocol": dict(self.protocol),
        }
