"""Estimates: exact steps, the published row that they are calibrated on, the rest in order."""

import json
import math
from io import StringIO
from types import SimpleNamespace

import pytest
from rich.console import Console

from holdfast import LisaConfig, LisaTrainer, SFTConfig, SFTTrainer
from holdfast.estimate import plan as planning
from holdfast.estimate.cost_model import adapter_weights, training_bytes
from holdfast.estimate.estimate import estimate_plan, estimate_stage, training_steps
from holdfast.estimate.model_size import model_size, size_of_config
from holdfast.models.stack import Stack
from holdfast.protocols import papers
from holdfast.stages.evaluation.settings import prompts_asked
from holdfast.stages.pipeline import Stage, all_stages
from holdfast.stages.resolve import resolve
from holdfast.studies.grid import expand
from holdfast.studies.study import read_study
from tiny_models import ARCHITECTURES, lora, tiny_model
from training.steps import arguments, collator, rows

LLAMA_2_7B = {
    "model_type": "llama", "num_hidden_layers": 32, "hidden_size": 4096, "vocab_size": 32000,
    "num_attention_heads": 32, "intermediate_size": 11008, "tie_word_embeddings": False,
}  # fmt: skip
LLAMA = size_of_config(LLAMA_2_7B)
CHECKPOINTING = ("gradient_checkpointing", "activation_checkpointing")
ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def settings(kind="align", **given):
    """Resolved settings; by default those of the Vaccine paper's alignment."""
    if kind in ("align", "finetune"):
        paper = {
            "rows": 2000, "num_train_epochs": 50, "per_device_train_batch_size": 5,
            "max_length": 200, "bf16": True, "dtype": "bfloat16", "data": "beavertails:safe",
            "lora": {"r": 8, "alpha": 1, "dropout": 0.1, "target_modules": ALL},
        }  # fmt: skip
        given = {**paper, **given}
    return resolve(kind, given, Stack("meta-llama/Llama-2-7b-hf"))


def of(kind="align", **given):
    return estimate_stage(kind, settings(kind, **given), LLAMA)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_parameters_are_counted_as_the_model_has_them(name, tmp_path):
    model = tiny_model(name, layers=3)
    model.config.save_pretrained(tmp_path)
    size = model_size(str(tmp_path))
    assert size.parameters == sum(p.numel() for p in model.parameters())
    assert (size.layers, size.hidden, size.vocabulary) == (3, 32, 64)


@pytest.mark.parametrize("tied", [True, False])
def test_tied_embeddings_and_biases(tied, tmp_path):
    model = tiny_model("llama", tie_word_embeddings=tied, attention_bias=True, mlp_bias=True)
    model.config.save_pretrained(tmp_path)
    assert model_size(str(tmp_path)).parameters == sum(p.numel() for p in model.parameters())


def test_sizes_from_files_and_names():
    assert LLAMA.parameters == 6_738_415_616
    assert model_size("organism").layers == 6
    for name, parameters in [
        ("meta-llama/Llama-2-7b-hf", 7e9),
        ("facebook/opt-2.7b", 2.7e9),
        ("facebook/opt-13b", 13e9),
        ("Qwen/Qwen2.5-0.5B-Instruct", 0.5e9),
        ("mistralai/Mistral-7B-v0.1", 7e9),
        ("facebook/opt-125m", 125e6),
    ]:
        size = model_size(name)
        assert (size.parameters, size.source) == (parameters, "its name")
    seven = model_size("someone/model-7b")
    assert abs(seven.layers - 32) <= 2
    assert abs(seven.hidden - 4096) <= 256
    assert model_size("someone/model") is None
    assert model_size("someone/v2-base-4bit") is None
    assert size_of_config({"model_type": "t5"}) is None


def test_adapter_has_as_many_weights_as_peft_makes():
    model = tiny_model("llama", layers=3)
    size = size_of_config(json.loads(model.config.to_json_string(use_diff=False)))
    wrapped = lora(model, r=4, target_modules=ALL)
    trained = sum(p.numel() for p in wrapped.parameters() if p.requires_grad)
    own = settings(lora={"r": 4, "target_modules": ALL})
    assert adapter_weights(own, size) == trained
    assert adapter_weights(settings(adapter="full"), size) == 0


