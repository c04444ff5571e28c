"""Which rows are flagged: by a threshold, by a share of all, or by what known rows teach."""

import math

import numpy as np

from holdfast.data.mixing import share_count
from holdfast.errors import UserError
from holdfast.screen.base import Known, ScreenConfig


def threshold_between(known: Known) -> float:
    """The threshold that tells known harmful rows best from known safe ones.

    It maximises Youden's J(t) = share of the harmful scores ≥ t − share of the safe scores ≥ t
    (Youden 1950) and lies in the middle between two neighbouring scores; of several that are
    equally good the highest is taken, which flags the fewest rows.

    Raises:
        UserError: either set is empty, or their scores lead to no finite number.
    """
    harmful, safe = (np.asarray(some, dtype=float) for some in known)
    if not len(harmful) or not len(safe):
        raise UserError(
            "a threshold is found between known harmful rows and known safe ones, and there are "
            f"{len(harmful)} and {len(safe)}: name both, or set threshold or share."
        )
    scores = np.unique(np.concatenate([harmful, safe]))
    # At a score itself J is what it is down to the next lower one.
    gains = [float((harmful >= t).mean() - (safe >= t).mean()) for t in scores]
    best = max(i for i, gain in enumerate(gains) if gain >= max(gains) - 1e-12)
    below = scores[best - 1] if best else scores[0]
    threshold = float((below + scores[best]) / 2)
    if not math.isfinite(threshold):  # at which all rows would be flagged, or none
        raise UserError(
            "no threshold is found between the known rows, whose scores are not finite numbers, as "
            "of a kind that has a single row: name more known rows, give the model another dtype, "
            "or set threshold or share."
        )
    return threshold


def threshold_of(config: ScreenConfig, known: Known | None) -> float | None:
    """The score from which on a row is flagged; None where a share decides.

    Args:
        config: the screen's settings.
        known: the scores of known rows, of a screen that has them.

    Raises:
        UserError: there is nothing to decide by, or too few known rows to find a threshold.
    """
    if config.share is not None:
        return None
    if config.threshold is not None:
        return config.threshold
    if known is None:
        raise UserError(
            "neither threshold nor share is set, and this screen has no known rows to find a "
            "threshold by: set one of the two, such as share=0.1."
        )
    return threshold_between(known)


def check_decision(config: ScreenConfig, has_safe: bool) -> None:
    """Check that there is something to decide by, before any row is scored.

    Raises:
        UserError: there is neither a threshold nor a share, and no known safe row to find one by.
    """
    if config.finds_threshold and not has_safe:
        raise UserError(
            "neither threshold nor share is set, and there are no known safe rows to find a "
            "threshold by: name some (alignment_data=safe.jsonl), or set share=0.1, say."
        )


def flagged(scores: np.ndarray, threshold: float | None, share: float | None) -> np.ndarray:
    """Which rows are flagged.

    Args:
        scores: every row's score, [rows]; NaN where the screen could not tell, which is flagged.
        threshold: from which score on; counts without a share.
        share: ⌈share · rows⌉ rows of the highest scores, of equal ones the first.

    Returns:
        A truth value for each row.
    """
    unsure = np.isnan(scores)
    ranks = np.where(unsure, np.inf, scores)
    if share is None:
        return ranks >= threshold
    found = unsure.copy()
    found[np.argsort(-ranks, kind="stable")[: share_count(len(scores), share)]] = True
    return found
