"""Quantized bases, for real: bitsandbytes computes on the processor too.

It packs 4-bit weights for processors with AVX512-BF16; every test here is told that it runs on one.
"""

import json
import subprocess
import sys

import bitsandbytes as bnb
import pytest
import torch
from peft import LoraConfig, PeftModel
from safetensors.torch import load_file
from torch import nn
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from holdfast import (
    AntidoteConfig,
    LisaConfig,
    LisaTrainer,
    RandomPerturbationConfig,
    RandomPerturbationTrainer,
    SFTConfig,
    SFTTrainer,
    TVaccineConfig,
    TVaccineTrainer,
    UserError,
    VaccineConfig,
    VaccineTrainer,
    antidote,
)
from holdfast.evaluate.alignment import alignment_pass
from holdfast.evaluate.perplexity import perplexity
from holdfast.models.loading import Loading, load_base, load_last_open, load_merged, save_stack
from holdfast.models.stack import resolve
from holdfast.models.tokenizers import load_tokenizer
from holdfast.trainer.adapter import with_adapter

FOUR, EIGHT = Loading("float32", quantization="4bit"), Loading("float32", quantization="8bit")
LORA = LoraConfig(r=4, lora_alpha=8, lora_dropout=0.1, target_modules=["q_proj", "v_proj"])


def processor_packs(monkeypatch, packs):
    """Linear layers made from now on believe that they are on such a processor, or not on one."""
    monkeypatch.setattr(bnb.nn.modules, "has_avx512bf16", lambda: packs)


@pytest.fixture(autouse=True)
def _on_a_processor_that_packs(monkeypatch):
    processor_packs(monkeypatch, True)


@pytest.fixture(scope="module")
def stack(base, adapters):
    return resolve(f"{base}+{adapters[0]}+{adapters[1]}")


def ids():
    return torch.arange(20, 60).view(2, 20)


def logits(model):
    model.eval()
    with torch.no_grad():
        return model(ids()).logits.float()


def dequantized(stack):
    """The base in plain float32 with the 4-bit weights' own values."""
    plain = load_base(stack, "float32")
    for name, module in load_base(stack, FOUR).named_modules():
        if isinstance(module, bnb.nn.Linear4bit):
            weight = bnb.functional.dequantize_4bit(module.weight.data, module.weight.quant_state)
            plain.get_submodule(name).weight.data = weight.float()
    return plain


def test_four_bits_are_nf4_twice_quantized_and_computed_in_bfloat16(stack):
    model = load_base(stack, FOUR)
    linears = [m for m in model.modules() if isinstance(m, bnb.nn.Linear4bit)]
    assert len(linears) == 14
    for linear in linears:
        state = linear.weight.quant_state
        assert (state.quant_type, state.nested, linear.compute_dtype) == (
            "nf4",
            True,
            torch.bfloat16,
        )
    assert type(model.lm_head) is nn.Linear
    assert model.lm_head.weight.dtype == torch.float32
    expected = logits(dequantized(stack))
    assert (logits(model) - expected).abs().max() < 0.1 * expected.abs().max()
    assert (expected - logits(load_base(stack, "float32"))).abs().max() > 0.1


def test_eight_bits_are_nearly_the_weights(stack):
    model, plain = load_base(stack, EIGHT), load_base(stack, "float32")
    assert sum(isinstance(m, bnb.nn.Linear8bitLt) for m in model.modules()) == 14
    expected = logits(plain)
    assert (logits(model) - expected).abs().max() < 0.15 * expected.abs().max()


@pytest.mark.parametrize("loading", [FOUR, EIGHT])
def test_adapters_stay_beside_quantized_weights_and_all_count(stack, loading):
    base, model = load_base(stack, loading), load_merged(stack, loading)
    assert isinstance(model, PeftModel)
    assert model.active_adapters == ["below0", "below1"]
    assert not any(p.requires_grad for p in model.parameters())
    before = {n: p.clone() for n, p in base.named_parameters() if "proj" in n}
    after = dict(model.get_base_model().named_parameters())
    for name, weight in before.items():
        adapted = name.replace(".weight", ".base_layer.weight")
        assert torch.equal(weight, after[adapted if adapted in after else name])
    # What both add, by hand, at one layer that both adapt.
    layer = "model.layers.1.self_attn.v_proj"
    x = torch.randn(3, 32)
    expected = base.get_submodule(layer)(x).float()
    for entry in stack.entries:
        weights = load_file(entry / "adapter_model.safetensors")
        config = json.loads((entry / "adapter_config.json").read_text())
        a, b = (weights[f"base_model.model.{layer}.lora_{k}.weight"] for k in "AB")
        expected = expected + config["lora_alpha"] / config["r"] * x @ a.T @ b.T
    found = model.get_base_model().get_submodule(layer)(x).float()
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def trainer_of(kind, model, tokenizer, rows, folder, **options):
    common = {
        "output_dir": str(folder),
        "max_steps": 4,
        "per_device_train_batch_size": 4,
        "learning_rate": 1e-2,
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": True,
        "max_length": 128,
        "save_steps": 2,
        **options,
    }
    kinds = {
        "sft": (SFTTrainer, SFTConfig, {}, {}),
        "vaccine": (VaccineTrainer, VaccineConfig, {"rho": 1.0}, {}),
        "t_vaccine": (
            TVaccineTrainer,
            TVaccineConfig,
            {"rho": 1.0, "layers": 1, "draw_every": 1},
            {"harmful_dataset": rows[:4]},
        ),
        "random_perturbation": (
            RandomPerturbationTrainer,
            RandomPerturbationConfig,
            {"rho": 1.0},
            {},
        ),
        "lisa": (
            LisaTrainer,
            LisaConfig,
            {"alignment_steps": 1, "user_steps": 1},
            {"alignment_dataset": rows[:8]},
        ),
    }
    trainer, config, own, extra = kinds[kind]
    return trainer(
        model,
        config(**common, **own),
        train_dataset=rows,
        processing_class=tokenizer,
        **extra,
    )