@pytest.mark.parametrize(
    ("n", "batch", "split", "epochs", "max_steps"),
    [(24, 4, 1, 2, -1), (7, 2, 3, 1.5, -1), (10, 4, 1, 0.5, -1), (9, 3, 2, 3, -1), (9, 3, 2, 3, 5)],
)
@pytest.mark.parametrize("method", ["sft", "lisa", "lisa auto"])
def test_steps_are_the_trainers(tmp_path, method, n, batch, split, epochs, max_steps):
    given = {
        "per_device_train_batch_size": batch, "gradient_accumulation_steps": split,
        "num_train_epochs": epochs, "max_steps": max_steps,
    }  # fmt: skip
    states = {"alignment_steps": 2, "user_steps": 3} if method == "lisa" else {}
    method = method.removesuffix(" auto")
    trainer_class, config = {"sft": (SFTTrainer, SFTConfig), "lisa": (LisaTrainer, LisaConfig)}[
        method
    ]
    extra = {"alignment_dataset": rows(5, seed=1)} if method == "lisa" else {}
    trainer = trainer_class(
        lora(tiny_model("llama", layers=1)),
        config(**{**arguments(tmp_path), **given, **states}),
        train_dataset=rows(n),
        data_collator=collator(),
        **extra,
    )
    trainer.train()
    own = settings("finetune", method=method, **given, **states)
    assert training_steps("finetune", own, n) == trainer.state.global_step


def test_steps_and_tokens_of_the_papers():
    assert of().steps == 20_000
    assert of().tokens == 20_000 * 5 * 200
    user = {"rows": 5000, "num_train_epochs": 20}
    papers = {"alignment_steps": 100, "user_steps": 900}
    lisa = of("finetune", method="lisa", **user, **papers)
    assert lisa.steps == 20_000 + 100 * math.ceil(20_000 / 900)
    # auto: 23 turns of 870, and 24 of 97 alignment steps.
    assert of("finetune", method="lisa", **user).steps == 20_000 + 24 * 97
    assert of("finetune", max_steps=7, **user).steps == 7
    # Table 2's 900/100, as its authors ran it: no step on top, and nine of ten on alignment rows.
    rows = {"data": "sst2:train", "alignment_data": "beavertails:safe"}
    turns = {"alignment_steps": 900, "user_steps": 100}
    swapped = of("finetune", method="lisa", user_rows="swapped", **rows, **user, **turns)
    assert (swapped.steps, swapped.tokens) == (20_000, 18_000 * 5 * 200 + 2_000 * 5 * 90)
    seen = of("finetune", method="lisa", **rows, **user, **turns)
    assert (seen.steps, seen.tokens) == (200_000, 180_000 * 5 * 200 + 20_000 * 5 * 90)


def test_the_published_row_that_it_is_calibrated_on():
    """Vaccine, Table 5: Llama-2-7B on an A100, 0.37 s and 38.45 GB; Vaccine 0.73 s, 38.57 GB."""
    # The authors' code: weights in fp16 under bf16 autocast, 5 rows of at most 200 tokens.
    for method, seconds, gib in (("sft", 0.37, 38.45), ("vaccine", 0.73, 38.57)):
        found = of(method=method, dtype="float16", max_steps=100)
        assert found.gpu_seconds / 100 == pytest.approx(seconds, rel=0.2)
        assert found.peak_bytes / 2**30 == pytest.approx(gib, rel=0.2)


def test_more_work_takes_longer():
    base = of()
    for more in (
        {"rows": 2500}, {"num_train_epochs": 51}, {"method": "vaccine"}, {"adapter": "full"},
        {"activation_checkpointing": True}, {"lora": {"r": 64}},
    ):  # fmt: skip
        assert of(**more).gpu_seconds > base.gpu_seconds, more
    bigger = size_of_config({**LLAMA_2_7B, "num_hidden_layers": 40, "hidden_size": 5120})
    assert estimate_stage("align", settings(), bigger).gpu_seconds > base.gpu_seconds
    mixed = {"task": "sst2", "data": None, "harmful_data": "beavertails:harmful"}
    ratios = [of("finetune", harmful_ratio=p, **mixed).gpu_seconds for p in (0.0, 0.1, 1.0)]
    assert ratios == sorted(set(ratios))


