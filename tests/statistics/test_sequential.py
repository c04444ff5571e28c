"""The sequential test: against sums written out, exact binomial means, and by simulation."""

import math
from itertools import product

import numpy as np
import pytest

from holdfast.errors import UserError
from holdfast.statistics.sequential import Limit, decide
from sequential_check import LIMITS, checked, drawn, endings, joint_errors, truth


def wealth(values, bound: float, most: float = 1.0) -> float:
    """The largest wealth so far, product by product: of one who bets that the mean is lower."""
    largest = 1.0
    for n in range(1, len(values) + 1):
        parts = []
        for g in range(64):
            f = math.sin(math.pi * (g + 0.5) / 128) ** 2
            parts.append(math.prod(1 - f * (x - bound) / (most - bound) for x in values[:n]))
        largest = max(largest, sum(parts) / 64)
    return largest


def test_no_bettor_gains_where_the_limit_is_broken():
    """E[W_n] over all 2^8 sequences: 1 where the mean is the limit, less where it is above."""
    for mean, bound in ((0.2, 0.2), (0.3, 0.2), (0.5, 0.4)):
        total = 0.0
        for xs in product((0, 1), repeat=8):
            chance = math.prod(mean if x else 1 - mean for x in xs)
            last = sum(
                math.prod(
                    1 - math.sin(math.pi * (g + 0.5) / 128) ** 2 * (x - bound) / (1 - bound)
                    for x in xs
                )
                for g in range(64)
            )
            total += chance * last / 64
        assert total <= 1 + 1e-12
        assert (total == pytest.approx(1)) == (mean == bound)


@pytest.mark.parametrize("n", [40, 75, 76, 77, 78, 79, 80, 90])
def test_one_limit_is_kept_when_the_wealth_is_twenty(n):
    """With one limit each claim has the whole error, 5 %."""
    values = np.zeros(n)
    (found,) = decide([Limit(0.05)], [values])
    is_there = wealth(values, 0.05) >= 20
    assert found.kept is (True if is_there else None)
    assert (found.high <= 0.05) == is_there
    assert wealth(values, found.high + 1e-9) >= 20 > wealth(values, found.high - 1e-9)


def test_no_is_the_mirrored_test():
    values = np.array([1, 0, 1, 1, 0, 1, 0, 1] * 4, dtype=float)
    (at_most,) = decide([Limit(0.2)], [values])
    assert at_most.kept is False
    assert wealth(1 - values, 0.8) >= 20
    assert wealth(1 - values, 1 - at_most.low - 1e-9) < 20 <= wealth(1 - values, 0.8)
    (at_least,) = decide([Limit(0.8, at_most=False)], [1 - values])
    assert at_least.kept is False
    assert at_least.low == pytest.approx(1 - at_most.high)
    assert at_least.high == pytest.approx(1 - at_most.low)
    (kept,) = decide([Limit(0.2, at_most=False)], [values])
    assert kept.kept is True


def test_differences_lie_between_minus_one_and_one():
    rng = np.random.default_rng(3)
    values = rng.choice([-1.0, 0.0, 1.0], 120, p=[0.1, 0.88, 0.02])
    (found,) = decide([Limit(0.03, least=-1.0)], [values])
    assert (found.kept is True) == (wealth(values, 0.03) >= 20)
    assert wealth(values, found.high + 1e-9) >= 20 > wealth(values, found.high - 1e-9)


def test_several_limits_share_the_error_by_holm():
    """Of three, the strongest claim needs 3/(α/2), then 2/(α/2), then 1/(α/2)."""
    limits = [Limit(0.05)] * 3
    steps = {3: 120.0, 2: 80.0, 1: 40.0}

    def wins(n: int) -> float:  # of who bets against a mean of 5 % while nothing happens
        bets = [math.sin(math.pi * (g + 0.5) / 128) ** 2 for g in range(64)]
        return sum((1 + f * 0.05 / 0.95) ** n for f in bets) / 64

    first = {k: next(n for n in range(300) if wins(n) >= w) for k, w in steps.items()}
    sizes = first[3], first[2], first[1]
    kept = [found.kept for found in decide(limits, [np.zeros(n) for n in sizes])]
    assert kept == [True, True, True]
    short = decide(limits, [np.zeros(n) for n in (first[3] - 1, first[2], first[1])])
    assert [found.kept for found in short] == [None, None, None]
    two = decide(limits, [np.zeros(n) for n in (first[3], first[2] - 1, first[1])])
    assert [found.kept for found in two] == [True, None, None]


def test_what_is_not_known_speaks_for_neither():
    known = np.zeros(90)
    unknown = np.concatenate([known, np.full(30, math.nan)])
    assert decide([Limit(0.05)], [known])[0].kept is True
    # Evidence that was there stays; what comes in its stead does not make more of it.
    late = np.concatenate([np.full(30, math.nan), known])
    assert decide([Limit(0.05)], [late])[0].kept is None
    assert decide([Limit(0.05)], [unknown])[0].kept is True
    only = decide([Limit(0.05)], [np.full(50, math.nan)])[0]
    assert only.kept is None
    assert math.isnan(only.value)
    assert (only.low, only.high) == pytest.approx((0, 1), abs=1e-6)


def test_so_many_more_prompts_decide():
    values = np.array([1.0, *np.zeros(49)] * 2)
    (found,) = decide([Limit(0.05)], [values])
    assert found.kept is None
    assert found.more
    count = len(values) + found.more
    alike = np.tile([1.0, *np.zeros(49)], count // 50 + 2)
    assert decide([Limit(0.05)], [alike[: count + 50]])[0].kept is True
    assert decide([Limit(0.05)], [alike[: count - 50]])[0].kept is None
    exactly = np.tile([1.0, *np.zeros(19)], 20)
    assert decide([Limit(0.05)], [exactly])[0].more is None
    (nothing,) = decide([Limit(0.05)], [np.zeros(0)])
    assert (nothing.kept, nothing.n, nothing.more) == (None, 0, None)
    assert (nothing.low, nothing.high) == pytest.approx((0, 1), abs=1e-6)


def test_a_limit_that_says_nothing_is_refused():
    for bound in (0.0, 1.0, 1.2):
        with pytest.raises(UserError, match="must lie between 0 and 1"):
            decide([Limit(bound)], [np.zeros(3)])


@pytest.mark.parametrize("rates", [(5.0, 2.0, 80.0, 10.0), (5.1, 0.0, 79.9, 10.1)])
def test_few_claims_are_wrong_whenever_one_looks(rates):
    """Four limits, all met exactly or all just broken; benchmarks/sequential_check.md has more."""
    ever, at_end = joint_errors(rates, 300, seed=1)
    assert at_end <= ever <= 5


@pytest.mark.parametrize("rate", [0.0, 1.0, 50.0])
def test_a_clear_case_ends_after_few_prompts(rate):
    generator = np.random.default_rng(1)
    outcomes = ([drawn((rate, 0, 0, 0), generator)[0]] for _ in range(150))
    yes, no, _, prompts = endings(LIMITS[:1], outcomes)
    assert prompts <= 200
    assert (no if rate > 5 else yes) >= 95


def test_the_simulation_claims_what_the_test_does():
    rates = (2.0, 1.0, 92.0, 4.0)
    outcomes = drawn(rates, np.random.default_rng(5))
    for told in checked(LIMITS, outcomes):
        found = decide(LIMITS, [values[: told.prompts] for values in outcomes])
        assert tuple(one.kept for one in found) == told.claims
        assert all(one.low <= one.value <= one.high for one in found)
    assert truth(rates) == (True, True, True, True)
