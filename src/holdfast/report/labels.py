"""Place labels beside crowded points so that none covers another."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

# Directions and distances (pixels at 100 dpi) at which a label is tried.
_ANGLES = tuple(2 * math.pi * k / 24 for k in range(24))
_DISTANCES = (14, 26, 42, 62, 86, 114, 146, 182)


@dataclass(frozen=True)
class Box:
    """A rectangle in pixels."""

    left: float
    bottom: float
    right: float
    top: float

    def overlap(self, other: "Box") -> float:
        """The area that both cover, in square pixels."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.top, other.top) - max(self.bottom, other.bottom)
        return max(0.0, width) * max(0.0, height)

    def grown(self, margin: float) -> "Box":
        """The box with a margin around it."""
        return Box(self.left - margin, self.bottom - margin, self.right + margin, self.top + margin)


def place(
    points: Sequence[tuple[float, float]],
    sizes: Sequence[tuple[float, float]],
    obstacles: Sequence[Box],
    frame: Box,
    scale: float = 1.0,
) -> list[Box]:
    """A box for every label: near its point, in the frame, off other labels and obstacles.

    Each label in turn takes the candidate of least cost, given where the others are, until none
    moves: overlaps cost most, then a line to the point that crosses a label or another line, then
    the distance.

    Args:
        points: where the labels belong [pixels].
        sizes: width and height of the labels [pixels].
        obstacles: what should stay visible: markers, interval bars.
        frame: where labels may be.
        scale: pixels per inch, divided by 100.
    """
    found: list[Box | None] = [None] * len(points)
    for _ in range(12):
        moved = False
        for i, point in enumerate(points):
            others = [(points[j], box) for j, box in enumerate(found) if box and j != i]
            best = min(
                _candidates(point, sizes[i], scale),
                key=lambda box, point=point, others=others: _cost(
                    box, point, others, obstacles, frame, scale
                ),
            )
            moved |= best != found[i]
            found[i] = best
        if not moved:
            break
    return [box for box in found if box]


def anchor(point: tuple[float, float], box: Box) -> tuple[float, float]:
    """The place of the box's rim that is nearest to the point: a leader line ends there."""
    return (
        min(max(point[0], box.left), box.right),
        min(max(point[1], box.bottom), box.top),
    )


def _candidates(point: tuple[float, float], size: tuple[float, float], scale: float) -> list[Box]:
    width, height = size
    boxes = []
    for distance in _DISTANCES:
        for angle in _ANGLES:
            # The box touches the ring around the point with the side that faces it.
            x = point[0] + distance * scale * math.cos(angle) + width / 2 * math.cos(angle)
            y = point[1] + distance * scale * math.sin(angle) + height / 2 * math.sin(angle)
            boxes.append(Box(x - width / 2, y - height / 2, x + width / 2, y + height / 2))
    return boxes


def _cost(
    box: Box,
    point: tuple[float, float],
    others: Sequence[tuple[tuple[float, float], Box]],
    obstacles: Sequence[Box],
    frame: Box,
    scale: float,
) -> float:
    area = (box.right - box.left) * (box.top - box.bottom)
    inside = box.overlap(frame)
    end = anchor(point, box)
    cost = math.dist(point, end) / scale
    cost += 5000 * (area - inside) / area
    margin = 3 * scale
    for other_point, other in others:
        cost += 4000 * min(1.0, box.grown(margin).overlap(other.grown(margin)) / area)
        other_end = anchor(other_point, other)
        cost += 250 * _cross(point, end, other_point, other_end)
        cost += 400 * (_hits(point, end, other) + _hits(other_point, other_end, box))
        near_point = Box(*other_point, *other_point).grown(9 * scale)
        cost += 300 * _hits(point, end, near_point)
    for obstacle in obstacles:
        covered = box.grown(margin).overlap(obstacle) / area
        cost += (covered > 0) * 60 + 1500 * min(1.0, 4 * covered)
    return cost


def _cross(
    a: tuple[float, float], b: tuple[float, float], c: tuple[float, float], d: tuple[float, float]
) -> bool:
    def side(p: tuple[float, float], q: tuple[float, float], r: tuple[float, float]) -> float:
        return (q[0] - p[0]) * (r[1] - p[1]) - (q[1] - p[1]) * (r[0] - p[0])

    return side(a, b, c) * side(a, b, d) < 0 and side(c, d, a) * side(c, d, b) < 0


def _hits(a: tuple[float, float], b: tuple[float, float], box: Box) -> bool:
    """Whether the line from a to b runs through the box (looked at in 12 places)."""
    for k in range(1, 12):
        x, y = a[0] + (b[0] - a[0]) * k / 12, a[1] + (b[1] - a[1]) * k / 12
        if box.left < x < box.right and box.bottom < y < box.top:
            return True
    return False
