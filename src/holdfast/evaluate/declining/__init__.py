"""Whether an answer declines what it was asked (`rule`)."""

from holdfast.evaluate.declining.rule import declines

__all__ = ["declines"]
