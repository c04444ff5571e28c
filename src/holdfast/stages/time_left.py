"""How long a stage will take yet, from how fast its share has grown of late."""

import time
from collections import deque
from collections.abc import Callable

_LOOKS_BACK = 300.0  # seconds; a stage's parts (answers, judges) go at different speeds
_EVERY = 1.0  # seconds between two points that are kept
_KNOWN_AFTER = 10.0  # seconds; before that a guess would be of the start alone


class TimeLeft:
    """Extrapolates a stage's share of work done.

    Args:
        clock: seconds from any beginning.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._points: deque[tuple[float, float]] = deque()

    def at(self, share: float) -> str:
        """Where the work stands; gives what is left in words, "" where that is not known yet.

        Args:
            share: what is done, from 0 to 1.
        """
        now, points = self._clock(), self._points
        if points and share < points[-1][1]:
            points.clear()
        if not points or now - points[-1][0] >= _EVERY:
            points.append((now, share))
        while len(points) > 2 and now - points[1][0] >= _LOOKS_BACK:
            points.popleft()
        began, first = points[0]
        if now - began < _KNOWN_AFTER or not first < share < 1:
            return ""
        return duration((1 - share) * (now - began) / (share - first)) + " left"


def duration(seconds: float | None) -> str:
    """Seconds as a person would say them."""
    if seconds is None:
        return "–"
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes = seconds / 60
    return f"{minutes:.1f} min" if minutes < 100 else f"{minutes / 60:.1f} h"
