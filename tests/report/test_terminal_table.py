"""The table for a terminal: no value is cut, and what has no room is named."""

import io
import re

import pytest
from rich.cells import cell_len
from rich.console import Console
from run_folder import write_run

from holdfast.report.comparison import compare, read_run
from holdfast.report.sheet import Column, Entry, Sheet, results_sheet
from holdfast.report.table import TerminalSheet

AXES = [
    {"harmful_ratio": p, "finetune.learning_rate": rate, "task": task}
    for p in (0.0, 0.1)
    for rate in (1.5e-4, 4.5e-4)
    for task in ("sums", "topic")
]


@pytest.fixture(scope="module")
def sheet(tmp_path_factory):
    root = tmp_path_factory.mktemp("run")
    rate = lambda *_: {"harmful_score": 0.5, "finetune_accuracy": 1.0, "over_refusal_rate": 0.02}  # noqa: E731
    write_run(root, rate, ("SFT", "Lisa"), AXES, names={"Lisa": "Vaccine + Lisa + Antidote"})
    return results_sheet(compare(read_run(root)), "a title")


def shown(sheet: Sheet, width: int) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(TerminalSheet(sheet))
    return console.file.getvalue()


@pytest.mark.parametrize("width", range(28, 160, 3))
def test_no_value_is_cut_and_what_has_no_room_is_named(sheet, width):
    text = shown(sheet, width)
    assert max(map(cell_len, text.splitlines())) <= width
    flat = " ".join(text.split())
    left_out = re.search(r"Left out, as the terminal has (\d+) columns: (.+?)\.(?: |$)", flat)
    gone = left_out[2].split(", ") if left_out else []
    assert not left_out or int(left_out[1]) == width
    titles = [column.title for column in sheet.columns]
    assert set(gone) <= set(titles) - {"variant", "p", "HS ↓", "FA ↑"}
    for i, title in enumerate(titles):
        values = [row[i].text for row in sheet.rows]
        words = set(text.replace("≈", "").replace(";", " ").split())
        if title not in gone and sheet.columns[i].right:
            assert set(" ".join(values).split()) <= words


def test_columns_are_left_out_only_where_they_must(sheet):
    gone = []
    for width in range(55, 140, 5):  # 55 has room for a table, if for a small one
        _, _, named = shown(sheet, width).partition("Left out, as the terminal has ")
        gone.append(named.count(",") + 1 if named else 0)
    assert gone == sorted(gone, reverse=True)
    assert gone[0] > 0
    assert gone[-1] == 0


def test_where_nothing_fits_rows_are_paragraphs():
    columns = [Column("variant", False), *(Column(f"metric {i}") for i in range(9))]
    rows = [[Entry("Lisa"), *(Entry(f"{i}2.5", f"[{i}0.0, {i}5.0]") for i in range(1, 10))]]
    flat = " ".join(shown(Sheet("a title", columns, rows), 40).split())
    assert "Lisa metric 0 12.5 [10.0, 15.0]; metric 1 22.5 [20.0, 25.0]" in flat
    assert "Left out" not in flat
