"""Harmful score against accuracy: every row stands where its numbers are."""

import re
from itertools import product

import pytest
from drawn import FEW, Mark, axis, compared, marks, reader, results, tree, undefended
from run_folder import write_run

from holdfast.errors import UserError
from holdfast.report.comparison import compare, read_run, run_of
from holdfast.report.drawing.canvas import Picture
from holdfast.report.drawing.tradeoff import group_picture, groups, rows_of, tradeoff_picture
from holdfast.report.words import number


def test_marks_and_bars_stand_at_the_numbers_of_the_axes():
    comparison = compared(FEW)
    (group,) = groups(comparison)
    svg = tree(group_picture(comparison, group, 920, must=True).svg())
    across, up = axis(svg, "x"), axis(svg, "y")
    to_x, to_y = reader(across), reader(up)
    assert {0, 20, 40, 60, 80, 100} == {*across}
    for value, pixel in across.items():  # all labels of an axis, not only its ends
        assert to_x(pixel) == pytest.approx(value, abs=0.1)
    found = {mark.told.partition(":")[0].partition(" (")[0]: mark for mark in marks(svg)}
    assert len(found) == len(FEW)
    bars = [
        re.findall(r"[\d.]+", one.attributes["d"])
        for one in svg.all("path")
        if one.attributes.get("stroke-opacity") == "0.5"
    ]
    # Labels are written as high as their middle, marks at the middle itself.
    off = 4.0
    for row in comparison.rows:
        hs, fa = (row.cells[name].mean for name in ("harmful_score", "finetune_accuracy"))
        mark = found[row.variant]
        assert to_x(mark.x) == pytest.approx(hs.value, abs=0.15)
        assert to_y(mark.y + off) == pytest.approx(fa.value, abs=0.15)
        assert f"HS {number(hs.value)} [{number(hs.low)}, {number(hs.high)}]" in mark.told
        ends = [(to_x(float(bar[0])), to_x(float(bar[2]))) for bar in bars]
        assert any(e == pytest.approx((hs.low, hs.high), abs=0.15) for e in ends)


def test_where_the_drawing_is_wrong_the_reader_sees_it():
    """The check above can fail: read by a shifted axis, nothing fits."""
    comparison = compared(FEW)
    (group,) = groups(comparison)
    svg = tree(group_picture(comparison, group, 920, must=True).svg())
    to_x = reader({value + 10: pixel for value, pixel in axis(svg, "x").items()})
    row = comparison.rows[0]
    assert to_x(marks(svg)[0].x) != pytest.approx(row.cells["harmful_score"].mean.value, abs=5)


def texts_of(picture: Picture) -> list[tuple[str, object]]:
    """The labels within the panels with the boxes that they cover, as matplotlib measures them."""
    return [
        (text.get_text(), text.get_window_extent())
        for axes in picture.figure.axes
        for text in axes.texts
    ]


@pytest.mark.parametrize("width", [920, 350])
def test_25_methods_are_named_and_no_label_covers_another(width):
    comparison = compared()
    assert len(comparison.rows) == 26
    (group,) = groups(comparison)
    picture = group_picture(comparison, group, width, must=width > 600)
    named = texts_of(picture)
    for i, (name, box) in enumerate(named):
        assert box.x0 >= 0
        assert box.x1 <= picture.width
        for other, beside in named[:i]:
            assert not box.overlaps(beside), (name, other)
    # Of the 28 points (the baseline stands in every panel) a narrow picture names most.
    assert len(named) > 15
    if width > 600:
        assert {name for name, _ in named} == {row.variant for row in comparison.rows}


def test_of_many_the_worst_are_drawn_behind_and_every_stage_has_its_panel():
    comparison = compared()
    picture = tradeoff_picture(comparison, "")
    titles = [axes.get_title("left") for axes in picture.figure.axes]
    assert titles == ["alignment", "fine-tuning", "repair"]
    drawn = marks(tree(picture.svg()))
    baseline = [i for i, mark in enumerate(drawn) if mark.told.startswith("SFT")]
    assert len(baseline) == 3  # the baseline stands in each
    first = [mark for mark in drawn if mark.x < picture.width / 2 and mark.y < picture.height / 2]
    assert len(first) == 10
    harm = [harmful(mark) for mark in first]
    assert harm == sorted(harm, reverse=True)


def harmful(mark: Mark) -> float:
    return float(mark.told.split("HS ")[1].split(" ")[0])


RATIOS, RATES, TASKS = (0.0, 0.05, 0.1, 0.2), (1e-4, 3e-4, 9e-4), ("sums", "topic")
PLACES = [
    {"harmful_ratio": p, "finetune.learning_rate": rate, "task": task}
    for p, rate, task in product(RATIOS, RATES, TASKS)
]


def rates(variant, place, seed):
    harmful = {"SFT": 0.3, "Lisa": 0.2}[variant] + 2 * place["harmful_ratio"]
    return {"harmful_score": harmful, "finetune_accuracy": 0.9}


def points(axes) -> set[tuple[float, float]]:
    """The points of a panel that a pointer is told of."""
    return {
        (line.get_xdata()[0], line.get_ydata()[0])
        for line in axes.get_lines()
        if (line.get_gid() or "").startswith("told-")
    }


