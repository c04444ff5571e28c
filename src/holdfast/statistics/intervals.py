"""Means and paired differences over seeds and prompts, from outcomes prompt by prompt.

A result varies from seed to seed (the training) and from prompt to prompt (which were asked). An
interval that says where another study with other seeds and other prompts would end covers both.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from holdfast.errors import UserError
from holdfast.statistics.estimates import LEVEL, PERCENT, Difference, Estimate, over_seeds, wilson
from holdfast.statistics.student import t_quantile, t_within

_NOTHING = 1e-15  # a variance of shares that is rounding


@dataclass(frozen=True)
class Moments:
    """The mean of outcomes over seeds and prompts, and how well it is known.

    Args:
        mean: Over the seeds' means.
        variance: Of that mean.
        df: The degrees of freedom that the variance is known with.
        prompts: Prompts per seed.
        seeds: Seeds.
        shared: Whether the seeds were asked the same prompts.
    """

    mean: float
    variance: float
    df: float
    prompts: int
    seeds: int
    shared: bool


def moments(outcomes: Sequence[np.ndarray], same_prompts: bool) -> Moments:
    """Mean, variance and degrees of freedom from outcomes y_si of two or more seeds s, prompts i.

    Prompts of their own for each seed (nested): V = Var(ȳ_s)/S with S − 1 degrees of freedom, what
    the choice of the prompts adds being in the seeds' means already.

    The same prompts for all seeds (crossed): the two-way random-effects analysis of variance with
    one entry per cell, mean squares MS_s of the seeds, MS_p of the prompts, MS_e of the rest:
    V = A + B, A = MS_s/(nS), B = max(MS_p − MS_e, 0)/(nS): B is what the seeds share. Degrees of
    freedom after Satterthwaite, but with A counted c = 2 times, 6 times for two seeds:
    (cA + B)² / ((cA)²/(S − 1) + B²/(n − 1)). The plain formula is too sure where A is small by
    chance, which happens often with few seeds (coverage down to 91 %); c is chosen by simulation.

    Entries that are NaN (a judge that could not tell) are left out: their seed's mean takes their
    place, and V grows by what is missing. A prompt that has no other entries counts as not asked.
    """
    seeds, means = len(outcomes), [known_mean(values) for values in outcomes]
    mean, spread = fmean(means), float(np.var(means, ddof=1)) / seeds
    prompts = min(len(values) for values in outcomes)
    if not same_prompts or len({len(values) for values in outcomes}) > 1 or prompts < 2:
        return Moments(mean, spread, seeds - 1, prompts, seeds, False)
    y = np.stack(outcomes)
    unknown = np.isnan(y)
    nowhere = unknown.all(axis=0)
    if nowhere.any() and not nowhere.all():
        return moments(list(y[:, ~nowhere]), same_prompts)
    known = 1 - float(unknown.mean())
    y = np.where(unknown, np.array(means)[:, None], y)
    of_prompts = y.mean(axis=0)
    residual = y - y.mean(axis=1, keepdims=True) - of_prompts + y.mean()
    rest = float((residual**2).sum()) / ((seeds - 1) * (prompts - 1))
    shared = seeds * float(np.var(of_prompts, ddof=1)) - rest
    b = max(shared, 0.0) / (prompts * seeds) / known
    if spread + b < _NOTHING:
        return Moments(mean, 0.0, prompts - 1, prompts, seeds, True)
    a = (6 if seeds == 2 else 2) * spread
    df = (a + b) ** 2 / (a**2 / (seeds - 1) + b**2 / (prompts - 1))
    return Moments(mean, spread + b, df, prompts, seeds, True)


def known_mean(values: np.ndarray) -> float:
    """The mean of the entries that are not NaN."""
    mean = float(values.mean())
    return float(np.nanmean(values)) if math.isnan(mean) else mean  # which is slow


def score_interval(found: Moments, level: float = LEVEL) -> tuple[float, float]:
    """The interval of a share (0 to 1): Wilson's, with n = p(1 − p)/V and Student's quantile.

    n is the number of independent answers that would know the share as well (the effective sample
    size of surveys, Korn and Graubard 1998); the quantile has the degrees of freedom of V. Where V
    is 0 it is one seed's Wilson interval. Where seeds share the prompts and give less than one
    answer each on one side (p·prompts < 1), n is at most the prompts of one seed: one prompt that
    happens to be answered does not tell how rare such prompts are.
    """
    p = found.mean
    rare = found.shared and min(p, 1 - p) * found.prompts < 1
    still = found.variance < _NOTHING
    t = t_quantile((1 + level) / 2, found.prompts - 1 if still else found.df)
    n = float(found.prompts) if still else p * (1 - p) / found.variance
    n = min(n, found.prompts) if rare else n
    center = (p + t * t / (2 * n)) / (1 + t * t / n)
    half = t * math.sqrt(max(p * (1 - p), 0.0) / n + t * t / (4 * n * n)) / (1 + t * t / n)
    # At 0 and 1 the interval ends at p itself; rounding must not put it beside p.
    return (0.0 if p == 0 else center - half), (1.0 if p == 1 else center + half)


def mean_interval(
    seeds: Sequence[Estimate],
    outcomes: Sequence[np.ndarray | None],
    same_prompts: bool,
    percent: bool,
    level: float = LEVEL,
) -> Estimate:
    """The mean over seeds with a 95 % interval that covers seeds AND prompts.

    A percentage: `score_interval` of the `moments` of its outcomes (0 or 1). A loss or a distance:
    Student's interval mean ± t·√V, cut off at 0. One seed: its own interval, of the prompts only.
    Without outcomes prompt by prompt: `over_seeds`, which is wider.

    Coverage by simulation (benchmarks/coverage.md: 3, 5 and 10 seeds × 100 and 500 prompts, shared
    or not; rates of 2 to 95 %; between-seed spread up to 15 points and at most 0.6 of the distance
    to the bound): 93 to 97 %. Above it, up to 98 %, where fewer than about four answers a seed are
    expected on one side (100 prompts at 2 %). Two seeds: 93 to 97 % in the middle and up to 100 %
    towards the bounds, with intervals so wide that they say little. Not reached with a spread as
    large as the rate itself, such as most seeds at 0: about 93 %. A hierarchical bootstrap (seeds,
    then prompts, percentiles) has down to 69 % with 3 seeds that differ, and Student's interval
    over the seeds alone down to 43 % where many seeds share their prompts.

    Args:
        seeds: each seed's value with its interval over prompts.
        outcomes: each seed's outcomes in the order of its prompts.
        same_prompts: whether all seeds were asked the same prompts.
        percent: the unit is a percentage; else the outcomes' own.
        level: another level than 95 %.
    """
    if not seeds:
        raise UserError("there is no seed to average over")
    bounds = PERCENT if percent else (0.0, math.inf)
    there = [values for values in outcomes if values is not None and len(values)]
    if len(seeds) == 1 and (level == LEVEL or not there):
        return seeds[0]
    if len(seeds) == 1 and percent:
        return wilson(int(np.nansum(there[0])), int((~np.isnan(there[0])).sum()), level)
    if len(there) < len(seeds):
        return over_seeds(seeds, bounds)
    found = moments(there, same_prompts)
    n = min(seed.n for seed in seeds)
    if percent:
        low, high = score_interval(found, level)
        return Estimate(100 * found.mean, 100 * low, 100 * high, n)
    half = t_quantile((1 + level) / 2, found.df) * math.sqrt(found.variance)
    return Estimate(found.mean, max(found.mean - half, bounds[0]), found.mean + half, n)


def difference_interval(
    values: Sequence[float],
    by_prompt: Sequence[np.ndarray | None],
    same_prompts: bool,
    percent: bool,
) -> Difference:
    """The mean difference of two rows over seeds and prompts, with 95 % interval and p-value.

    A seed fixes the base, the user's rows and the prompts of both, so what they share cancels. The
    `moments` of the differences d_si prompt by prompt; mean ± t·√V; p = P(|T| ≥ |mean|/√V) with
    the same degrees of freedom, so that p < 0.05 exactly where the interval leaves out 0. Where no
    difference varies (as where both never answer), √V is what Wilson's interval has for a share of
    0 of the prompts. Of shares the interval ends at ±100. With one seed the prompts alone are
    covered. Without differences prompt by
    prompt: Student's interval over the seeds' values.

    Coverage (benchmarks/coverage.md, settings as in `mean_interval`): 93 to 97 %; 92 % where rates
    of 2 and 10 % vary much between 3 seeds; up to 98 % where both are 2 %.

    Args:
        values: the difference of each pair of seeds.
        by_prompt: the same prompt by prompt, None where the two were not asked the same.
        same_prompts: whether all seeds were asked the same prompts.
        percent: the outcomes are shares, the values percentages.
    """
    there = [v for v in by_prompt if v is not None and not np.all(np.isnan(v))]
    scale, count = 100.0 if percent else 1.0, len(values)
    if len(there) < count:  # the seeds' values alone
        if count == 1:
            return Difference(values[0], -math.inf, math.inf, 1.0, 1)
        scale, same_prompts = 1.0, False
        there = [np.array([value]) for value in values]
    if count == 1:
        d = there[0][~np.isnan(there[0])]
        variance = float(np.var(d, ddof=1)) / len(d) if len(d) > 1 else math.inf
        found = Moments(float(d.mean()), variance, max(len(d) - 1, 1), len(d), 1, True)
    else:
        found = moments(there, same_prompts)
    df, error = found.df, math.sqrt(found.variance)
    if found.variance < _NOTHING and found.prompts > 1:
        df = found.prompts - 1
        t = t_quantile((1 + LEVEL) / 2, df)
        error = t / (t * t + found.prompts) if percent else 0.0
    half = t_quantile((1 + LEVEL) / 2, df) * error
    p = 1 - t_within(abs(found.mean) / error, df) if error else float(found.mean == 0)
    mean = scale * found.mean
    low, high = mean - scale * half, mean + scale * half
    if percent:  # of two shares no difference is larger
        low, high = max(low, -PERCENT[1]), min(high, PERCENT[1])
    return Difference(mean, low, high, p, count)
