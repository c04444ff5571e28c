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
# How often the seeds' part is counted in the degrees of freedom, for two seeds and for more.
_COUNTED_OF_TWO, _COUNTED = 6, 4
# k of `combined`: seeds whose means differ by less than 1/√k of what their prompts alone make them
# differ are alike by chance, or because shares of 100 prompts are whole numbers.
_ALIKE, _ALIKE_OF_MORE = {3: 30}, 6
_UPPER = (1 + LEVEL) / 2


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

    Prompts of their own for each seed (nested): A = Var(ȳ_s)/S, what the choice of the prompts adds
    being in the seeds' means already, B = 0; E = mean(Var_i(y_si)/n_s)/S.

    The same prompts for all seeds (crossed): the two-way random-effects analysis of variance with
    one entry per cell, mean squares MS_s of the seeds, MS_p of the prompts, MS_e of the rest:
    A = MS_s/(nS), B = max(MS_p − MS_e, 0)/(nS), what the seeds share, E = MS_e/(nS).

    The rest is `combined`. Entries that are NaN (a judge that could not tell) are left out: their
    seed's mean takes their place, and V grows by what is missing. A prompt that has no other
    entries counts as not asked.
    """
    seeds, means = len(outcomes), [known_mean(values) for values in outcomes]
    mean, a = fmean(means), float(np.var(means, ddof=1)) / seeds
    prompts = min(len(values) for values in outcomes)
    if not same_prompts or len({len(values) for values in outcomes}) > 1 or prompts < 2:
        e = sum(map(_variance_of_mean, outcomes)) / seeds**2
        variance, df = combined(seeds, prompts, a, 0.0, e)
        return Moments(mean, float(variance), float(df), prompts, seeds, False)
    y = np.stack(outcomes)
    unknown = np.isnan(y)
    nowhere = unknown.all(axis=0)
    if nowhere.any() and not nowhere.all():
        return moments(list(y[:, ~nowhere]), same_prompts)
    known = 1 - float(unknown.mean())
    b, e = crossed(np.where(unknown, np.array(means)[:, None], y))
    variance, df = combined(seeds, prompts, a, b / known, e / known)
    return Moments(mean, float(variance), float(df), prompts, seeds, True)


def crossed(y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """B and E of `moments` from outcomes (…, seeds, prompts)."""
    seeds, prompts = y.shape[-2:]
    of_prompts = y.mean(axis=-2, keepdims=True)
    grand = y.mean(axis=(-2, -1), keepdims=True)
    residual = y - y.mean(axis=-1, keepdims=True) - of_prompts + grand
    rest = (residual**2).sum(axis=(-2, -1)) / ((seeds - 1) * (prompts - 1))
    between = seeds * np.var(of_prompts[..., 0, :], axis=-1, ddof=1)
    return np.maximum(between - rest, 0) / (prompts * seeds), rest / (prompts * seeds)


def combined(
    seeds: int, prompts: int, a: np.ndarray | float, b: np.ndarray | float, e: np.ndarray | float
) -> tuple[np.ndarray, np.ndarray]:
    """The variance of a mean and its degrees of freedom, from the parts A, B and E of `moments`.

    V = A + B. A, which has S − 1 degrees of freedom, holds E, what the answers' own luck makes the
    seeds differ; where A is far below it the seeds agree by luck, and V is made up to what the
    prompts alone give: V = A + B + C, C = max(E − kA, 0), k = 30 for three seeds, 6 for more.

    Degrees of freedom after Satterthwaite, with A counted c = 4 times, 6 times for two seeds:
    (cA + B + C)² / ((cA)²/(S − 1) + (B + C)²/(n − 1)). The plain formula is too sure where A is
    small by chance, which happens often with few seeds; c and k are chosen by simulation.

    Two seeds: C = 0. Seeds that tie, or nearly, say nothing of how far others would be apart, so
    the interval is at least twice as wide as one seed's prompts make it: V = 4(B + 2E), n − 1
    degrees of freedom.
    """
    a, b, e = np.asarray(a), np.asarray(b), np.asarray(e)
    c = np.zeros_like(e) if seeds == 2 else np.maximum(e - _ALIKE.get(seeds, _ALIKE_OF_MORE) * a, 0)
    variance, of_prompts = a + b + c, b + c
    counted = (_COUNTED_OF_TWO if seeds == 2 else _COUNTED) * a
    least = max(prompts - 1, 1)
    below = counted**2 / (seeds - 1) + of_prompts**2 / least
    still = variance < _NOTHING
    df = np.where(still, least, (counted + of_prompts) ** 2 / np.where(still, 1, below))
    if seeds == 2:
        alone = 4 * (b + 2 * e)
        wider = t_quantile(_UPPER, least) ** 2 * alone > t_quantile(_UPPER, df) ** 2 * variance
        variance, df = np.where(wider, alone, variance), np.where(wider, least, df)
    return np.where(variance < _NOTHING, 0.0, variance), df


def _variance_of_mean(values: np.ndarray) -> float:
    """Of one seed's mean, by the choice of its prompts; 0 where one alone does not tell."""
    count = int((~np.isnan(values)).sum())
    return float(np.nanvar(values, ddof=1)) / count if count > 1 else 0.0


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
    ends = score_ends(
        np.asarray(found.mean),
        np.asarray(found.variance),
        np.asarray(found.df),
        found.prompts,
        found.shared,
        level,
    )
    return float(ends[0]), float(ends[1])


