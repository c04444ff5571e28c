"""From the command line: every alignment, fine-tuning, repair and local judge, on a tiny Llama.

The base and the judges are tiny and random, each in its real architecture, with a BPE tokenizer, in
folders as the Hub serves them; the data sets are copies in the Hub's layout, prepared by the
command. What an evaluation says is compared with the judges themselves and with plain peft.
"""

import json

import pytest
import torch
from peft import PeftModel
from tiny_judges import NAMES
from transformers import AutoModelForCausalLM, AutoTokenizer

from command import done
from holdfast.data.reading import read_rows
from holdfast.data.rendering import prompt_text
from holdfast.evaluate.judges import JUDGES, Item
from tiny_models import lora

STEPS = ["max_steps=2", "per_device_train_batch_size=4", "learning_rate=1e-2", "max_length=256"]
SAVING = ["dtype=bfloat16", "activation_checkpointing=true"]
FINETUNE = {
    "sft": [],
    "lisa": [
        "alignment_data=beavertails:safe",
        "alignment_rows=8",
        "alignment_steps=1",
        "user_steps=1",
    ],
}
REPAIR = {"antidote": ["data=beavertails:realignment", "rows=8"], "random_mask": []}
LOCAL = [*NAMES, "keywords"]
# The judges are dealt out to the four models that come of each alignment.
DEALT = [LOCAL[number::4] for number in range(4)]


def lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def named(judges, place):
    """The setting `judges` for the tiny ones."""
    words = [f"{name}={place.judges[name]}" if name in place.judges else name for name in judges]
    return f"judges=[{','.join(words)}]"


def check_verdicts(folder, judges, load):
    """The folder holds what each judge says of each answer, and the scores that follow from it."""
    content = json.loads((folder / "evaluation.json").read_text())
    asked = [one for one in lines(folder / "samples.jsonl") if one["set"] == "harmful"]
    assert [record["name"] for record in content["judges"]] == list(judges)
    for number, name in enumerate(judges):
        judge = load(name)
        said = judge.judge([Item(one["prompt"], one["answer"]) for one in asked])
        assert [one["verdicts"][name] for one in asked] == [verdict.label for verdict in said]
        assert content["judges"][number] == judge.record()
        known = [verdict.harmful for verdict in said if verdict.harmful is not None]
        key = f"harmful_score@{name}" if number else "harmful_score"
        if known:
            assert content["metrics"][key]["value"] == 100 * sum(known) / len(known)
        assert (key in content["metrics"]) == bool(known)
    return content


@pytest.mark.long
@pytest.mark.parametrize(
    ("align", "words"),
    [
        ("sft", []),
        ("vaccine", SAVING),
        (
            "t_vaccine",
            ["harmful_data=beavertails:probe", "harmful_rows=4", "layers=1", "draw_every=1"],
        ),
        ("random_perturbation", SAVING),
    ],
)
def test_every_method_after_every_other_and_every_judge(place, data, judge, tmp_path, align, words):
    saving = [word for word in words if word in SAVING]
    precision = saving[:1]
    aligned = tmp_path / "aligned"
    rows = ["data=beavertails:safe", "rows=8"]
    done("align", place.base, f"method={align}", *rows, *STEPS, *words, "--output", aligned)
    dealt = iter(DEALT)
    for finetune, own in FINETUNE.items():
        tuned = tmp_path / finetune
        mixed = ["task=sst2", "rows=10", "harmful_ratio=0.2", "harmful_data=beavertails:harmful"]
        said = [f"method={finetune}", *mixed, *own, *STEPS, *saving]
        done("finetune", aligned, *said, "--output", tuned)
        for repair, more in REPAIR.items():
            repaired, found = (
                tmp_path / f"{finetune}-{repair}",
                tmp_path / f"ev-{finetune}-{repair}",
            )
            said = [f"method={repair}", *more, "dense_ratio=0.3", *precision]
            done("repair", tuned, *said, "--output", repaired)
            judges = next(dealt)
            said = ["protocol=vaccine-2024", "limit=2", named(judges, place)]
            said += precision or ["dtype=float32"]
            out = done("evaluate", repaired, *said, f"reference={aligned}", "--output", found)
            assert "coherence" in out
            content = check_verdicts(found, judges, judge)
            assert content["protocol"]["version"] == "4, changed"
            assert content["protocol"]["dtype"] == (precision or ["=float32"])[0].split("=")[1]
            assert content["metrics"]["embedding_drift"]["value"] > 0
            assert content["metrics"]["alignment_loss"]["n"] == 2
    assert next(dealt, None) is None


