"""A sequential test of several limits at once: yes, no, or the data cannot tell, at any time.

Outcomes x₁, x₂ … of prompts in the order of a random draw lie in [a, b]; their mean μ is what a
limit m is of ("at most m"). The evidence that μ < m is the wealth of one who bets against μ ≥ m:

    W_n(m) = (1/G) Σ_g Π_{i ≤ n} (1 − f_g (x_i − m)/(b − m)),   f_g = sin²(π(g + ½)/(2G))

Every factor is ≥ 0 and has a mean of at most 1 where μ ≥ m, so W_n is a nonnegative
supermartingale, and by Ville's inequality P(W_n ≥ 1/α for any n) ≤ α: one may look after every
prompt, stop when one likes, and go on later with more prompts. That is the test of Waudby-Smith and
Ramdas (Estimating means of bounded random variables by betting, JRSS B 86, 2024; arXiv 2010.09686)
with a mixture over the bets instead of one that is adapted; the bets are as dense as those of
Krichevsky and Trofimov's mixture (Beta(½, ½), Cover's universal portfolio). For shares it is
Robbins's mixture of likelihood ratios (1970). W_n grows with m, so that the m with W_n(m) ≥ 1/α are
those above a bound: the upper end of an interval that holds at all times (a confidence sequence).
"No" is the same test of a + b − x and a + b − m.

Of k limits, "yes" claims that μ_i > m_i is wrong, k hypotheses, and "no" that μ_i ≤ m_i is.
Each kind is corrected by Holm's method over the k limits, on p_i = 1/max_n W_n, at half of the
error: P(any claim is wrong) ≤ α, whatever the limits have to do with each other (Holm 1979; that it
holds at any time with such p-values: Howard, Ramdas, McAuliffe and Sekhon 2021, arXiv 1810.08240).
With one limit only one of its two claims can be wrong, and each has the whole error.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from holdfast.errors import UserError

ERROR = 0.05
_BETS = 64
FRACTIONS = np.sin(np.pi / 2 * (np.arange(_BETS) + 0.5) / _BETS) ** 2
# With more prompts than this nobody asks: the limit is as good as met exactly.
_MANY = 100_000
_HALVINGS = 40  # of an interval of length 2: to 2e-12


@dataclass(frozen=True)
class Limit:
    """What a mean must not pass.

    Args:
        bound: the limit, in the outcomes' unit, between `least` and `most`.
        at_most: whether the mean must be at most `bound`; else at least.
        least: the smallest outcome that can be: 0 for a share, −1 for a difference of two.
        most: the largest.
    """

    bound: float
    at_most: bool = True
    least: float = 0.0
    most: float = 1.0


@dataclass(frozen=True)
class Finding:
    """What is known of a limit.

    Args:
        kept: True, the mean keeps the limit; False, it does not; None, the data cannot tell.
        value: the mean of the known outcomes; NaN without any.
        low: the lower end of the interval at the level that decides, at all times at once.
        high: its upper end; `kept` is True exactly where all of it is within the limit.
        n: how many outcomes.
        more: about how many more would decide, if they are like those so far; None where it is
            decided, or more than 100,000 would be needed.
    """

    kept: bool | None
    value: float
    low: float
    high: float
    n: int
    more: int | None = None


def decide(
    limits: Sequence[Limit], outcomes: Sequence[np.ndarray], error: float = ERROR
) -> list[Finding]:
    """What the outcomes so far say of every limit; the chance that any claim is wrong is `error`.

    Args:
        limits: the limits, at least one.
        outcomes: for each its outcomes in the order of the draw. NaN is one that is not known (a
            judge cannot tell): it counts as the worst for "yes" and as the best for "no".
        error: of all claims together, however often and whenever one looks.

    Raises:
        UserError: a bound outside of what the outcomes can be.
    """
    _check(limits)
    return [
        _finding(limit, values, *one)
        for limit, values, one in zip(
            limits, outcomes, _tested(limits, outcomes, error), strict=True
        )
    ]


def claims(
    limits: Sequence[Limit], outcomes: Sequence[np.ndarray], error: float = ERROR
) -> list[bool | None]:
    """`Finding.kept` of every limit alone, for who looks many times: the intervals take long.

    Args:
        limits: as of `decide`.
        outcomes: likewise.
        error: likewise.

    Raises:
        UserError: likewise.
    """
    _check(limits)
    return [kept for kept, _, _ in _tested(limits, outcomes, error)]


def _check(limits: Sequence[Limit]) -> None:
    for limit in limits:
        if not limit.least < limit.bound < limit.most:
            raise UserError(
                f"a limit of {limit.bound:g} says nothing: it must lie between {limit.least:g} "
                f"and {limit.most:g}."
            )


@dataclass(frozen=True)
class _Bets:
    """Outcomes (n) in [least, most], against whose mean being `bound` or more is bet."""

    outcomes: np.ndarray
    bound: float
    least: float
    most: float

    def logs(self, bound: float) -> np.ndarray:
        """log of every factor, (n, bets)."""
        share = (self.outcomes - bound) / (self.most - bound)
        return np.log1p(-FRACTIONS * share[:, None])

    def path(self, bound: float) -> np.ndarray:
        """log W_n(bound) for every n from 1."""
        return _log_mean(self.logs(bound).cumsum(axis=0))

    def evidence(self, bound: float | None = None) -> float:
        """max_n log W_n(bound); 0 without outcomes."""
        path = self.path(self.bound if bound is None else bound)
        return max(0.0, float(path.max())) if len(path) else 0.0

    def upper(self, needed: float) -> float:
        """The smallest bound whose evidence is `needed` or more; `most` where there is none."""
        low, high = self.least, self.most
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            low, high = (low, middle) if self.evidence(middle) >= needed else (middle, high)
        return high

    def more(self, needed: float) -> int | None:
        """How many more outcomes like these bring the evidence to `needed`."""
        n = len(self.outcomes)
        if not n:
            return None
        mean = self.logs(self.bound).mean(axis=0)

        def enough(count: int) -> bool:
            return float(_log_mean(count * mean[None])[0]) >= needed

        low, high = n, _MANY
        if n >= _MANY or not enough(high):
            return None
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if enough(middle) else (middle, high)
        return high - n


def _log_mean(logs: np.ndarray) -> np.ndarray:
    """log of the mean over the bets, (n) from (n, bets)."""
    largest = logs.max(axis=-1)
    return largest + np.log(np.exp(logs - largest[..., None]).mean(axis=-1))


def _test(limit: Limit, values: np.ndarray) -> tuple[_Bets, _Bets]:
    """The bets for "yes, the limit is kept" and for "no", both against a mean that is too high."""
    values = np.asarray(values, dtype=float)
    least, most, whole = limit.least, limit.most, limit.least + limit.most
    worst = most if limit.at_most else least
    best = whole - worst
    for_yes = np.where(np.isnan(values), worst, values)
    for_no = np.where(np.isnan(values), best, values)
    above = _Bets(for_yes if limit.at_most else for_no, limit.bound, least, most)
    below = _Bets(whole - (for_no if limit.at_most else for_yes), whole - limit.bound, least, most)
    return (above, below) if limit.at_most else (below, above)


def evidence_paths(limit: Limit, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """max_{i ≤ n} log W_i of "yes" and of "no" after every outcome, for who looks at many times."""
    yes, no = (np.maximum.accumulate(bets.path(bets.bound)) for bets in _test(limit, values))
    return np.maximum(yes, 0.0), np.maximum(no, 0.0)


def needed_by_holm(evidence: Sequence[float], error: float) -> list[float]:
    """How much evidence (log) each claim needs: by Holm, less for each one that is there already.

    The j-th strongest of k, counted from 0, needs log((k − j)/error), and that all before it have
    what they need; those that fail need what the strongest of them does.
    """
    order = sorted(range(len(evidence)), key=lambda i: -evidence[i])
    needed, there = [0.0] * len(evidence), 0
    for place, i in enumerate(order):
        there = place if there == place else there
        needed[i] = math.log((len(evidence) - there) / error)
        if there == place and evidence[i] >= needed[i]:
            there = place + 1
    return needed


def _tested(
    limits: Sequence[Limit], outcomes: Sequence[np.ndarray], error: float
) -> list[tuple[bool | None, tuple[_Bets, _Bets], tuple[float, float]]]:
    """Of every limit what is claimed, the bets for "yes" and "no", and what each of them needs."""
    each = error if len(limits) == 1 else error / 2
    tests = [_test(limit, values) for limit, values in zip(limits, outcomes, strict=True)]
    yes, no = ([pair[side].evidence() for pair in tests] for side in (0, 1))
    needed = [*zip(needed_by_holm(yes, each), needed_by_holm(no, each), strict=True)]
    sides = [(a >= b, c >= d) for a, c, (b, d) in zip(yes, no, needed, strict=True)]
    kept = [None if a == b else a for a, b in sides]
    return [*zip(kept, tests, needed, strict=True)]


def _finding(
    limit: Limit,
    values: np.ndarray,
    kept: bool | None,
    test: tuple[_Bets, _Bets],
    needed: tuple[float, float],
) -> Finding:
    (yes, no), (for_yes, for_no) = test, needed
    whole = limit.least + limit.most
    above, below = (yes, no) if limit.at_most else (no, yes)
    needed_above, needed_below = (for_yes, for_no) if limit.at_most else (for_no, for_yes)
    known = values[~np.isnan(values)] if len(values) else values
    value = float(known.mean()) if len(known) else math.nan
    ends = sorted((whole - below.upper(needed_below), above.upper(needed_above)))
    more = None
    if kept is None:
        guesses = [yes.more(for_yes), no.more(for_no)]
        more = min((one for one in guesses if one is not None), default=None)
    return Finding(kept, value, ends[0], ends[1], len(values), more)
