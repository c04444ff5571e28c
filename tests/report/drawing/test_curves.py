"""Over an axis: three values are a curve, two are not, and nothing is drawn of nothing."""

import pytest
from drawn import FEW, PIPELINES, axis, compared, marks, reader, results, tree, undefended
from matplotlib.text import Text

from holdfast.report.comparison import compare, run_of
from holdfast.report.drawing.curves import curves, curves_picture, metric_pictures
from holdfast.report.figures import write_figures


def value(row, metric):
    return row.cells[metric].mean.value


def by_variant(svg):
    found = {}
    for mark in marks(svg):
        found.setdefault(mark.told.partition(" (")[0], []).append(mark)
    return found


def test_a_curve_runs_through_the_numbers():
    comparison = compared(FEW, ratios=(0.05, 0.1, 0.2))
    (one,) = curves(comparison)
    for picture, metric in zip(metric_pictures(comparison, one, 400), one.metrics, strict=True):
        svg = tree(picture.svg())
        across, to_y = axis(svg, "x"), reader(axis(svg, "y"))
        assert {*across} == {0.05, 0.1, 0.2}
        drawn = by_variant(svg)
        assert {*drawn} == {row.variant for row in comparison.rows}
        aside = set()
        for name, rows in one.lines.items():
            # Points of a value stand beside each other, in the same order at every value.
            offsets = [m.x - across[row.axes["harmful_ratio"]]
                       for m, row in zip(drawn[name], rows, strict=True)]  # fmt: skip
            assert max(offsets) - min(offsets) < 0.2
            assert abs(offsets[0]) < 15
            aside.add(round(offsets[0]))
            for mark, row in zip(drawn[name], rows, strict=True):
                assert to_y(mark.y + 4) == pytest.approx(value(row, metric), abs=0.5)
            (joined,) = [p for p in svg.all("path") if passes(p, drawn[name])]
            assert joined.attributes["fill"] == "none"
        assert len(aside) == len(FEW)
        names = {text.text for text in svg.all("text")}
        assert {row.variant for row in comparison.rows} <= names


def passes(path, found) -> bool:
    """Whether a path is the line through these marks."""
    values = path.attributes["d"].replace("M", "").replace("L", "").split()
    wanted = [v for mark in found for v in (mark.x, mark.y)]
    if len(values) != len(wanted):
        return False
    return [float(v) for v in values] == pytest.approx(wanted, abs=0.1)


def test_two_values_are_a_dot_and_a_mark_in_the_variants_own_line():
    comparison = compared(FEW, ratios=(0.05, 0.1))
    (one,) = curves(comparison)
    harm, accuracy = metric_pictures(comparison, one, 400)
    for picture, metric in ((harm, "harmful_score"), (accuracy, "finetune_accuracy")):
        svg = tree(picture.svg())
        to_x = reader(axis(svg, "x"))
        names = {t.text: float(t.attributes["y"]) for t in svg.all("text")}
        drawn = by_variant(svg)
        for name, rows in one.lines.items():
            for mark, row in zip(drawn[name], rows, strict=True):
                assert to_x(mark.x) == pytest.approx(value(row, metric), abs=0.5)
                assert mark.y == pytest.approx(names[name] - 4, abs=5)
        assert "dot: 0.05, mark: 0.1" in names
        assert not {"0.05", "0.1"} & {*names}  # the two values are no axis
    # The best harmful score stands first, in both pictures.
    last = {rows[-1].variant: value(rows[-1], "harmful_score") for rows in one.lines.values()}
    for picture in (harm, accuracy):
        heights = {t.text: float(t.attributes["y"]) for t in tree(picture.svg()).all("text")}
        assert sorted(last, key=lambda n: heights[n]) == sorted(last, key=lambda n: last[n])


LONG = "Vaccine without its proximal t"  # as long as a name may be


def with_a_long_name(found: dict) -> dict:
    for record in found["records"]:
        record["coords"]["variant"] = LONG if record["align"] == "vaccine" else "SFT"
    return found


