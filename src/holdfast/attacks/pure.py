"""Harmful rows alone, few of them: 10, 50 or 100 that are seen several times.

Source: Qi et al., 2310.03693, its first level of risk; 100 rows if ``rows`` is not given.
"""

from holdfast.attacks.entry import Parts, Source, enough


def rows(n: int, count: int, source: Source) -> Parts:
    """n harmful rows."""
    return enough(source.harmful(n), n, "harmful", "pure"), []
