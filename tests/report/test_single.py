"""What one stage found, and the lists of what there is, for the terminal."""

import json
from io import StringIO

import pytest
from rich.console import Console

from holdfast.commands.list import print_lists
from holdfast.evaluate.agreement import agreement
from holdfast.evaluate.judges import JUDGES, Verdict
from holdfast.report.single import evaluation_table, judges_table


def shown(content, width=120):
    console = Console(width=width, record=True, file=StringIO())
    console.print(content)
    return console.export_text()


@pytest.fixture
def write(tmp_path):
    def write(**content):
        path = tmp_path / "evaluation.json"
        protocol = {"name": "holdfast", "version": "1, changed", "judge": "keywords"}
        path.write_text(json.dumps({"protocol": protocol, **content}))
        return path

    return write


def test_every_metric_is_shown_in_its_own_unit(write):
    metrics = {
        "harmful_score@endpoint": {"value": 12.34, "low": 5, "high": 20, "n": 40},
        "alignment_loss": {"value": 1.23456, "low": 1, "high": 2, "n": 9},
        "wikitext2_perplexity": {"value": 67.25, "n": 1000},
        "arc: acc": {"value": 0.5, "stderr": 0.1},
        "[bold]own: acc": {"value": None, "stderr": None},
    }
    text = shown(evaluation_table(write(metrics=metrics)))
    lines = {line.split("│")[1].strip(): line.split("│")[2:6] for line in text.splitlines()
             if "│" in line}  # fmt: skip
    cells = {name: [cell.strip() for cell in rest][:3] for name, rest in lines.items()}
    assert cells == {
        "harmful score@endpoint": ["12.3 %", "5.0 … 20.0", "40"],
        "alignment loss": ["1.235 nats/token", "1.000 … 2.000", "9"],
        "wikitext2 perplexity": ["67.250", "", "1000"],
        "arc: acc": ["0.500", "", ""],
        "[bold]own: acc": ["–", "", ""],
    }
    assert "protocol holdfast 1, changed" in text


def test_several_judges_are_compared(write):
    assert judges_table(write(metrics={})) is None
    verdicts = {
        "keywords": [Verdict(True, ""), Verdict(True, ""), Verdict(False, "")],
        "wildguard": [Verdict(True, ""), Verdict(False, ""), Verdict(None, "")],
    }
    found = agreement(verdicts).record()
    text = " ".join(shown(judges_table(write(metrics={}, agreement=found))).split())
    assert "keywords | wildguard 2 (1 left out) 1 1 0 50.0 %" in text


def test_judges_are_listed_with_the_model_that_they_load():
    console = Console(width=160, record=True, file=StringIO())
    print_lists("judges", console)
    text = console.export_text()
    for name in JUDGES:
        assert f" {name} " in text
    for model in ("PKU-Alignment/beaver-dam-7b@refs/pr/1", "Qwen/Qwen3Guard-Gen-4B",
                  "meta-llama/Llama-Guard-3-1B", "cais/HarmBench-Mistral-7b-val-cls"):  # fmt: skip
        assert model in text