def score_ends(
    p: np.ndarray, variance: np.ndarray, df: np.ndarray, prompts: int, shared: bool, level: float
) -> tuple[np.ndarray, np.ndarray]:
    """The ends of `score_interval` for many shares at once."""
    still = (variance < _NOTHING) | (p <= 0) | (p >= 1)
    t = t_quantile((1 + level) / 2, np.where(still, max(prompts - 1, 1), df))
    n = np.where(still, prompts, p * (1 - p) / np.where(still, 1, variance))
    rare = shared & (np.minimum(p, 1 - p) * prompts < 1)
    n = np.where(rare, np.minimum(n, prompts), n)
    center = (p + t * t / (2 * n)) / (1 + t * t / n)
    spread = np.maximum(p * (1 - p), 0.0) / n + t * t / (4 * n * n)
    half = t * np.sqrt(spread) / (1 + t * t / n)
    # At 0 and 1 the interval ends at p itself; rounding must not put it beside p.
    return np.where(p <= 0, 0.0, center - half), np.where(p >= 1, 1.0, center + half)


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
    to the bound): 93 to 97 %. Above it where fewer than about four answers a seed are expected on
    one side (100 prompts at 2 %). Two seeds: above 97 %, with intervals so wide that they say
    little. A hierarchical bootstrap (seeds, then prompts, percentiles) has down to 70 % with 3
    seeds that differ, and Student's interval over the seeds alone down to 43 % where many seeds
    share their prompts.

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
    if found.variance < _NOTHING and found.prompts < 2:
        return over_seeds(seeds, bounds)
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
    0 of the prompts. With one seed the prompts alone are covered. Without differences prompt by
    prompt: Student's interval over the seeds' values. A difference of percentages ends at ±100;
    that is also its interval where nothing is known of what chance does (one value, or equal ones
    without their prompts), ±∞ that of another number.

    Coverage (benchmarks/coverage.md, settings as in `mean_interval`): 93 to 97 %; above it where
    both rates are 2 %, and with two seeds. Of two seeds that tie, of variants that do not differ,
    at most 5 % are told apart.

    Args:
        values: the difference of each pair of seeds.
        by_prompt: the same prompt by prompt, None where the two were not asked the same.
        same_prompts: whether all seeds were asked the same prompts.
        percent: the outcomes are shares, the values percentages.
    """
    there = [v for v in by_prompt if v is not None and not np.all(np.isnan(v))]
    scale, count, alone = 100.0 if percent else 1.0, len(values), False
    if len(there) < count:  # the seeds' values alone
        scale, same_prompts, alone = 1.0, False, True
        there = [np.array([value]) for value in values]
    if count == 1:
        d = there[0][~np.isnan(there[0])]
        variance = float(np.var(d, ddof=1)) / len(d) if len(d) > 1 else math.inf
        found = Moments(float(d.mean()), variance, max(len(d) - 1, 1), len(d), 1, True)
    else:
        found = moments(there, same_prompts)
    mean = scale * found.mean
    if found.variance == math.inf or (alone and found.variance < _NOTHING):
        half, p = math.inf, 1.0  # nothing is known of what chance does
    else:
        half, p = map(
            float, half_width(found.mean, found.variance, found.df, percent, found.prompts)
        )
    low, high = mean - scale * half, mean + scale * half
    if percent:
        low, high = max(low, -100.0), min(high, 100.0)
    return Difference(mean, low, high, p, count)


def half_width(
    mean: np.ndarray | float,
    variance: np.ndarray | float,
    df: np.ndarray | float,
    percent: bool,
    prompts: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Half of the width of `difference_interval`, and the p-value, for many differences at once."""
    mean, variance, df = np.asarray(mean), np.asarray(variance), np.asarray(df)
    t = t_quantile((1 + LEVEL) / 2, df)
    error = np.sqrt(variance)
    if percent:  # where no difference varies
        error = np.where(variance < _NOTHING, t / (t * t + prompts), error)
    known = error > 0
    p = np.where(known, 1 - t_within(np.abs(mean) / np.where(known, error, 1), df), mean == 0)
    return t * error, p
