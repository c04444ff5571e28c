"""Student's t with any degrees of freedom, so that no statistics package is needed for it."""

import math
from functools import lru_cache
from statistics import NormalDist


@lru_cache(4096)
def t_quantile(probability: float, df: float) -> float:
    """The quantile of Student's t with `df` degrees of freedom, for 0.5 < probability < 1.

    Newton's steps from the normal quantile, which lies below: the distribution function is concave
    there, so they rise to the quantile and never pass it. `df` need not be whole.
    """
    t = NormalDist().inv_cdf(probability)
    log_scale = math.lgamma((df + 1) / 2) - math.lgamma(df / 2) - math.log(df * math.pi) / 2
    for _ in range(200):
        density = math.exp(log_scale - (df + 1) / 2 * math.log1p(t * t / df))
        step = (2 * probability - 1 - t_within(t, df)) / (2 * density)
        t += step
        if step <= 1e-10 * t:
            break
    return t


def t_within(t: float, df: float) -> float:
    """P(|T| ≤ t) for Student's t with `df` degrees of freedom: 1 − I_x(df/2, ½), x = df/(df + t²).

    I is the regularised incomplete beta function (Abramowitz and Stegun, 26.5.8 and 26.7.1).
    """
    return 1 - _beta(df / (df + t * t), df / 2, 0.5)


def _beta(x: float, a: float, b: float) -> float:
    """The regularised incomplete beta function I_x(a, b) by its continued fraction."""
    if x <= 0 or x >= 1:
        return min(max(x, 0.0), 1.0)
    if x > (a + 1) / (a + b + 2):  # where the fraction converges faster the other way round
        return 1 - _beta(1 - x, b, a)
    front = math.exp(
        math.lgamma(a + b)
        - math.lgamma(a)
        - math.lgamma(b)
        + a * math.log(x)
        + b * math.log1p(-x)
        - math.log(a)
    )
    # Evaluated from the front (Lentz): value = Π c·d, c and d being ratios of its convergents.
    c, d = 1.0, 1 / (1 - (a + b) * x / (a + 1))
    value = d
    for k in range(1, 500):
        even = k * (b - k) * x / ((a + 2 * k - 1) * (a + 2 * k))
        odd = -(a + k) * (a + b + k) * x / ((a + 2 * k) * (a + 2 * k + 1))
        for coefficient in (even, odd):
            d = 1 / (1 + coefficient * d)
            c = 1 + coefficient / c
            value *= c * d
        if abs(c * d - 1) < 1e-13:
            break
    return front * value
