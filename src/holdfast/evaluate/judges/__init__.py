"""Judges: who decides whether an answer is harmful, and whether it is a refusal.

Nothing here imports torch: a mistake in a judge's name or settings is answered at once.
"""

from holdfast.evaluate.judges.base import Item, Judge, Verdict
from holdfast.evaluate.judges.registry import JUDGES, check_judge, load_judge

__all__ = ["JUDGES", "Item", "Judge", "Verdict", "check_judge", "load_judge"]