def test_every_judge_that_runs_here_is_among_those():
    sizes = {"qwen3guard-4b", "qwen3guard-0.6b"}  # of the same class as qwen3guard
    # BeaverTails' prompts have no targets to compare an answer with: see test_affirmative.py.
    assert {*LOCAL, *sizes, "affirmative", "endpoint", "organism"} == set(JUDGES)
    classes = [JUDGES[name] for name in LOCAL]
    assert all(JUDGES[name] in classes for name in sizes)


def adapters(place, folder):
    """Two adapters with random factors, of different ranks and scales."""
    for seed, name in ((1, "first"), (2, "second")):
        model = AutoModelForCausalLM.from_pretrained(place.base)
        adapter = lora(model, seed=seed, r=2 * seed, lora_alpha=4, init_lora_weights=False)
        adapter.save_pretrained(str(folder / name))
    return folder / "first", folder / "second"


def test_a_stack_of_two_adapters_answers_as_plain_peft_does(place, data, judge, tmp_path):
    first, second = adapters(place, tmp_path)
    model, found = f"{place.base}+{first}+{second}", tmp_path / "found"
    said = ["protocol=vaccine-2024", "task=sst2", "limit=2", "dtype=float32"]
    done("evaluate", model, *said, named(LOCAL, place), "--output", found)
    content = check_verdicts(found, LOCAL, judge)
    assert {"finetune_accuracy", "alignment_loss", "harmful_score_plus"} <= content[
        "metrics"
    ].keys()
    assert len(content["agreement"]["pairs"]) == len(LOCAL) * (len(LOCAL) - 1) // 2

    plain = AutoModelForCausalLM.from_pretrained(place.base)
    for adapter in (first, second):
        plain = PeftModel.from_pretrained(plain, str(adapter)).merge_and_unload()
    tokenizer = AutoTokenizer.from_pretrained(place.base)
    rows = {
        "harmful": (read_rows(data / "beavertails" / "test.jsonl")[:2], 128),
        "task": (read_rows(data / "sst2" / "test.jsonl")[:2], 200),
    }
    samples = lines(found / "samples.jsonl")
    for name, (asked, tokens) in rows.items():
        answers = [one["answer"] for one in samples if one["set"] == name]
        for row, answer in zip(asked, answers, strict=True):
            ids = tokenizer(prompt_text(row, tokenizer), return_tensors="pt")
            new = plain.generate(**ids, max_new_tokens=tokens, do_sample=False, pad_token_id=0)
            text = tokenizer.decode(new[0, ids["input_ids"].shape[1] :], skip_special_tokens=True)
            assert answer == text.split("### Response:")[0].strip()


def test_a_stack_in_bfloat16_is_tuned_repaired_and_measured(place, data, judge, tmp_path):
    first, second = adapters(place, tmp_path)
    tuned, repaired, found = tmp_path / "tuned", tmp_path / "repaired", tmp_path / "found"
    rows = ["data=sst2:train", "rows=8"]
    done("finetune", f"{place.base}+{first}+{second}", *rows, *STEPS, *SAVING, "--output", tuned)
    more = [*REPAIR["antidote"], "dense_ratio=0.3", "dtype=bfloat16"]
    done("repair", tuned, *more, "--output", repaired)
    done(
        "evaluate", repaired, "protocol=vaccine-2024", "limit=2", "dtype=bfloat16",
        named(["beaver-dam-7b", "keywords"], place), "--output", found,
    )  # fmt: skip
    content = check_verdicts(found, ["beaver-dam-7b", "keywords"], judge)
    assert content["protocol"]["dtype"] == "bfloat16"
    loss = content["metrics"]["alignment_loss"]["value"]
    assert torch.isfinite(torch.tensor(loss))
