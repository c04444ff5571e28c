"""Which rows are flagged, against plain counting."""

import math
import random

import numpy as np
import pytest

from holdfast.errors import UserError
from holdfast.screen.base import Known, Scored
from holdfast.screen.decide import flagged, threshold_between
from holdfast.screen.scoring import decide


@pytest.mark.parametrize("seed", range(8))
def test_the_threshold_is_the_best_of_all(seed):
    rng = random.Random(seed)
    harmful = [round(rng.gauss(1, 1), 1) for _ in range(30)]
    safe = [round(rng.gauss(0, 1), 1) for _ in range(40)]

    def gain(t):
        return sum(x >= t for x in harmful) / 30 - sum(x >= t for x in safe) / 40

    found = threshold_between(Known(harmful, safe))
    everywhere = [gain(t / 100) for t in range(-500, 500)]
    assert gain(found) == pytest.approx(max(everywhere))
    # In the middle of a gap, and of several gaps in the highest.
    assert found not in {*harmful, *safe}
    assert all(gain(t / 100) < gain(found) for t in range(500) if t / 100 > found + 0.1)


def test_of_equally_good_thresholds_the_one_that_flags_fewest_is_taken():
    assert threshold_between(Known([1.0, 3.0], [0.0, 2.0])) == 2.5


def test_a_threshold_needs_both_kinds_of_known_rows():
    with pytest.raises(UserError, match="there are 1 and 0"):
        threshold_between(Known([1.0], []))


def test_a_share_is_rounded_up_and_of_equal_scores_the_first_are_flagged():
    scores = np.array([1.0, 2.0, 2.0, 2.0, 0.0])
    assert flagged(scores, None, 0.3).tolist() == [False, True, True, False, False]
    assert flagged(scores, None, 0.0).sum() == 0
    assert flagged(scores, None, 1.0).all()


def test_what_could_not_be_told_is_flagged():
    scores = np.array([0.1, np.nan, 0.9, np.nan])
    assert flagged(scores, 0.5, None).tolist() == [False, True, True, True]
    assert flagged(scores, None, 0.25).tolist() == [False, True, False, True]
    assert flagged(scores, None, 0.75).tolist() == [False, True, True, True]


def test_decisions_count_kinds_and_name_examples():
    scores = [Scored(float(i % 2), f"kind {i % 2}", str(i)) for i in range(11)]
    scores.append(Scored(None, "could not tell"))
    found = decide(lambda: scores, 1.0, None)
    assert found.flagged.tolist() == [i % 2 == 1 for i in range(11)] + [True]
    assert found.kinds["kind 0"] == {"kept": 6, "flagged": 0, "examples": []}
    assert found.kinds["kind 1"] == {"kept": 0, "flagged": 5, "examples": [2, 4, 6]}
    assert found.kinds["could not tell"]["flagged"] == found.unsure == 1


def test_no_more_kinds_are_told_than_one_can_read():
    scores = [Scored(1.0, f"kind {i}") for i in range(500)]
    found = decide(lambda: scores, 1.0, None)
    assert len(found.kinds) == 41
    assert sum(one["flagged"] for one in found.kinds.values()) == 500
    assert found.kinds["other kinds"]["flagged"] == 460


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_known_scores_that_are_no_numbers_find_no_threshold(value):
    """At a threshold of NaN no row at all would be flagged, not even one that is NaN itself."""
    with pytest.raises(UserError, match="whose scores are not finite numbers"):
        threshold_between(Known([value, value], [0.0, 1.0]))