def test_nothing_of_a_picture_of_two_values_is_cut():
    """Of long names and values too, at the width that pictures have on the page."""
    found = results(PIPELINES[:2], (0.05, 0.1))
    for record in found["records"]:
        rate = {0.05: 1.23457e-5, 0.1: 0.00015}[record["harmful_ratio"]]
        record["harmful_ratio"], record["coords"] = 0.1, {"finetune.learning_rate": rate}
    comparison = compare(run_of(with_a_long_name(found)))
    (one,) = curves(comparison)
    for picture in metric_pictures(comparison, one, 400):
        texts = every_text(picture)
        assert {"dot: 1.23457e-5, mark: 1.5e-4", LONG} <= {*texts}
        for text, box in texts.items():
            assert "…" not in text
            assert 0 <= box.x0 < box.x1 <= picture.width, text


def every_text(picture) -> dict:
    """The texts of a picture with the boxes that they cover."""
    picture.figure.draw_without_rendering()
    found = [t for t in picture.figure.findobj(Text) if t.get_text() and t.get_visible()]
    return {text.get_text(): text.get_window_extent() for text in found}


def test_a_curves_names_and_title_are_cut_only_where_there_is_no_room():
    comparison = compare(run_of(with_a_long_name(results(PIPELINES[:2], (0.05, 0.1, 0.2)))))
    (one,) = curves(comparison)
    for picture, title in zip(
        metric_pictures(comparison, one, 400),
        ("HS ↓: harmful score (%)", "FA ↑: fine-tune accuracy (%)"),
        strict=True,
    ):
        texts = every_text(picture)
        assert {title, LONG, "harmful ratio"} <= {*texts}
        assert texts[title].x0 == pytest.approx(14, abs=1)
        for text, box in texts.items():
            assert 0 <= box.x0 < box.x1 <= picture.width, text


def test_the_marks_of_many_curves_stay_off_the_labels_of_the_axis():
    comparison = compared(PIPELINES[:12], ratios=(0.05, 0.1, 0.2))
    (one,) = curves(comparison)
    for picture in metric_pictures(comparison, one, 400):
        (axes,) = picture.figure.axes
        left = axes.get_window_extent().x0
        assert min(mark.x for mark in marks(tree(picture.svg()))) > left + 4


def test_25_curves_have_a_panel_for_each_stage_and_names_that_do_not_cover_each_other():
    comparison = compared(ratios=(0.05, 0.1, 0.2))
    (one,) = curves(comparison)
    picture = curves_picture(comparison, one, "")
    assert len(picture.figure.axes) == 6
    for axes in picture.figure.axes:
        boxes = [text.get_window_extent() for text in axes.texts]
        assert len(boxes) in (9, 10)
        for i, box in enumerate(boxes):
            assert box.x1 <= picture.width
            # Lines of text stand as close as in a paragraph.
            assert all(abs(box.y0 - other.y0) > 12 for other in boxes[:i])


def test_many_curves_without_a_defense_are_drawn():
    comparison = undefended(14, (0.05, 0.1, 0.2))
    (one,) = curves(comparison)
    pictures = metric_pictures(comparison, one, 400)
    assert len(pictures) == 2 * 2
    drawn = [marks(tree(picture.svg())) for picture in pictures[:2]]
    assert [len(found) for found in drawn] == [3 * 12, 3 * 2]
    names = {mark.told.partition(" (")[0] for found in drawn for mark in found}
    assert names == {row.variant for row in comparison.rows}
    assert len(curves_picture(comparison, one, "").figure.axes) == 4


def test_what_was_not_measured_is_not_drawn(tmp_path):
    run = run_of(results(FEW, (0.05, 0.1, 0.2), ["harmful_score"]))
    comparison = compare(run)
    (one,) = curves(comparison)
    picture = curves_picture(comparison, one, "")
    assert len(picture.figure.axes) == 1
    written = write_figures(run, comparison, tmp_path)
    assert [path.name for path in written] == ["curve-harmful_ratio.png", "curve-harmful_ratio.pdf"]
    run = run_of(results(FEW, (0.05, 0.1), []))
    assert write_figures(run, compare(run), tmp_path / "none") == []


def test_every_picture_is_there_for_a_page_and_for_a_paper(tmp_path):
    run = run_of(results(FEW, (0.05, 0.1)))
    written = write_figures(run, compare(run), tmp_path)
    assert [path.name for path in written] == [
        *("comparison.png", "comparison.pdf"),
        *("curve-harmful_ratio.png", "curve-harmful_ratio.pdf"),
    ]
    for path in written:
        start = {".png": b"\x89PNG", ".pdf": b"%PDF"}[path.suffix]
        assert path.read_bytes().startswith(start)
    width = int.from_bytes((tmp_path / "comparison.png").read_bytes()[16:20])
    assert width >= 1300
