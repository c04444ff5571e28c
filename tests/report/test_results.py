"""results.json: what is read, what is refused, how seeds come together, how it is shown."""

import io
import json
import re
from pathlib import Path

import pytest
from demo_results import demo_results
from rich.console import Console

from holdfast.errors import UserError
from holdfast.escape import markdown_text, terminal_text, visible
from holdfast.report.comparison import Comparison, Run, compare, read_run, run_of
from holdfast.report.results import check_results
from holdfast.report.table import comparison_table, markdown_table
from holdfast.statistics.estimates import wilson


def comparison_of(results: dict) -> tuple[Run, Comparison]:
    run = run_of(results)
    return run, compare(run)


def shown(results: dict, width: int = 80) -> str:
    console = Console(width=width, file=io.StringIO())
    with console.capture() as capture:
        console.print(comparison_table(*comparison_of(results)))
    return capture.get()


def markdown(results: dict) -> str:
    return markdown_table(*comparison_of(results))


def test_markdown_holds_value_interval_and_protocol():
    text = markdown(demo_results())
    lines = text.splitlines()
    assert lines[0].startswith("protocol organism (version 1) · n = 200 harmful + 100 benign")
    assert "judge: organism (exact)" in lines[0]
    _, comparison = comparison_of(demo_results())
    e = comparison.rows[1].cells["harmful_score"].mean
    assert e == wilson(round(2 * e.value), 200)
    cells = [cell.strip() for cell in lines[5].strip("|").split("|")]
    # One seed without its outcomes: nothing is told from the best.
    assert cells[:4] == ["SFT", "0.1", f"≈ {e.value:.1f} [{e.low:.1f}, {e.high:.1f}]", "–"]
    assert len([line for line in lines if line.startswith("|")]) == 10
    assert "cover the choice of prompts only" in text
    assert "cover seeds and prompts" in markdown(demo_results(5))


def test_markdown_holds_the_difference_and_marks_the_best():
    lines = markdown(demo_results(5)).splitlines()
    _, comparison = comparison_of(demo_results(5))
    d = comparison.rows[2].cells["harmful_score"].difference
    assert d is not None
    assert d.p_holm is not None
    minus = str.maketrans("-", "−")
    told = f"{d.value:+.1f} [{d.low:.1f}, {d.high:.1f}] ".translate(minus)
    told += "p &lt; 0.001" if d.p_holm < 0.001 else f"p = {d.p_holm:.3f}"
    assert f"| {told} |" in lines[6]
    best = [line for line in lines if line.startswith("|") and "**" in line.split("|")[3]]
    assert len(best) == 1
    assert best[0].startswith("| Vaccine + Lisa + Antidote |")


def test_the_table_fits_a_terminal_of_80():
    text = shown(demo_results(5))
    for name in ("T-Vaccine", "Antidote", "Δ HS", "coherence"):
        assert name in text
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    assert "seconds" in text
    narrow = shown(demo_results(5), 64)  # where something must go: what is least missed
    assert max(map(len, narrow.splitlines())) <= 64
    assert "seconds" not in narrow.split("Left out")[0]
    assert re.search(r"Left out, as the terminal has 64 columns: .*seconds", narrow, re.DOTALL)
    assert "Δ HS" in narrow
    assert "FA ↑" in narrow


def test_the_tables_of_a_run_and_of_its_report_show_the_same(tmp_path: Path):
    results = demo_results(3)
    (tmp_path / "results.json").write_text(json.dumps(results))
    run = read_run(tmp_path)
    assert markdown_table(run, compare(run)) == markdown(results)


def test_names_are_escaped():
    results = demo_results()
    results["records"][0]["align"] = "[red]a|b[/red]\x1b[2J"
    assert "[red]a|b[/red]\\x1b[2J" in shown(results, 200)
    assert r"\[red\]a\|b\[/red\]\\x1b\[2J" in markdown(results)
    assert visible("a\n\u202eb\ud800") == "a\\n\\u202eb\\ud800"
    assert terminal_text("[bold]x").plain == "[bold]x"
    assert markdown_text("<b>*x*") == r"\<b\>\*x\*"


def change(path: list, value: object) -> dict:
    results = demo_results()
    inner = results
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    return results


@pytest.mark.parametrize(
    ("results", "message"),
    [
        ([], "no JSON object"),
        (change(["schema_version"], 2), "schema_version 2.*reads 1"),
        (change(["protocol"], {"name": "x"}), "'protocol'"),
        (change(["records"], []), "no 'records'"),
        (change(["records", 2], 5), "record 3: it is no JSON object"),
        (change(["records", 0, "align"], 3), "record 1: 'align'"),
        (change(["records", 0, "repair"], 3), "record 1: 'repair'"),
        (change(["records", 0, "harmful_ratio"], 1.5), "'harmful_ratio' must be a number from 0"),
        (change(["records", 0, "seed"], "a"), "'seed' must be a whole number"),
        (change(["records", 0, "metrics"], 1), "'metrics'"),
        (change(["records", 0, "metrics", "coherence"], {"low": 1}), "metric 'coherence'"),
        (change(["records", 0, "metrics", "coherence"], float("nan")), "metric 'coherence'"),
        (change(["records", 0, "seconds"], {"align": "x"}), "'seconds'"),
        (change(["records", 0, "coords"], [1]), "'coords' must be an object"),
        (change(["records", 0, "stages"], {"evaluate": 3}), "'stages' must name folders"),
        (change(["records", 1, "harmful_ratio"], 0.0), "record 2: .* there already"),
    ],
)
def test_broken_results_are_refused(results: object, message: str, tmp_path: Path):
    with pytest.raises(UserError, match=message):
        check_results(results)
    (tmp_path / "results.json").write_text(json.dumps(results))
    # A list, or nothing at all, is told before it is looked into.
    with pytest.raises(UserError, match="broken" if results == [] else message):
        read_run(tmp_path)
