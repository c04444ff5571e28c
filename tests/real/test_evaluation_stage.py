"""An evaluation's files: what is kept, what is taken over, and what is in them."""

import json
import os
import subprocess
import sys

import pytest
from chat_server import completion, serving, verdict
from transformers import AutoModelForCausalLM, AutoTokenizer

from command import done, holdfast
from holdfast.data.reading import read_rows
from holdfast.errors import Stopped
from holdfast.evaluate.perplexity import perplexity
from holdfast.report.models import paired
from holdfast.stages.evaluation import alignment as evaluation_alignment
from holdfast.stages.evaluation import model as evaluation
from holdfast.stages.evaluation import run as evaluation_run
from tiny_models import lora

SHORT = ["protocol=vaccine-2024", "limit=4", "dtype=float32"]


def lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def found(folder):
    return json.loads((folder / "evaluation.json").read_text())


@pytest.fixture
def unloadable(monkeypatch):
    """From here on no model under evaluation, and no reference, can be loaded."""

    def close():
        for module in (evaluation, evaluation_alignment):
            monkeypatch.setattr(module, "load_merged", None)
        monkeypatch.setattr(evaluation_alignment, "_LAST_STATES", {})

    return close


def test_other_judges_hear_the_same_answers(place, data, tmp_path, unloadable):
    """And what several judges say stands in agreement and disagreements.jsonl."""
    adapter = lora(AutoModelForCausalLM.from_pretrained(place.base), init_lora_weights=False)
    adapter.save_pretrained(str(tmp_path / "adapter"))
    model = f"{place.base}+{tmp_path / 'adapter'}"
    words = ["evaluate", model, *SHORT, "task=sst2", f"reference={place.base}"]
    done(*words, "judges=[keywords]", "--output", tmp_path / "first")
    assert not (tmp_path / "first" / "disagreements.jsonl").exists()
    assert "agreement" not in found(tmp_path / "first")
    unloadable()
    asked = []

    def serve(request, number):
        if request["messages"] not in asked:
            asked.append(request["messages"])
        return completion(verdict(request, harmful=asked.index(request["messages"]) == 0))

    with serving(serve) as served:
        own = f"url: '{served.url}', concurrency: 1, cache: null"
        judges = f"judges=[keywords,{{name: endpoint, model: m, {own}}}]"
        out = done(*words, judges, "--output", tmp_path / "second")
    first, second = tmp_path / "first", tmp_path / "second"
    for name in ("answers.jsonl", "task_answers.jsonl", "alignment.json"):
        assert (first / name).read_bytes() == (second / name).read_bytes()
    shared = ("finetune_accuracy", "alignment_loss", "embedding_drift", "harmful_score")
    for metric in shared:
        assert found(first)["metrics"][metric] == found(second)["metrics"][metric]
    assert found(first)["metrics"]["embedding_drift"]["value"] > 0

    # AdvBench's phrases are in none of the answers; the endpoint calls one of the four harmful.
    assert found(second)["metrics"]["harmful_score"]["value"] == 100
    assert found(second)["metrics"]["harmful_score@endpoint"]["value"] == 25
    (pair,) = found(second)["agreement"]["pairs"]
    assert (pair["first"], pair["second"]) == ("keywords", "endpoint")
    assert [pair[key] for key in ("both", "only_first", "only_second", "neither")] == [1, 3, 0, 0]
    assert pair["kappa"]["value"] == 0
    assert "agreement of the judges" in out
    assert "25.0 %" in out
    rows = lines(second / "disagreements.jsonl")
    harmful = [one for one in lines(second / "samples.jsonl") if one["set"] == "harmful"]
    assert [row["index"] for row in rows] == pair["disagreeing"]
    assert len(rows) == 3
    for row in rows:
        sample = harmful[row["index"]]
        assert (row["prompt"], row["answer"]) == (sample["prompt"], sample["answer"])
        assert row["verdicts"]["keywords"]["harmful"]
        assert not row["verdicts"]["endpoint"]["harmful"]
    assert {one["set"] for one in lines(second / "samples.jsonl")} == {"harmful", "task"}


def test_answers_of_another_length_have_a_file_of_their_own(place, data, tmp_path):
    words = [*SHORT, "task=sst2", "judges=[keywords]"]
    done("evaluate", place.base, *words, "--output", tmp_path / "out")
    for name, sets, tokens in (("answers", {"harmful"}, 128), ("task_answers", {"task"}, 200)):
        header, *answers = lines(tmp_path / "out" / f"{name}.jsonl")
        assert header["made_with"]["max_new_tokens"] == tokens
        assert {one["set"] for one in answers} == sets
        assert len(answers) == header["answers"] == 4


def test_a_task_is_answered_in_its_own_number_format(place, data, tmp_path, monkeypatch):
    """Antidote's code answers SST-2 in float16 and the harmful prompts in float32."""
    load, loaded = evaluation.load_merged, []

    def watched(stack, loading):
        loaded.append(loading.dtype)
        return load(stack, loading)

    monkeypatch.setattr(evaluation, "load_merged", watched)
    asked = ["limit=4", "task=sst2", "judges=[keywords]"]
    words = ["evaluate", place.base, "protocol=antidote-2024", *asked]
    done(*words, "--output", tmp_path / "out")
    # Each once; the alignment loss is measured with the one that is there last.
    assert loaded == ["float16", "float32"]
    protocol = found(tmp_path / "out")["protocol"]
    assert (protocol["task_tokens"], protocol["task_dtype"]) == (200, "float16")
    made = {
        name: lines(tmp_path / "out" / name)[0]["made_with"]
        for name in ("answers.jsonl", "task_answers.jsonl")
    }
    assert {name: (m["dtype"], m["max_new_tokens"]) for name, m in made.items()} == {
        "answers.jsonl": ("float32", 512),
        "task_answers.jsonl": ("float16", 200),
    }


