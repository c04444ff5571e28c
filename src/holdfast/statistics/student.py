"""Student's t, from scipy, which is imported where a quantile is asked for: it takes a while."""

from typing import Any


def t_quantile(probability: float, df: Any) -> Any:
    """The quantile of Student's t with `df` degrees of freedom, which need not be whole.

    A number for a number, an array for an array.
    """
    from scipy.special import stdtrit

    return stdtrit(df, probability)


def t_within(t: Any, df: Any) -> Any:
    """P(|T| ≤ t) for Student's t with `df` degrees of freedom; numbers or arrays."""
    from scipy.special import stdtr

    return 1 - 2 * stdtr(df, -abs(t))