def test_methods_cost_what_their_passes_cost():
    sft, vaccine = of().gpu_seconds, of(method="vaccine").gpu_seconds
    assert vaccine == pytest.approx(2 * sft, rel=0.01)
    assert of(method="vaccine", every=100).gpu_seconds == pytest.approx(1.01 * sft, rel=0.001)
    drawn = [
        of(method="t_vaccine", layers=s, probe_every=20_000).gpu_seconds for s in (1, 2, 8, 32)
    ]
    assert drawn == sorted(set(drawn))
    assert drawn[-1] == pytest.approx(vaccine, rel=0.001)
    often = of(method="t_vaccine", layers=8, probe_every=10).gpu_seconds
    assert often == pytest.approx(drawn[2] + 0.1 * sft, rel=0.01)


def test_memory_follows_what_is_kept():
    def gib(**given):
        return training_bytes("align", settings(**given), LLAMA) / 2**30

    sft = gib()
    weights = LLAMA.parameters * 2 / 2**30
    assert sft > weights
    assert gib(per_device_train_batch_size=10) - weights > 1.8 * (sft - weights)
    assert gib(max_length=100) < sft < gib(max_length=400)
    assert gib(method="vaccine") > sft
    eight, two = (gib(method="t_vaccine", layers=s) for s in (8, 2))
    assert two < eight < sft
    assert gib(method="t_vaccine", layers=32) == gib(method="vaccine")
    assert gib(activation_checkpointing=True) < eight
    assert gib(quantization="4bit") < sft - 0.7 * weights
    assert gib(lora={"r": 8, "dropout": 0.0}) < sft
    assert gib(adapter="full") > 4 * weights
    assert gib(dtype="float16") == pytest.approx(sft + weights)  # autocast's copies


def test_t_vaccine_fits_small_cards_with_checkpointing_or_in_4_bits():
    """At the paper's 10 rows of 200 tokens, on a card of 24 GB with room to spare."""
    paper = {"method": "t_vaccine", "layers": 8, "per_device_train_batch_size": 10}
    assert training_bytes("align", settings(activation_checkpointing=True, **paper), LLAMA) < 18e9
    both = settings(activation_checkpointing=True, quantization="4bit", **paper)
    assert training_bytes("align", both, LLAMA) < 8e9


def test_the_type_that_auto_became_here_is_not_a_gpus(monkeypatch):
    monkeypatch.setattr("holdfast.estimate.estimate.has_accelerator", lambda: False)
    assert of(dtype="float32") == of()
    monkeypatch.setattr("holdfast.estimate.estimate.has_accelerator", lambda: True)
    assert of(dtype="float32").peak_bytes > of().peak_bytes + 2 * LLAMA.parameters


# SmolLM2-135M.
SMALL = size_of_config({
    "model_type": "llama", "num_hidden_layers": 30, "hidden_size": 576, "vocab_size": 49152,
    "num_attention_heads": 9, "num_key_value_heads": 3, "intermediate_size": 1536,
    "tie_word_embeddings": True,
})  # fmt: skip


def test_a_small_model_on_one_core_takes_what_was_measured():
    """6.1 s in float32 for a step of 8 rows of 64 tokens, LoRA of rank 16 on all matrices."""
    assert SMALL.parameters == 134_515_008
    given = settings(
        dtype="float32", bf16=False, rows=80, num_train_epochs=1, per_device_train_batch_size=8,
        max_length=64, lora={"r": 16, "alpha": 32, "dropout": 0.0, "target_modules": ALL},
    )  # fmt: skip
    found = estimate_stage("align", given, SMALL, on_processor=True)
    assert found.steps == 10
    assert found.core_seconds == pytest.approx(61, rel=0.1)
    # Weights keep their type where they will run here.
    assert found.peak_bytes > estimate_stage("align", given, SMALL).peak_bytes
    judged = settings("evaluate", protocol="vaccine-2024", task="sst2")
    plain = settings("evaluate", protocol="vaccine-2024", task="sst2", judges=["keywords"])
    found = [estimate_stage("evaluate", one, SMALL).core_seconds for one in (judged, plain)]
    assert found[0] > 10 * found[1] > 0  # a judge of seven billion parameters counts, phrases not