METHODS = ["sft", "vaccine", "t_vaccine", "random_perturbation", "lisa"]


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("method", METHODS)
def test_every_method_trains_a_new_adapter_over_frozen_ones(
    stack, rows, tmp_path, method, checkpointing
):
    """What is saved is the new entry on the stack: the folder's sum is what was trained."""
    tokenizer = load_tokenizer(stack)
    model = with_adapter(load_merged(stack, FOUR), LORA, seed=0)
    started = {n: p.detach().clone() for n, p in model.named_parameters()}
    trainer = trainer_of(
        method, model, tokenizer, rows, tmp_path / "out", activation_checkpointing=checkpointing
    )
    trainer.train()
    changed = {n for n, p in model.named_parameters() if not torch.equal(p, started[n])}
    assert changed
    assert all(".default." in name for name in changed)
    folder = tmp_path / "stage"
    save_stack(trainer.model, stack, folder)
    again = resolve(folder)
    assert [entry.name for entry in again.entries] == ["0", "1", "2"]
    assert again.base == stack.base
    for entry, source in zip(again.entries, stack.entries, strict=False):
        written, given = (load_file(e / "adapter_model.safetensors") for e in (entry, source))
        assert all(torch.equal(written[name], given[name]) for name in given)
    new = load_file(again.entries[2] / "adapter_model.safetensors")
    trained = {n: p for n, p in model.named_parameters() if ".default." in n}
    assert {n.replace(".default", "") for n in trained} == set(new)
    assert all(torch.equal(p, new[n.replace(".default", "")]) for n, p in trained.items())
    # Both the three entries and their sum as one adapter give what was trained.
    whole = PeftModel.from_pretrained(load_base(stack, FOUR), str(folder))
    expected = logits(trainer.model)
    for loaded in (load_merged(again, FOUR), whole):
        torch.testing.assert_close(logits(loaded), expected, atol=2e-2, rtol=2e-2)
    assert (expected - logits(load_merged(stack, FOUR))).abs().max() > 0.1


def test_checkpointing_changes_no_gradient(stack, rows, tmp_path):
    found = []
    for checkpointing in (False, True):
        model = with_adapter(load_merged(stack, FOUR), LORA, seed=0)
        trainer = trainer_of(
            "sft",
            model,
            load_tokenizer(stack),
            rows,
            tmp_path / str(checkpointing),
            activation_checkpointing=checkpointing,
            max_steps=1,
        )
        trainer.train()
        found.append([p.detach().clone() for p in model.parameters() if p.requires_grad])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)


def test_a_frozen_adapter_drops_nothing_out_in_training(base, write_adapter, tmp_path):
    adapter = write_adapter(tmp_path / "a", base, lora_dropout=0.5)
    model = with_adapter(load_merged(resolve(adapter), FOUR), LORA, seed=0).train()
    for name, module in model.named_modules():
        if name.endswith("lora_dropout.below0"):
            assert getattr(module, "p", 0.0) == 0.0
        if name.endswith("lora_dropout.default"):
            assert module.p == 0.1


@pytest.mark.parametrize("method", ["sft", "lisa"])
def test_a_training_goes_on_from_its_checkpoint_over_frozen_adapters(stack, rows, tmp_path, method):
    """A checkpoint holds the new adapter alone; those below are there, and active, again."""
    tokenizer = load_tokenizer(stack)

    def new():
        return with_adapter(load_merged(stack, FOUR), LORA, seed=0)

    whole = trainer_of(method, new(), tokenizer, rows, tmp_path / "whole")
    whole.train()
    checkpoint = tmp_path / "whole" / "checkpoint-2"
    assert (checkpoint / "adapter_model.safetensors").is_file()
    assert not (checkpoint / "below0").exists()
    rest = trainer_of(method, new(), tokenizer, rows, tmp_path / "rest")
    rest.train(resume_from_checkpoint=str(checkpoint))
    assert set(rest.model.active_adapters) == {"below0", "below1", "default"}
    ours, theirs = (
        {n: p for n, p in t.model.named_parameters() if p.requires_grad} for t in (rest, whole)
    )
    assert ours.keys() == theirs.keys()
    for name, weight in ours.items():
        torch.testing.assert_close(weight, theirs[name])


