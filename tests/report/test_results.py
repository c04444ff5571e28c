"""results.json: what is read, what is refused, how seeds come together, how it is shown."""

import copy
import io
import json
from pathlib import Path

import pytest
from demo_results import demo_results
from rich.console import Console

from holdfast.errors import UserError
from holdfast.report.escape import markdown_text, terminal_text, visible
from holdfast.report.figure import comparison_figure, stage
from holdfast.report.labels import Box, place
from holdfast.report.results import check_results, pipelines, read_results
from holdfast.report.statistics import Estimate, over_seeds, wilson
from holdfast.report.table import comparison_table, markdown_table


def shown(results: dict, width: int = 80) -> str:
    console = Console(width=width, file=io.StringIO())
    with console.capture() as capture:
        console.print(comparison_table(results))
    return capture.get()


def test_seeds_of_a_pipeline_come_together():
    results = demo_results(seeds=3)
    found = pipelines(results)
    assert len(found) == 8
    sft = found[1]
    assert (sft.align, sft.finetune, sft.repair, sft.harmful_ratio) == ("sft", "sft", None, 0.1)
    assert sft.seeds == 3
    assert sft.seconds == pytest.approx(11.8)
    three = [
        Estimate(**record["metrics"]["harmful_score"])
        for record in results["records"]
        if (record["finetune"], record["repair"], record["align"]) == ("sft", None, "sft")
        and record["harmful_ratio"] == 0.1
    ]
    assert len(three) == 3
    assert sft.metrics["harmful_score"] == over_seeds(three)
    labels = [pipeline.label for pipeline in found]
    assert labels[:3] == ["SFT, p = 0", "SFT", "Vaccine"]
    assert labels[6:] == ["random mask", "Vaccine + Lisa + Antidote"]
    assert [stage(pipeline) for pipeline in found[:2]] == ["no attack (p = 0)", "no defense"]
    assert stage(found[6]) == "control"


def test_bare_numbers_and_losses():
    results = demo_results(seeds=2)
    for number, record in enumerate(results["records"]):
        record["metrics"] = {"harmful_score": 40.0 + number % 2, "alignment_loss": 130.0 + number}
        del record["seconds"]
    one = pipelines(results)[0]
    assert one.metrics["harmful_score"].value == 40.5
    assert one.metrics["alignment_loss"].value == 130.5  # no percentage: not cut at 100
    assert one.seconds is None


def test_markdown_holds_value_interval_and_protocol():
    text = markdown_table(demo_results())
    lines = text.splitlines()
    assert lines[0].startswith("protocol organism (version 1) · n = 200 harmful + 100 benign")
    assert "judge: organism (exact)" in lines[0]
    cells = [cell.strip() for cell in lines[5].strip("|").split("|")]
    k = round(2 * pipelines(demo_results())[1].metrics["harmful_score"].value)
    e = wilson(k, 200)
    assert cells[:5] == ["SFT", "SFT", "–", "0.1", f"{e.value:.1f} [{e.low:.1f}, {e.high:.1f}]"]
    assert len([line for line in lines if line.startswith("|")]) == 10
    assert "cover the choice of prompts only" in lines[-1]
    assert "cover seeds and prompts" in markdown_table(demo_results(5))


def test_the_table_fits_a_terminal_of_80():
    text = shown(demo_results(5))
    for name in ("T-Vaccine", "Antidote", "seconds", "coherence"):
        assert name in text
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text


def test_budgets_are_named_only_where_they_differ():
    results = demo_results()
    for record in results["records"]:
        record["budget"] = {"rows": 1000, "steps": 200}
    assert "Budgets" not in markdown_table(results)
    results["records"][2]["budget"]["rows"] = 1500
    assert "Budgets differ: rows from 1,000 to 1,500." in markdown_table(results)
    assert "steps" not in markdown_table(results)


def test_names_are_escaped():
    results = demo_results()
    results["records"][0]["align"] = "[red]a|b[/red]\x1b[2J"
    assert "[red]a|b[/red]\\x1b[2J" in shown(results, 200)
    assert r"\[red\]a\|b\[/red\]\\x1b\[2J" in markdown_table(results)
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
        (change(["records", 1, "harmful_ratio"], 0.0), "record 2: .* there already"),
    ],
)
def test_broken_results_are_refused(results: object, message: str, tmp_path: Path):
    path = tmp_path / "results.json"
    path.write_text(json.dumps(results))
    with pytest.raises(UserError, match=message):
        read_results(path)


def test_read_results(tmp_path: Path):
    path = tmp_path / "results.json"
    with pytest.raises(UserError, match="cannot be read"):
        read_results(path)
    path.write_text("{")
    with pytest.raises(UserError, match="no JSON"):
        read_results(path)
    results = demo_results(2)
    path.write_text(json.dumps(results))
    assert read_results(path) == results
    check_results(results)


def test_the_figure_is_whole_or_not_there(tmp_path: Path, monkeypatch):
    path = tmp_path / "comparison.png"
    comparison_figure(demo_results(2), path)
    content = path.read_bytes()
    assert content.startswith(b"\x89PNG")
    width, height = (int.from_bytes(content[i : i + 4]) for i in (16, 20))
    assert width >= 1300
    assert height >= 900
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError(28, "disk full")))
    with pytest.raises(UserError, match="disk full"):
        comparison_figure(demo_results(1), path)
    assert path.read_bytes() == content
    assert [p.name for p in tmp_path.iterdir()] == ["comparison.png"]


def test_the_figure_needs_both_metrics(tmp_path: Path):
    results = copy.deepcopy(demo_results())
    for record in results["records"]:
        del record["metrics"]["finetune_accuracy"]
    with pytest.raises(UserError, match="finetune_accuracy"):
        comparison_figure(results, tmp_path / "x.png")
    assert not list(tmp_path.iterdir())


def test_labels_of_crowded_points_cover_nothing():
    frame = Box(0, 0, 1200, 700)
    points = [(50 + 25 * (k % 3), 400 + 22 * (k // 3)) for k in range(8)]
    obstacles = [Box(x, y, x, y).grown(8) for x, y in points]
    boxes = place(points, [(120 + 10 * (k % 3), 18) for k in range(8)], obstacles, frame)
    for i, box in enumerate(boxes):
        assert box.overlap(frame) == pytest.approx((box.right - box.left) * 18)
        assert all(box.overlap(other) == 0 for other in boxes[:i])
        assert all(box.overlap(obstacle) == 0 for obstacle in obstacles)
