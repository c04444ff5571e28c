"""The leaderboard's table is made of every method and of the comparison's numbers."""

import re

import pytest

import leaderboard
from holdfast.registry import METHODS
from holdfast.report.comparison import compare, read_run
from holdfast.report.words import number


def test_every_method_has_its_row_with_a_fine_tuning_that_it_can_do():
    found = dict(leaderboard.variants())
    for kind in ("align", "finetune", "repair"):
        for name, entry in METHODS[kind].items():
            spec = found[entry.title]
            if name != "sft":
                chosen = spec[kind] if isinstance(spec[kind], str) else spec[kind]["method"]
                assert chosen == name
    assert next(iter(found)) == "SFT"


@pytest.mark.long
def test_a_small_one_is_written(tmp_path):
    page = tmp_path / "page.md"
    words = ["--parts", "1", "--seeds", "2", "--methods", "antidote", "random_mask"]
    words += ["--output", str(tmp_path / "run"), "--page", str(page)]
    leaderboard.main(words)
    text = page.read_text(encoding="utf-8")
    comparison = compare(read_run(tmp_path / "run"), baseline="SFT")
    rows = {r.variant: r for r in comparison.rows if r.axes["task"] == "sums"}
    for title, row in rows.items():
        (line,) = re.findall(
            rf"^\| {re.escape(title)} \| (?:align|finetune|repair)? ?\|.*$", text, re.M
        )
        assert f"| {number(row.cells['harmful_score'].mean.value)} [" in line
    assert "Not run: the first task at every p;" in text
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "run" / "stages").iterdir()}
    leaderboard.main(words)  # nothing runs again
    assert before == {p: p.stat().st_mtime_ns for p in (tmp_path / "run" / "stages").iterdir()}
