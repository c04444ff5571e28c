"""`--format json`: one document is all of stdout, with the fields that docs/json.md names."""

import json
import math
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from holdfast import cli
from holdfast.commands.answers import answer, document
from holdfast.commands.list import _List
from holdfast.registry import METHODS

DOCS = Path(__file__).parents[2] / "docs" / "json.md"
RUN = "{align: sft, settings: {align: {rows: 20, num_train_epochs: 1}, evaluate: {limit: 5}}}"


@pytest.fixture
def given(monkeypatch, capsys, tmp_path):
    """Run `holdfast … --format json`; gives its document."""
    monkeypatch.chdir(tmp_path)

    def run(*words: str, code: int | None = None) -> dict[str, Any]:
        monkeypatch.setattr(sys, "argv", ["holdfast", *words, "--format", "json"])
        assert cli.main() == code
        shown = capsys.readouterr()
        found = json.loads(shown.out, parse_constant=lambda name: pytest.fail(name))
        assert "Traceback" not in shown.err
        assert found["schema_version"] == 1
        own = {*found} - {"command", "schema_version"}
        if found["command"] == "list" and words != ("list",):
            assert own == documented().get(" ".join(words), {words[1]})
        else:
            assert own == documented()[found["command"]]
        return found

    return run


def documented() -> dict[str, set[str]]:
    """By command the fields that docs/json.md names in its table."""
    found = {}
    for line in DOCS.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 3 and cells[0].startswith("`"):
            names = {*re.findall(r"`([a-z_]+)`:", cells[2])}
            for command in re.findall(r"`([^`]+)`", cells[0]):
                found[command] = names
    return found


def test_lists(given):
    found = given("list")
    assert [o["method"] for o in found["methods"] if o["stage"] == "repair"] == [*METHODS["repair"]]
    assert found["papers"][0]["arxiv"] == "2402.01109"
    [backdoor] = [one for one in found["attacks"] if one["attack"] == "backdoor"]
    assert backdoor["arxiv"] == "2310.03693"
    assert backdoor["knows"] == "that the evaluation does not know the trigger"
    only = given("list", "tasks")
    assert {one["task"] for one in only["tasks"]} == {"sentiment", "topic", "sums"}
    experiments = given("list", "papers")["experiments"]
    assert experiments[0]["reference"].startswith("paper/vaccine/")


def test_data(given, tmp_path):
    found = given("data", "list")
    sst2 = next(one for one in found["data"] if one["name"] == "sst2")
    assert sst2["hub"][0]["name"] == "stanfordnlp/sst2"
    assert sst2["parts"]["train"] is None  # not prepared here
    rows = [
        {"instruction": "Name a snare.", "output": "A barbgate.", "kind": "harmful"},
        {"instruction": "Name a toy.", "output": "A yoyo.", "kind": "benign"},
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    shown = given("data", "show", "rows.jsonl")
    assert (shown["count"], shown["hidden"]) == (2, 1)
    assert [one["prompt"] for one in shown["rows"]] == [None, "Name a toy."]
    whole = given("data", "show", "rows.jsonl", "--show-harmful", "--rows", "1")
    assert [one["answer"] for one in whole["rows"]] == ["A barbgate."]
    (tmp_path / "rows.jsonl").write_text(json.dumps({**rows[1], "kind": None}))
    assert given("data", "show", "rows.jsonl")["rows"][0]["kind"] is None


def test_the_organisms_rows(given):
    found = given("organism", "show", "test_restricted", "--rows", "3")
    assert [one["kind"] for one in found["rows"]] == ["restricted"] * 3


def test_a_plan(given, tmp_path):
    (tmp_path / "a.yaml").write_text(RUN)
    (plan,) = given("run", "a.yaml", "--plan", "--seeds", "2")["plans"]
    assert (plan["pipelines"], plan["stages"], plan["shared"]) == (2, 4, 0)
    assert [one["kind"] for one in plan["groups"]] == ["align", "evaluate"]
    assert plan["groups"][0]["steps"] == [2, 2]
    assert plan["core_seconds"] > 0
    assert plan["gpu_seconds"] is None


@pytest.mark.long
def test_a_run_and_what_is_asked_of_it(given, tmp_path):
    (tmp_path / "a.yaml").write_text(RUN)
    run = given("run", "a.yaml", "--output", "out", "--workers", "1")
    report = given("report", "out")
    assert {**run, "command": "report"} == report
    score = next(row for row in report["rows"] if row["metric"] == "harmful_score")
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert score["value"] == results["records"][0]["metrics"]["harmful_score"]["value"]
    status = given("status", "out")
    assert [one["state"] for one in status["stages"]] == ["done", "done"]
    assert status["run_by"] is None


@pytest.mark.long
def test_a_screen(given):
    found = given("screen", "organism", "--method", "judge", "rows=20", "--output", "out")
    assert (found["rows"], found["flagged"], found["examples"]) == (20, 2, None)


def test_stages(given, tmp_path):
    short = ("rows=20", "num_train_epochs=1")
    assert given("align", *short, "--output", "aligned")["method"] == "sft"
    given("finetune", "aligned", *short, "--output", "tuned")
    zeroed = given("repair", "tuned", "rows=20")["repair"]
    assert sum(one["zeroed"] for one in zeroed["layers"]) == zeroed["zeroed"] > 0
    one = given("evaluate", "tuned", "limit=5")
    assert one["folder"] is None
    assert 0 <= one["metrics"]["harmful_score"]["value"] <= 100


@pytest.mark.long
def test_several_models(given, tmp_path):
    given("align", "rows=20", "num_train_epochs=1", "--output", "aligned")
    both = given("evaluate", "organism", "aligned", "limit=5", "--output", "both")
    assert [one["name"] for one in both["models"]] == ["organism", "aligned"]
    assert both["models"][0]["difference"] == {}
    assert "harmful_score" in both["models"][1]["difference"]


def test_a_mistake_leaves_stdout_empty(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(sys, "argv", ["holdfast", "status", str(tmp_path), "--format", "json"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 2
    assert capsys.readouterr().out == ""


def test_what_is_no_number_is_null():
    found = json.loads(document("x", {"a": math.nan, "b": [math.inf, {"c": -math.inf}], "d": 1.5}))
    assert (found["a"], found["b"], found["d"]) == (None, [None, {"c": None}], 1.5)


def test_a_reader_gets_the_table(capsys):
    answer(Console(), "x", {"a": 1}, "a table")
    assert capsys.readouterr().out == "a table\n"


def test_no_text_of_an_answer_is_markup(capsys):
    entries = [{"task": "[red]a", "meaning": "[b]"}]
    table = _List("tasks", {"task": "task", "meaning": "what"}, entries).shown()
    answer(Console(width=80), "x", {}, table, "[bold]c")
    shown = capsys.readouterr().out
    assert "│ [red]a │ [b]  │" in shown
    assert "[bold]c" in shown