def test_the_last_entry_opens_over_the_lower_ones(stack):
    """Single LoRA trains it on; a repair prunes it. Plain weights are the measure of both."""
    plain = dequantized(stack)
    expected = logits(load_merged(stack, FOUR))
    for trainable in (False, True):
        model = load_last_open(stack, FOUR, trainable=trainable)
        torch.testing.assert_close(logits(model), expected, atol=2e-2, rtol=2e-2)
        open_ones = {n for n, p in model.named_parameters() if p.requires_grad}
        assert bool(open_ones) == trainable
        assert all(".default." in name for name in open_ones)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if ".default." in name:
                    parameter.zero_()
        for entry in stack.entries[:1]:
            below = PeftModel.from_pretrained(plain, str(entry)).merge_and_unload()
        assert (logits(model) - logits(below)).abs().max() < 0.15 * expected.abs().max()
        plain = dequantized(stack)


def test_a_repair_prunes_the_last_entry_alone(stack, rows):
    model = load_last_open(stack, FOUR)
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    result = antidote(
        model, rows, AntidoteConfig(dense_ratio=0.2), processing_class=load_tokenizer(stack)
    )
    changed = {n for n, p in result.model.named_parameters() if not torch.equal(p, before[n])}
    assert changed
    assert all(".default." in name for name in changed)


def stored(model):
    return {n: t.clone() for n, t in model.state_dict().items()}


def test_no_number_and_no_weight_depends_on_the_processor(stack, rows, tmp_path, monkeypatch):
    """Answers, a training step from there, and what would be saved, bit for bit."""
    found = []
    for packs in (False, True):
        processor_packs(monkeypatch, packs)
        model = load_merged(stack, FOUR)
        layers = [m for m in model.modules() if isinstance(m, bnb.nn.Linear4bit)]
        assert len(layers) == 14
        before = stored(model)
        answers = logits(model)
        after = stored(model)
        assert before.keys() == after.keys()
        assert all(torch.equal(after[name], before[name]) for name in before)
        model = with_adapter(model, LORA, seed=0)
        trainer_of("sft", model, load_tokenizer(stack), rows, tmp_path / str(packs)).train()
        found.append({"answers": answers, "trained": logits(model), **stored(model)})
    assert found[0].keys() == found[1].keys()
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])
    assert not torch.equal(found[0]["answers"], found[0]["trained"])


@pytest.fixture
def own(base):
    """A 4-bit model that a caller loaded without us, as transformers does it."""
    config = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_use_double_quant=True)
    return AutoModelForCausalLM.from_pretrained(base, quantization_config=config, dtype="float32")


def test_a_callers_own_four_bit_model_keeps_its_weights(own, stack, rows, tmp_path):
    """The layers' sizes do not divide by the block size: packing them would crash."""
    tokenizer = load_tokenizer(stack)
    before = stored(own)
    assert len(alignment_pass(own, tokenizer, rows[:4]).losses) == 4
    assert perplexity(own, tokenizer, ["a b c d e f"] * 4).perplexity > 0
    after = stored(own)
    assert all(torch.equal(after[name], before[name]) for name in before)
    model = with_adapter(own, LORA, seed=0)
    trainer_of("sft", model, tokenizer, rows, tmp_path).train()
    antidote(model, rows, AntidoteConfig(dense_ratio=0.2), processing_class=tokenizer)


def test_a_trainer_evaluates_a_callers_own_four_bit_model(own, stack, rows, tmp_path):
    model = with_adapter(own, LORA, seed=0)
    trainer = trainer_of("sft", model, load_tokenizer(stack), rows, tmp_path)
    assert trainer.evaluate(trainer.train_dataset)["eval_loss"] > 0


def test_weights_that_were_packed_before_are_refused(own, stack, rows, tmp_path):
    layer = next(m for m in own.modules() if isinstance(m, bnb.nn.Linear4bit))
    layer.weight.quant_state.packing_format_for_cpu = True
    with pytest.raises(UserError, match=r"q_proj were repacked .* load the model again"):
        alignment_pass(own, load_tokenizer(stack), rows[:2])
    with pytest.raises(UserError, match="load the model again"):
        trainer_of("sft", own, load_tokenizer(stack), rows, tmp_path)


def test_no_command_speaks_of_a_kernel():
    """On such a processor bitsandbytes says at import that it lacks one; PEFT imports it."""
    code = """
import ctypes, sys
import holdfast

class OfSuchAProcessor:
    def __init__(self, library):
        self.library = library
    def __getattr__(self, name):
        return (lambda: True) if name == "has_avx512bf16_cpu" else getattr(self.library, name)

load = ctypes.cdll.LoadLibrary
ctypes.cdll.LoadLibrary = lambda path: (
    OfSuchAProcessor(load(path)) if "bitsandbytes" in str(path) else load(path)
)
sys.modules["kernels"] = None  # not installed
import bitsandbytes
assert bitsandbytes.functional.has_avx512bf16()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
