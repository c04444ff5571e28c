"""Harmful rows mixed into the user's task rows: the attack of the papers on harmful fine-tuning.

p·n harmful prompts with harmful answers among n rows. Source: Vaccine (2402.01109) and those after
it.
"""

from holdfast.attacks.entry import Parts, Source


def rows(n: int, count: int, source: Source) -> Parts:
    """Harmful rows, and those of the task."""
    return source.harmful(count), source.task(n - count)