@pytest.mark.parametrize(("gpu", "large"), [(False, False), (True, False), (False, True)])
def test_a_plan_without_a_gpu_tells_minutes_of_the_processor(tmp_path, monkeypatch, gpu, large):
    monkeypatch.setattr("holdfast.estimate.estimate.has_accelerator", lambda: gpu)
    monkeypatch.setattr(planning, "has_accelerator", lambda: gpu)
    model = "someone/model-7b" if large else "someone/model-135m"
    stage = Stage("align", settings(dtype="float32", rows=800), "a", stack=Stack(model))
    monkeypatch.setattr(planning, "all_stages", lambda _: [stage])
    pipeline = SimpleNamespace(stages={"align": stage})
    shown = StringIO()
    plan = planning.plan_of([pipeline], tmp_path, True)
    Console(file=shown, width=200).print(*planning.shown_plan(plan, tmp_path), sep="\n")
    on_processor = not gpu and not large
    assert ("CPU minutes" in shown.getvalue()) == on_processor
    assert ("minutes on one core of the processor" in shown.getvalue()) == on_processor
    assert ("GPU hours on one A100" in shown.getvalue()) == (not on_processor)


def test_repairs_and_evaluations():
    scored = of("repair", method="antidote", rows=2000, data="beavertails:realignment")
    assert (scored.steps, scored.tokens) == (0, 2000 * 200)
    assert 0 < scored.gpu_seconds < 600
    assert scored.peak_bytes > 2 * LLAMA.parameters
    for free in ({"method": "random_mask"}, {"method": "antidote", "score": "magnitude"}):
        assert of("repair", **free).gpu_seconds == 0
    rows = {"rows": 2000, "alignment_data": "beavertails:safe", "alignment_rows": 50}
    once = of("repair", method="safe_delta", **rows)
    assert once.tokens == 50 * 200
    trained = of("repair", method="safe_merge", epochs=3, **rows)
    assert trained.gpu_seconds == pytest.approx(6 * once.gpu_seconds)  # forward, and back
    short = of("evaluate", protocol="vaccine-2024", task="sst2")
    long = of("evaluate", protocol="antidote-2024", task="gsm8k")
    assert 0 < short.gpu_seconds < long.gpu_seconds
    assert short.peak_bytes > 2 * LLAMA.parameters


def test_checkpointing_is_known_by_both_of_its_names():
    old, new = (settings(**{name: True}) for name in CHECKPOINTING)
    assert training_bytes("align", old, LLAMA) == training_bytes("align", new, LLAMA)
    assert training_bytes("align", old, LLAMA) < 0.6 * training_bytes("align", settings(), LLAMA)
    seconds = [of(**{name: True}).gpu_seconds for name in CHECKPOINTING]
    assert seconds[0] == seconds[1] > 1.2 * of().gpu_seconds


def test_an_evaluation_holds_logits_and_then_a_judge():
    """By hand: 32 rows of vaccine-2024 in float16, whose task answers have 200 tokens."""
    answers = {"protocol": "vaccine-2024", "task": "gsm8k", "judges": ["keywords"]}
    weights = 2 * LLAMA.parameters
    cache = 32 * (220 + 200) * 32 * 2 * 4096 * 2
    assert of("evaluate", **answers).peak_bytes == weights + cache + 32 * 32000 * 6
    # Short answers: the alignment rows' logits are more.
    rows = 32 * 200 * (16 * 4096 + 6 * 11008 + 32000 * 2)
    short = of("evaluate", **{**answers, "task": "sst2"}, max_new_tokens=4)
    assert short.peak_bytes == round(weights + 1.8 * rows)
    judged = {**answers, "dtype": "float16", "judges": ["beaver-dam-7b"], "quantization": "4bit"}
    small = of("evaluate", **{**judged, "task": "sst2"}, max_new_tokens=4)
    assert small.peak_bytes == round(6.7e9 * 2 + 32 * 256 * (16 * 4096 + 6 * 11008))
    twice = of("evaluate", **answers, reference="aligned")
    assert twice.tokens == of("evaluate", **answers).tokens + 100 * 200