def test_attention_drift_is_measured_beside_where_there_is_a_reference(place, data, tmp_path):
    adapter = lora(AutoModelForCausalLM.from_pretrained(place.base), init_lora_weights=False)
    adapter.save_pretrained(str(tmp_path / "adapter"))
    words = [*SHORT, "task=sst2", "judges=[keywords]", "also=[attention_drift]"]
    model = f"{place.base}+{tmp_path / 'adapter'}"
    done("evaluate", model, *words, f"reference={place.base}", "--output", tmp_path / "moved")
    done("evaluate", place.base, *words, f"reference={place.base}", "--output", tmp_path / "same")
    done("evaluate", place.base, *words, "--output", tmp_path / "alone")
    moved, same, alone = (found(tmp_path / name)["metrics"] for name in ("moved", "same", "alone"))
    assert moved["attention_drift"]["value"] > 0
    assert moved["attention_drift"]["n"] == 4
    assert same["attention_drift"]["value"] == 0
    assert "attention_drift" not in alone


def test_a_run_that_is_stopped_before_the_judges_goes_on_there(
    place, data, tmp_path, monkeypatch, unloadable
):
    def stop(*_):
        raise Stopped

    words = ["evaluate", place.base, *SHORT, "also=[wikitext2]", "judges=[keywords]"]
    words += ["--output", tmp_path / "out"]
    with monkeypatch.context() as patched:
        patched.setattr(evaluation_run, "judge_answers", stop)
        ended = holdfast(*words)
    assert ended.code == 130
    assert "the same command goes on from here" in ended.err
    kept = {path.name for path in (tmp_path / "out.partial").iterdir()}
    assert {"answers.jsonl", "alignment.json", "also.json"} <= kept
    unloadable()
    done(*words)
    assert found(tmp_path / "out")["metrics"]["harmful_score"]["n"] == 4


def test_a_trial_of_one_prompt(place, data, tmp_path):
    words = ["protocol=vaccine-2024", "limit=1", "dtype=float32", "judges=[keywords]"]
    done("evaluate", place.base, *words, "--output", tmp_path / "out")
    metrics = found(tmp_path / "out")["metrics"]
    assert metrics["harmful_score"]["n"] == 1
    assert "alignment_loss" not in metrics  # of one row there is no interval


def test_perplexity_is_measured_beside_and_shown(place, data, tmp_path):
    words = [*SHORT, "judges=[keywords]", "also=[wikitext2]"]
    out = done("evaluate", place.base, *words, "--output", tmp_path / "out")
    model = AutoModelForCausalLM.from_pretrained(place.base)
    texts = [row["text"] for row in read_rows(data / "wikitext2" / "test.jsonl")]
    plain = perplexity(model, AutoTokenizer.from_pretrained(place.base), texts)
    metric = found(tmp_path / "out")["metrics"]["wikitext2_perplexity"]
    assert metric == {"value": pytest.approx(plain.perplexity, rel=1e-5), "n": plain.tokens}
    assert f"{plain.perplexity:.3f}"[:5] in out


def test_answers_to_alpaca_are_written_for_its_own_tool(place, data, tmp_path):
    words = [*SHORT, "task=alpaca", "judges=[keywords]"]
    done("evaluate", place.base, *words, "--output", tmp_path / "out")
    outputs = json.loads((tmp_path / "out" / "alpaca_eval.json").read_text())
    asked = read_rows(data / "alpaca" / "test.jsonl")[:4]
    given = [one for one in lines(tmp_path / "out" / "samples.jsonl") if one["set"] == "open"]
    assert [one["instruction"] for one in outputs] == [row["instruction"] for row in asked]
    assert [one["output"] for one in outputs] == [one["answer"] for one in given]
    assert {one["generator"] for one in outputs} == {"base"}
    assert "finetune_accuracy" not in found(tmp_path / "out")["metrics"]


@pytest.mark.long
def test_several_models_side_by_side_as_a_user_types_it(place, data, tmp_path):
    adapter = lora(AutoModelForCausalLM.from_pretrained(place.base), init_lora_weights=False)
    adapter.save_pretrained(str(tmp_path / "tuned"))
    (tmp_path / "base").symlink_to(place.base)
    command = [sys.executable, "-m", "holdfast.cli", "evaluate", "base", "base+tuned", "base"]
    command += [*SHORT, "task=sst2", f"judges=[beaver-dam-7b={place.judges['beaver-dam-7b']}]"]
    environment = {**os.environ, "COLUMNS": "120", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    ended = subprocess.run(
        [*command, "--output", "out"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment,
    )
    assert ended.returncode == 0, ended.stderr
    folders = sorted((tmp_path / "out" / "stages").glob("evaluate-*"))
    assert len(folders) == 2  # the third model is the first
    contents = {json.loads((f / "provenance.json").read_text())["base"]: f for f in folders}
    assert set(contents) == {str(place.base.resolve())}
    tuned = next(f for f in folders if "tuned" in (f / "config.yaml").read_text())
    plain = next(f for f in folders if f != tuned)
    change = paired(found(plain), found(tuned), "harmful_score")
    shown = f"{change.value:+.1f} points [{change.low:+.1f}, {change.high:+.1f}]"
    assert shown in " ".join(ended.stdout.split())
    assert "vaccine-2024" in ended.stdout
    for metric in ("HS ↓", "FA ↑", "refusal", "coherence"):
        assert metric in ended.stdout
