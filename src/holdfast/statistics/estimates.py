"""95 % intervals of one seed's answers and of several values; corrections for many comparisons.

What an interval covers is said by the function that makes it. Percentages are 0 to 100.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import fmean, stdev

from holdfast.errors import UserError
from holdfast.statistics.student import t_quantile

LEVEL = 0.95
PERCENT = (0.0, 100.0)


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval [low, high] and the count n that it rests on.

    `n` counts prompts or rows for one seed, and seeds for a difference between methods.
    """

    value: float
    low: float
    high: float
    n: int

    def record(self) -> dict[str, float]:
        """The entry of results.json: {"value", "low", "high", "n"}."""
        return asdict(self)


@dataclass(frozen=True)
class Difference:
    """A difference with its 95 % interval [low, high].

    `p` is the two-sided p-value of no difference by the same statistic as the interval, so p < 0.05
    where the interval leaves out 0; `p_holm` is the one corrected for several comparisons, where
    there are such. `seeds` is how many pairs of seeds it rests on.
    """

    value: float
    low: float
    high: float
    p: float
    seeds: int
    p_holm: float | None = None


def wilson(k: int, n: int, level: float = LEVEL) -> Estimate:
    """The share k of n in percent, with Wilson's score interval (95 % or another level).

    center = (p + z²/2n) / (1 + z²/n); half = z·√(p(1−p)/n + z²/4n²) / (1 + z²/n).
    Covers the choice of the n prompts, for one trained model.
    """
    if not 0 <= k <= n or n == 0:
        raise UserError(f"a share needs 0 <= k <= n and n > 0, not k = {k} and n = {n}")
    from scipy.stats import binomtest  # takes a second to import

    ends = binomtest(k, n).proportion_ci(level, method="wilson")
    p = k / n
    # At k = 0 and k = n the interval ends at p itself; rounding must not put it beside p.
    low, high = (0.0 if k == 0 else ends.low), (1.0 if k == n else ends.high)
    return Estimate(100 * p, 100 * float(low), 100 * float(high), n)


def t_interval(values: Sequence[float]) -> Estimate:
    """The mean of `values` with Student's interval, mean ± t·s/√n, in the values' own unit.

    Covers whatever differs from one value to the next. Needs two values or more.
    """
    n = len(values)
    if n < 2:
        raise UserError(f"an interval over values needs at least 2 of them, not {n}")
    mean = fmean(values)
    half = t_quantile((1 + LEVEL) / 2, n - 1) * stdev(values) / math.sqrt(n)
    return Estimate(mean, mean - half, mean + half, n)


def over_seeds(seeds: Sequence[Estimate], bounds: tuple[float, float] = PERCENT) -> Estimate:
    """The mean over seeds, with a 95 % interval that covers seeds AND prompts.

    Each entry is one seed's value v_s with its own interval [l_s, h_s] over prompts (`wilson` for
    a percentage, `t_interval` for a loss). Two sources of error add up:

    - seeds: half width t = t₀.₉₇₅(S−1)·s/√S of Student's interval over the seeds' values;
    - prompts: the mean distances d = mean(v_s − l_s) and u = mean(h_s − v_s), *not* divided by
      √S, since seeds that answer the same prompts share the luck of their choice.

    They are combined as independent errors are (MOVER; Zou and Donner 2008):
    low = v̄ − √(t² + d²), high = v̄ + √(t² + u²), cut off at `bounds`. The interval is therefore
    never narrower than one seed's own: 0 of 200 in every seed is not [0, 0]. Where every seed has
    prompts of its own, their choice is in s already and the interval is wider than it need be.
    One seed alone: its own interval, which covers the prompts only. `n` is the prompts per seed
    (the smallest).

    Checked by simulation (tests/statistics/test_statistics.py): with 5 seeds × 200 prompts the
    truth is inside in 95 % of the cases or more; a plain bootstrap over seeds and prompts reaches
    88 %, and Student's interval alone 8 to 95 %. With 2 seeds and a rare, very uneven outcome (mean
    2 %, most seeds at 0) it falls to 83 %.
    """
    if not seeds:
        raise UserError("there is no seed to average over")
    if len(seeds) == 1:
        return seeds[0]
    between = t_interval([seed.value for seed in seeds])
    half = between.high - between.value
    below = fmean(seed.value - seed.low for seed in seeds)
    above = fmean(seed.high - seed.value for seed in seeds)
    low = between.value - math.hypot(half, below)
    high = between.value + math.hypot(half, above)
    n = min(seed.n for seed in seeds)
    return Estimate(between.value, max(low, bounds[0]), min(high, bounds[1]), n)


def holm(values: Sequence[float]) -> list[float]:
    """Holm's step-down correction: the k-th smallest of m p-values times m − k + 1, made monotone.

    Holm 1979. Entry i of the result is the corrected p-value of entry i.
    """
    order = sorted(range(len(values)), key=lambda i: values[i])
    found, largest = [0.0] * len(values), 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(values) - rank) * values[i]))
        found[i] = largest
    return found
