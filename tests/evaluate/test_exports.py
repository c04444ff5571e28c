"""What goes to other tools: AlpacaEval's file, and the LM Evaluation Harness with a stand-in."""

import json
import sys
import types

import pytest

from holdfast.errors import UserError
from holdfast.evaluate.alpaca_eval import alpaca_eval_outputs
from holdfast.evaluate.lm_eval import run_tasks
from tiny_models import tiny_model


def test_alpaca_evals_format():
    rows = [
        {"instruction": "Name a tree.", "output": "", "dataset": "helpful_base"},
        {"instruction": "Translate.", "input": "der Baum", "output": "the tree"},
    ]
    found = alpaca_eval_outputs(rows, ["Oak.", "tree"], "sft, p = 0.1")
    expected = """[
        {"instruction": "Name a tree.", "output": "Oak.", "generator": "sft, p = 0.1",
         "dataset": "helpful_base"},
        {"instruction": "Translate.\\n\\nder Baum", "output": "tree", "generator": "sft, p = 0.1",
         "dataset": "holdfast"}
    ]"""
    assert found == json.loads(expected)
    with pytest.raises(UserError, match="2 rows and 1 answers"):
        alpaca_eval_outputs(rows, ["Oak."], "x")


@pytest.fixture
def harness(monkeypatch) -> dict:
    """A package `lm_eval` that writes down what it is asked."""
    asked: dict = {}

    class TaskManager:
        all_tasks = ("arc_easy", "gsm8k", "mmlu")

    class HFLM:
        def __init__(self, pretrained, tokenizer, batch_size):
            pretrained.eval()
            asked.update(model=pretrained, tokenizer=tokenizer, batch_size=batch_size)

    def simple_evaluate(model, tasks, limit, task_manager, log_samples):
        asked.update(lm=model, tasks=tasks, limit=limit, manager=task_manager, log=log_samples)
        # The shapes of what the harness 0.4.13 gives.
        return {
            "results": {
                "arc_easy": {
                    "alias": "arc_easy",
                    "sample_len": 10,
                    "acc,none": 0.7,
                    "acc_stderr,none": 0.15275,
                    "acc_norm,none": 1,
                    "acc_norm_stderr,none": "N/A",
                },
                "gsm8k": {
                    "alias": "gsm8k",
                    "exact_match,strict-match": 0.25,
                    "exact_match_stderr,strict-match": 0.1,
                    "exact_match,flexible-extract": 0.5,
                    "exact_match_stderr,flexible-extract": 0.2,
                },
            },
            "configs": {},
        }

    modules = {
        "lm_eval": {"simple_evaluate": simple_evaluate},
        "lm_eval.models": {},
        "lm_eval.models.huggingface": {"HFLM": HFLM},
        "lm_eval.tasks": {"TaskManager": TaskManager},
    }
    for name, content in modules.items():
        module = types.ModuleType(name)
        module.__dict__.update(content)
        monkeypatch.setitem(sys.modules, name, module)
    return {"asked": asked}


def test_the_harness_gets_the_loaded_model(harness, tokenizer):
    model, asked = tiny_model("llama"), harness["asked"]
    found = run_tasks(model, tokenizer, ["arc_easy", "gsm8k"], limit=10, batch_size=4)
    assert found == {
        "arc_easy": {
            "acc": {"value": 0.7, "stderr": 0.15275},
            "acc_norm": {"value": 1.0, "stderr": None},
        },
        "gsm8k": {
            "exact_match,strict-match": {"value": 0.25, "stderr": 0.1},
            "exact_match,flexible-extract": {"value": 0.5, "stderr": 0.2},
        },
    }
    assert asked["model"] is model
    assert asked["tokenizer"] is tokenizer
    assert (asked["batch_size"], asked["tasks"], asked["limit"]) == (4, ["arc_easy", "gsm8k"], 10)
    assert asked["log"] is False
    assert model.training


def test_a_task_of_ones_own_is_a_file(harness, tokenizer, tmp_path):
    own = tmp_path / "mine.yaml"
    own.write_text("task: mine")
    run_tasks(tiny_model("llama"), tokenizer, [str(own)])
    assert harness["asked"]["tasks"] == [str(own)]


def test_mistakes_with_the_harness_are_told(harness, tokenizer, monkeypatch):
    model = tiny_model("llama")
    with pytest.raises(UserError, match=r"no task 'arc_esy': did you mean 'arc_easy'\?"):
        run_tasks(model, tokenizer, ["arc_esy"])
    with pytest.raises(UserError, match=r"no task '/nowhere\.yaml'"):
        run_tasks(model, tokenizer, ["/nowhere.yaml"])
    assert "tasks" not in harness["asked"]
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    with pytest.raises(UserError, match=r"not installed .*holdfast\[lm-eval\]"):
        run_tasks(model, tokenizer, ["arc_easy"])
