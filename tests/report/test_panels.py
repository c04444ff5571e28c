"""The grid of small pictures: every row is a point, in the panel of its place."""

from itertools import product
from pathlib import Path

import pytest
from run_folder import write_run

from holdfast.report.comparison import compare, read_run
from holdfast.report.figure import comparison_figure
from holdfast.report.panels import panels_figure

RATIOS, RATES, TASKS = (0.0, 0.05, 0.1, 0.2), (1e-4, 3e-4, 9e-4), ("sums", "topic")
PLACES = [
    {"harmful_ratio": p, "finetune.learning_rate": rate, "task": task}
    for p, rate, task in product(RATIOS, RATES, TASKS)
]


def rates(variant, place, seed):
    harmful = {"SFT": 0.3, "Lisa": 0.2}[variant] + 2 * place["harmful_ratio"]
    return {"harmful_score": harmful, "finetune_accuracy": 0.9}


@pytest.fixture
def compared(tmp_path):
    write_run(tmp_path, rates, ("SFT", "Lisa"), PLACES, seeds=(0, 1))
    run = read_run(tmp_path)
    return run, compare(run)


def points(axes):
    """The points of a panel by their names."""
    return {
        line.get_label(): (line.get_xdata()[0], line.get_ydata()[0])
        for line in axes.get_lines()
        if not line.get_label().startswith("_")
    }


def test_every_row_is_in_the_panel_of_its_place(compared):
    _, comparison = compared
    figure = panels_figure(comparison.rows, comparison.shared, "a title", 50)
    assert len(figure.axes) == len(PLACES)
    columns = [f"harmful ratio {p:g}" for p in RATIOS]
    assert [axes.get_title() for axes in figure.axes[:4]] == columns
    for number, axes in enumerate(figure.axes):
        label = figure.axes[number - number % 4].get_ylabel()
        here = [
            row
            for row in comparison.rows
            if row.axes["harmful_ratio"] == RATIOS[number % 4]
            and f"task {row.axes['task']}\n" in label
            and f"rate {row.axes['finetune.learning_rate'] * 1e4:g}e-4\n" in label
        ]
        assert points(axes) == {
            row.variant: (
                row.cells["harmful_score"].mean.value,
                row.cells["finetune_accuracy"].mean.value,
            )
            for row in here
        }
        assert len(here) == 2
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["SFT", "Lisa"]


def test_many_rows_are_drawn_as_panels_and_few_are_not(compared, tmp_path: Path, monkeypatch):
    run, comparison = compared
    drawn = []
    monkeypatch.setattr(
        "holdfast.report.figure.panels_figure",
        lambda *given: drawn.append(given) or panels_figure(*given),
    )
    comparison_figure(run, comparison, tmp_path / "many.png")
    assert len(drawn) == 1
    assert (tmp_path / "many.png").read_bytes().startswith(b"\x89PNG")
    write_run(tmp_path / "few", rates, ("SFT", "Lisa"), PLACES[:6], seeds=(0, 1))
    few = read_run(tmp_path / "few")
    comparison_figure(few, compare(few), tmp_path / "few.png")
    assert len(drawn) == 1


def test_places_beyond_the_picture_are_counted(tmp_path):
    places = [
        {"harmful_ratio": p, "finetune.learning_rate": rate}
        for p, rate in product(RATIOS, [1e-4 * (1 + k) for k in range(15)])
    ]
    write_run(tmp_path, rates, ("SFT",), places, seeds=(0,))
    comparison = compare(read_run(tmp_path))
    figure = panels_figure(comparison.rows, comparison.shared, "a title", 50)
    assert len(figure.axes) == 48
    assert "12 more places are not drawn" in figure.get_suptitle()
