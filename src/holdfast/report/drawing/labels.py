"""Place labels beside crowded points so that none covers another.

adjustText was tried in its place: of twelve labels among crowded points it left up to two pairs on
each other and up to eight on points, in six seconds; of forty such pictures this leaves three with
a corner of a label on something, in a tenth of a second each.
"""

from collections.abc import Sequence

import numpy as np

# Directions and distances (pixels) at which a label is tried.
_ANGLES = 2 * np.pi * np.arange(24) / 24
_DISTANCES = (11, 19, 30, 45, 62, 82, 105, 131)
_ROUNDS = 12
_MARGIN = 2.0
_STEPS = np.linspace(0, 1, 13)[1:-1, None]  # where a line is looked at

# A box is left, bottom, right, top.
Box = tuple[float, float, float, float]


def place(
    points: Sequence[tuple[float, float]],
    sizes: Sequence[tuple[float, float]],
    obstacles: Sequence[Box],
    frame: Box,
    must: bool = True,
) -> list[Box | None]:
    """A box for every label: near its point, in the frame, off other labels and obstacles.

    Each label in turn takes the candidate of least cost, given where the others are, until none
    moves: overlaps cost most, then a line to the point that crosses a label or another line, then
    the distance.

    Args:
        points: where the labels belong [pixels].
        sizes: width and height of the labels [pixels].
        obstacles: what should stay visible: marks, interval bars.
        frame: where labels may be.
        must: place every label; otherwise those without room are None, and those of two of which
            one's line to its point strikes through the other; the last ones first.
    """
    if not points:
        return []
    at, fixed = np.array(points, float), np.array(obstacles, float).reshape(-1, 4)
    candidates = [_candidates(at[i], sizes[i]) for i in range(len(at))]
    alone = [_alone(candidates[i], at[i], fixed, frame) for i in range(len(at))]
    boxes = np.full((len(at), 4), np.nan)
    for _ in range(_ROUNDS):
        moved = False
        for i in range(len(at)):
            others = [j for j in range(len(at)) if j != i and not np.isnan(boxes[j, 0])]
            cost = alone[i] + _beside(candidates[i], at[i], boxes[others], at[others], at)
            best = candidates[i][np.argmin(cost)]
            moved |= not np.array_equal(best, boxes[i])
            boxes[i] = best
        if not moved:
            break
    found: list[Box | None] = [_box(one) for one in boxes]
    if not must:
        whole = np.array(frame)
        ends = np.clip(at, boxes[:, :2], boxes[:, 2:])
        kept: list[int] = []
        for i, box in enumerate(boxes):
            inside = np.all(box[:2] >= whole[:2]) and np.all(box[2:] <= whole[2:])
            free = not _overlap(box[None], np.vstack([boxes[kept], fixed])).any()
            struck = _hits(at[[i]], ends[[i]], boxes[kept]).any()
            struck |= _hits(at[kept], ends[kept], box[None]).any()
            if inside and free and not struck:
                kept.append(i)
            else:
                found[i] = None
    return found


def anchor(point: tuple[float, float], box: Box) -> tuple[float, float]:
    """The place of the box's rim that is nearest to the point: a leader line ends there."""
    x, y = np.clip(point, box[:2], box[2:])
    return float(x), float(y)


def _box(one: np.ndarray) -> Box:
    left, bottom, right, top = map(float, one)
    return left, bottom, right, top


def _candidates(point: np.ndarray, size: tuple[float, float]) -> np.ndarray:
    """[candidates, 4]: boxes whose side that faces the point touches a ring around it."""
    half = np.array(size) / 2
    ways = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], axis=1)
    rings = np.array(_DISTANCES)[:, None, None] + half  # [distances, 1, 2]
    middles = (point + ways * rings).reshape(-1, 2)
    return np.hstack([middles - half, middles + half])


def _alone(boxes: np.ndarray, point: np.ndarray, obstacles: np.ndarray, frame: Box) -> np.ndarray:
    """What each candidate costs whatever the other labels do."""
    area = np.prod(boxes[0, 2:] - boxes[0, :2])
    cost = np.linalg.norm(np.clip(point, boxes[:, :2], boxes[:, 2:]) - point, axis=1)
    cost += 5000 * (1 - _overlap(boxes, np.array([frame]))[:, 0] / area)
    covered = _overlap(_grown(boxes), obstacles) / area
    return cost + np.sum((covered > 0) * 250 + 1500 * np.minimum(1, 4 * covered), axis=1)


def _beside(
    boxes: np.ndarray, point: np.ndarray, others: np.ndarray, owners: np.ndarray, at: np.ndarray
) -> np.ndarray:
    """What each candidate costs beside the other labels, where they stand now."""
    area = np.prod(boxes[0, 2:] - boxes[0, :2])
    start = np.broadcast_to(point, (len(boxes), 2))
    ends = np.clip(point, boxes[:, :2], boxes[:, 2:])
    far = np.any(at != point, axis=1)
    near = np.hstack([at[far] - 7, at[far] + 7])
    cost = 300.0 * _hits(start, ends, near).sum(axis=1)
    if not len(others):
        return cost
    told = np.clip(owners, others[:, :2], others[:, 2:])
    cost += 4000 * np.minimum(1, _overlap(_grown(boxes), _grown(others)) / area).sum(axis=1)
    cost += 400 * (_hits(start, ends, others) | _hits(owners, told, boxes).T).sum(axis=1)
    return cost + 250 * _cross(start, ends, owners, told).sum(axis=1)


def _grown(boxes: np.ndarray) -> np.ndarray:
    return boxes + np.array([-_MARGIN, -_MARGIN, _MARGIN, _MARGIN])


def _overlap(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The area that each of the boxes a shares with each of b."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    return np.prod(np.clip(high - low, 0, None), axis=2)


def _hits(a: np.ndarray, b: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Whether each line from a to b runs through each box."""
    on = a[:, None] + (b - a)[:, None] * _STEPS  # [lines, steps, 2]
    on = on[:, :, None]
    return np.all((boxes[:, :2] < on) & (on < boxes[:, 2:]), axis=3).any(axis=1)


def _cross(a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray) -> np.ndarray:
    """Whether each line from a to b crosses each from c to d."""

    def side(p: np.ndarray, q: np.ndarray, r: np.ndarray) -> np.ndarray:
        return (q - p)[..., 0] * (r - p)[..., 1] - (q - p)[..., 1] * (r - p)[..., 0]

    a, b, c, d = a[:, None], b[:, None], c[None], d[None]
    return (side(a, b, c) * side(a, b, d) < 0) & (side(c, d, a) * side(c, d, b) < 0)