def test_what_nobody_knows_is_said():
    unknown = estimate_stage("align", settings(), None)
    assert (unknown.steps, unknown.gpu_seconds, unknown.peak_bytes) == (20_000, None, None)
    assert "size" in unknown.unknown
    rowless = estimate_stage("align", settings(rows=None), LLAMA)
    assert rowless.steps is None
    assert "rows" in rowless.unknown
    assert estimate_stage("align", settings(rows=None), LLAMA, rows=2000).steps == 20_000
    organism = estimate_stage("align", settings(), model_size("organism"), organism=True)
    assert organism.gpu_seconds == 0


# Seconds that stages of the demo took on one core of an idle machine (medians of five seeds).
MEASURED = {
    ("align", "sft"): 8.6,
    ("align", "vaccine"): 15.8,
    ("align", "t_vaccine"): 15.9,
    ("finetune", "sft"): 5.7,
    ("finetune", "lisa"): 8.2,
    ("repair", "antidote"): 0.9,
    ("evaluate", None): 2.3,
}


@pytest.mark.parametrize(("stage", "seconds"), MEASURED.items())
def test_the_organisms_time_is_right_to_a_factor_of_two(stage, seconds):
    kind, method = stage
    given = resolve(kind, {"method": method} if method else {}, Stack("organism"))
    found = estimate_stage(kind, given, model_size("organism"), organism=True)
    assert seconds / 2 < found.core_seconds < 2 * seconds


@pytest.mark.parametrize("experiment", papers.papers(), ids=lambda e: e.reference)
def test_every_papers_plan_is_estimated(experiment):
    pipelines = expand(read_study(papers.find(experiment.reference)), by_name=True)
    stages = all_stages(pipelines)
    plan = estimate_plan(stages)
    assert plan.stages.keys() == {stage.identity for stage in stages}
    assert not any(one.unknown for one in plan.stages.values())
    assert 0 < plan.gpu_seconds < 250 * 3600
    # Full training of 7B takes 18 bytes a weight and more: float32, with Adam's two numbers.
    full = any(stage.settings.get("adapter") == "full" for stage in stages)
    assert 5e9 < plan.peak_bytes < (170e9 if full else 95e9)
    assert plan.steps == sum(one.steps for one in plan.stages.values())
    assert any("names" in note for note in plan.notes)


def test_a_model_of_unknown_size_is_named_in_the_plan(tmp_path):
    file, rows = tmp_path / "s.yaml", tmp_path / "a.jsonl"
    rows.write_text('{"instruction": "q", "output": "a"}\n' * 10)
    file.write_text(
        f"model: someone/model\ntask: sst2\nsettings: {{align: {{data: '{rows}', rows: 10}}}}\n"
        "variants: {A: {align: sft}}\nevaluate: {protocol: vaccine-2024}\n"
    )
    pipelines = expand(read_study(file), by_name=True)
    plan = estimate_plan(all_stages(pipelines))
    assert any("someone/model" in note for note in plan.notes)
    assert plan.gpu_seconds == 0
    assert planning.plan_of(pipelines, tmp_path, True).content()["peak_bytes"] is None


def test_an_evaluation_of_own_rows_is_estimated_by_their_number(tmp_path):
    """The protocol's 500 prompts would make a trial of a few look like hours."""
    for name, count in (("harmful", 30), ("benign", 7)):
        rows = [{"instruction": f"{name} {i}", "output": "Sure"} for i in range(count)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    given = {"harmful_data": str(tmp_path / "harmful.jsonl"), "limit": 20}
    given["benign_data"] = str(tmp_path / "benign.jsonl")
    settings = resolve("evaluate", {**given, "judges": ["keywords"]}, Stack("someone/model"))
    found = prompts_asked(settings)
    assert found == {"harmful": 20, "attacked": 0, "benign": 7, "task": 0, "alignment": 0}
    away = {**settings, "harmful_data": str(tmp_path / "not-there.jsonl"), "limit": None}
    assert prompts_asked(away)["harmful"] == 500
