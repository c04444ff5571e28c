"""Labels cover nothing, wherever the points crowd."""

import random

import pytest

from holdfast.report.drawing.labels import anchor, place


def overlap(a, b) -> float:
    width, height = (min(a[i + 2], b[i + 2]) - max(a[i], b[i]) for i in (0, 1))
    return max(0.0, width) * max(0.0, height)


@pytest.mark.parametrize("seed", range(8))
def test_labels_of_crowded_points_cover_nothing(seed):
    draw = random.Random(seed)
    frame = (0, 0, 450, 270)
    points = [(draw.gauss(360, 40), draw.gauss(200, 20)) for _ in range(12)]
    obstacles = [(x - 6, y - 6, x + 6, y + 6) for x, y in points]
    sizes = [(draw.uniform(30, 130), 13) for _ in points]
    boxes = place(points, sizes, obstacles, frame)
    for i, box in enumerate(boxes):
        assert box is not None
        assert overlap(box, frame) == pytest.approx(sizes[i][0] * 13)
        assert all(overlap(box, other) == 0 for other in boxes[:i])
        assert all(overlap(box, obstacle) == 0 for obstacle in obstacles)


def test_where_there_is_no_room_the_last_have_no_label():
    points = [(50, 50 + i) for i in range(9)]
    boxes = place(points, [(80, 13)] * 9, [], (0, 0, 100, 100), must=False)
    kept = [box for box in boxes if box]
    assert 2 <= len(kept) < 9  # above the points and below: beside them no name fits
    assert boxes[0] is not None
    for i, box in enumerate(kept):
        assert all(overlap(box, other) == 0 for other in kept[:i])
    assert place([], [], [], (0, 0, 1, 1)) == []


@pytest.mark.parametrize("seed", range(12))
def test_where_not_all_need_a_label_no_leader_strikes_through_a_name(seed):
    draw = random.Random(seed)
    frame = (0, 0, 290, 260)
    points = [(draw.gauss(200, 40), draw.gauss(180, 25)) for _ in range(12)]
    obstacles = [(x - 6, y - 6, x + 6, y + 6) for x, y in points]
    sizes = [(draw.uniform(50, 150), 13) for _ in points]
    boxes = place(points, sizes, obstacles, frame, must=False)
    kept = [(point, box) for point, box in zip(points, boxes, strict=True) if box]
    assert kept
    for point, own in kept:
        end = anchor(point, own)
        # Halves of a step of the search may graze a corner.
        on = [[a + (b - a) * k / 200 for a, b in zip(point, end, strict=True)] for k in range(201)]
        for _, box in kept:
            if box != own:
                left, bottom, right, top = box
                assert not any(left + 5 < x < right - 5 and bottom + 5 < y < top - 5 for x, y in on)


def test_a_leader_ends_at_the_nearest_place_of_the_rim():
    assert anchor((0, 5), (10, 0, 20, 8)) == (10, 5)
    assert anchor((15, 20), (10, 0, 20, 8)) == (15, 8)