def test_of_many_places_every_row_is_in_the_panel_of_its_place(tmp_path):
    write_run(tmp_path, rates, ("SFT", "Lisa"), PLACES, seeds=(0, 1))
    comparison = compare(read_run(tmp_path))
    figure = tradeoff_picture(comparison, "").figure
    assert len(figure.axes) == len(PLACES)
    columns = [f"harmful ratio {p:g}" for p in RATIOS]
    assert [axes.get_title("left") for axes in figure.axes[:4]] == columns
    lines = [text for text in figure.texts if text.get_text().startswith("fine-tuning")]
    lines.sort(key=lambda text: -text.get_position()[1])
    assert len(lines) == 6
    for number_, axes in enumerate(figure.axes):
        words = lines[number_ // 4].get_text()
        here = [
            row
            for row in comparison.rows
            if row.axes["harmful_ratio"] == RATIOS[number_ % 4]
            and words.endswith(f"task {row.axes['task']}")
            and f"rate {row.axes['finetune.learning_rate'] * 1e4:g}e-4," in words
        ]
        assert len(here) == 2
        assert points(axes) == {
            (row.cells["harmful_score"].mean.value, row.cells["finetune_accuracy"].mean.value)
            for row in here
        }
    key = [text.get_text() for text in figure.texts[-2:]]
    assert key == ["SFT", "Lisa"]


def test_a_place_without_rows_has_no_empty_panel(tmp_path):
    write_run(tmp_path, rates, ("SFT", "Lisa"), PLACES[:-1], seeds=(0,))
    figure = tradeoff_picture(compare(read_run(tmp_path)), "").figure
    assert len(figure.axes) == len(PLACES) - 1
    assert all(points(axes) for axes in figure.axes)


def test_places_beyond_the_picture_are_counted(tmp_path):
    places = [
        {"harmful_ratio": p, "finetune.learning_rate": rate}
        for p, rate in product(RATIOS, [1e-4 * (1 + k) for k in range(15)])
    ]
    write_run(tmp_path, rates, ("SFT",), places, seeds=(0,))
    figure = tradeoff_picture(compare(read_run(tmp_path)), "").figure
    assert len(figure.axes) == 48
    assert "12 more places are not drawn." in [text.get_text() for text in figure.texts]


def test_many_methods_at_many_places_have_a_panel_for_each_place_and_stage():
    comparison = compared(ratios=(0.05, 0.1))
    figure = tradeoff_picture(comparison, "").figure
    assert len(figure.axes) == 2 * 3
    assert [axes.get_title("left") for axes in figure.axes[:3]] == [
        *("alignment", "fine-tuning", "repair")
    ]
    assert [len(points(axes)) for axes in figure.axes] == [10, 9, 9] * 2


def test_of_many_methods_the_places_that_are_not_drawn_are_counted_not_their_panels():
    comparison = compared(ratios=[i / 100 for i in range(30)])
    figure = tradeoff_picture(comparison, "").figure
    assert len(figure.axes) == 16 * 3
    assert "14 more places are not drawn." in [text.get_text() for text in figure.texts]


def test_many_variants_without_a_defense_are_drawn():
    comparison = undefended(14, (0.1,))
    (group,) = groups(comparison)
    for picture in (
        tradeoff_picture(comparison, ""),
        group_picture(comparison, group, 920, must=True),
    ):
        assert [len(points(axes)) for axes in picture.figure.axes] == [12, 2]
        assert len(marks(tree(picture.svg()))) == 14  # none twice
    comparison = undefended(14, (0.0, 0.1, 0.2))
    figure = tradeoff_picture(comparison, "").figure
    assert [axes.get_title("left") for axes in figure.axes] == ["no defense"] * 3
    for axes, place in zip(figure.axes, groups(comparison), strict=True):
        assert points(axes) == {
            (row.cells["harmful_score"].mean.value, row.cells["finetune_accuracy"].mean.value)
            for row in place.rows
        }
        picture = group_picture(comparison, place, 920, must=False)
        assert len(marks(tree(picture.svg()))) == 14


def test_a_ratio_of_zero_does_not_change_how_a_variant_looks():
    """How a mark is filled tells the variants of a method apart, and nothing else."""
    comparison = compared(FEW, ratios=(0.0, 0.1))
    (group,) = groups(comparison)
    drawn = marks(tree(group_picture(comparison, group, 920, must=True).svg()))
    fills = {}
    for mark in drawn:
        fills.setdefault(mark.told.partition(" (")[0], set()).add(mark.fill)
    assert len(drawn) == 2 * len(fills) == 12
    assert all(len(found) == 1 for found in fills.values())


def test_a_model_that_no_user_has_tuned_does_not_stretch_the_scale():
    comparison = compared([*FEW, ("vaccine", None, None)])
    assert len(rows_of(comparison)) == len(comparison.rows) - 1
    alone = compared([("vaccine", None, None)])
    assert rows_of(alone) == alone.rows


def test_both_metrics_are_needed():
    run = run_of(results(FEW, metrics=["harmful_score"]))
    with pytest.raises(UserError, match="finetune_accuracy"):
        tradeoff_picture(compare(run), "")
