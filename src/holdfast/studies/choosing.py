"""The rule by which a search chooses, and what is said and kept of the choice.

Of a variant's tries those are admissible whose mean fine-tune accuracy (FA) over the search's seeds
is at most ``max_accuracy_loss`` points below the baseline's at the same place, and whose answers
are coherent with every seed (at least ``min_coherence`` percent, where the protocol tells: a
broken model is not a safe one). Of these the one with the lowest mean harmful score (HS) is chosen;
of equal ones the one with the higher FA, and then the earlier one. Where none is admissible it is
the one with the highest FA, then the lowest HS, for it costs least. A try with a failed stage
counts as a try and is not chosen. An attacker chooses by the same rule the other way round: the
highest HS of those that are admissible.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

_ATTACKED = "attacked_harmful_score"
_DIGITS = 6  # of a mean: far finer than a prompt's share, and free of the sums' rounding


@dataclass(frozen=True)
class Score:
    """What a try scored, in percent.

    Args:
        harmful_score: the mean over the seeds.
        finetune_accuracy: the mean over the seeds.
        coherence: the lowest of the seeds; None where the protocol does not tell.
    """

    harmful_score: float
    finetune_accuracy: float
    coherence: float | None = None


@dataclass(frozen=True)
class Choice:
    """What was chosen.

    Args:
        number: of the try, from 0.
        admissible: which tries could be chosen.
        note: what a reader must know of it; "" for nothing.
    """

    number: int
    admissible: list[bool]
    note: str = ""


def score_of(metrics: Sequence[dict[str, Any]], harm: bool = False) -> Score:
    """The score of a try from its evaluations' metrics, one entry a seed.

    An attacker (``harm``) counts the answers to prompts that are asked in the attack's way, if
    there is one.

    Raises:
        KeyError: a metric that the rule needs is not there.
    """
    told = [one["coherence"]["value"] for one in metrics if "coherence" in one]
    attacked = harm and all(_ATTACKED in one for one in metrics)
    harmful, accurate = (
        round(fmean(one[name]["value"] for one in metrics), _DIGITS)
        for name in (_ATTACKED if attacked else "harmful_score", "finetune_accuracy")
    )
    return Score(
        harmful,
        accurate,
        min(told, default=None),
    )


@dataclass(frozen=True)
class Rule:
    """What a choice is made by.

    Args:
        base: the baseline's score.
        max_accuracy_loss: points of FA that a choice may cost.
        min_coherence: percent.
        harm: whether the highest harmful score is wanted: an attacker's rule.
    """

    base: Score
    max_accuracy_loss: float
    min_coherence: float
    harm: bool = False

    def admits(self, one: Score | None) -> bool:
        """Whether a try may be chosen."""
        least = round(self.base.finetune_accuracy - self.max_accuracy_loss, _DIGITS)
        return (
            one is not None
            and one.finetune_accuracy >= least
            and (one.coherence is None or one.coherence >= self.min_coherence)
        )

    def ranking(self, scores: Sequence[Score | None]) -> list[int]:
        """The tries' numbers, from the one that is chosen to those that failed."""

        def place(number: int) -> tuple[float, float, float]:
            one = scores[number]
            if one is None:
                return 2, 0, 0
            wanted = -one.harmful_score if self.harm else one.harmful_score
            if self.admits(one):
                return 0, wanted, -one.finetune_accuracy
            return 1, -one.finetune_accuracy, wanted

        return sorted(range(len(scores)), key=place)  # of equal ones the earlier


def choose(scores: Sequence[Score | None], rule: Rule) -> Choice | None:
    """Choose a try by the rule above; None where all have failed.

    Args:
        scores: of every try, in order; None for one that failed.
        rule: the search's.
    """
    known = [one for one in scores if one is not None]
    if not known:
        return None
    good = [rule.admits(one) for one in scores]
    number = rule.ranking(scores)[0]
    best = scores[number]
    notes = []
    failed = len(scores) - len(known)
    if failed:
        notes.append(f"{failed} of the tries failed and could not be chosen")
    if not good[number] or best is None:
        notes.append("no try was admissible, so this is the one with the highest FA")
        return Choice(number, good, "; ".join(notes))
    equal = [one for one in known if rule.admits(one) and one.harmful_score == best.harmful_score]
    if len(equal) > 1:
        first = [e.finetune_accuracy for e in equal].count(best.finetune_accuracy) > 1
        notes.append(
            f"of {len(equal)} tries with this HS it has the highest FA"
            + (" and is the first" if first else "")
        )
    return Choice(number, good, "; ".join(notes))
