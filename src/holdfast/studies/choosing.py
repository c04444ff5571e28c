"""The rule by which a search chooses, and what is said and kept of the choice.

Of a variant's tries those are admissible whose mean fine-tune accuracy (FA) over the search's seeds
is at most ``max_accuracy_loss`` points below the baseline's at the same place, and whose answers
are coherent with every seed (at least ``min_coherence`` percent, where the protocol tells: a
broken model is not a safe one). Of these the one with the lowest mean harmful score (HS) is chosen;
of equal ones the one with the higher FA, and then the earlier one. Where none is admissible it is
the one with the highest FA, then the lowest HS, for it costs least. A try with a failed stage
counts as a try and is not chosen.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

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


def score_of(metrics: Sequence[dict[str, Any]]) -> Score:
    """The score of a try from its evaluations' metrics, one entry a seed.

    Raises:
        KeyError: a metric that the rule needs is not there.
    """
    told = [one["coherence"]["value"] for one in metrics if "coherence" in one]
    harmful, accurate = (
        round(fmean(one[name]["value"] for one in metrics), _DIGITS)
        for name in ("harmful_score", "finetune_accuracy")
    )
    return Score(
        harmful,
        accurate,
        min(told, default=None),
    )


def choose(
    scores: Sequence[Score | None], base: Score, max_accuracy_loss: float, min_coherence: float
) -> Choice | None:
    """Choose a try by the rule above; None where all have failed.

    Args:
        scores: of every try, in order; None for one that failed.
        base: the baseline's.
        max_accuracy_loss: points of FA that a choice may cost.
        min_coherence: percent.
    """
    least = round(base.finetune_accuracy - max_accuracy_loss, _DIGITS)
    good = [
        one is not None
        and one.finetune_accuracy >= least
        and (one.coherence is None or one.coherence >= min_coherence)
        for one in scores
    ]
    known = [(i, one) for i, one in enumerate(scores) if one is not None]
    if not known:
        return None
    notes = []
    failed = len(scores) - len(known)
    if failed:
        notes.append(f"{failed} of the tries failed and could not be chosen")
    if not any(good):
        number, _ = min(known, key=lambda t: (-t[1].finetune_accuracy, t[1].harmful_score, t[0]))
        notes.append("no try was admissible, so this is the one with the highest FA")
        return Choice(number, good, "; ".join(notes))
    allowed = [(i, one) for i, one in known if good[i]]
    number, best = min(allowed, key=lambda t: (t[1].harmful_score, -t[1].finetune_accuracy, t[0]))
    equal = [one for _, one in allowed if one.harmful_score == best.harmful_score]
    if len(equal) > 1:
        first = [e.finetune_accuracy for e in equal].count(best.finetune_accuracy) > 1
        notes.append(
            f"of {len(equal)} tries with this HS it has the highest FA"
            + (" and is the first" if first else "")
        )
    return Choice(number, good, "; ".join(notes))
