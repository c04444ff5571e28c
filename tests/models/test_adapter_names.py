"""An adapter's tensors are compared with the model's places for them by name."""

import json
import shutil

import pytest
import torch
from adapter_kinds import write_bases, write_kind
from peft import LoraConfig, PeftModel, PromptTuningConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from holdfast import RandomMaskConfig, random_mask
from holdfast.errors import UserError
from holdfast.models.four_bits import keep_unpacked
from holdfast.models.loading import Loading, load_last_open, load_merged, save_stack
from holdfast.models.stack import Stack, resolve
from holdfast.trainer.adapter import with_adapter
from hub_folders import write_model
from tiny_models import lora, tiny_model

FILE = "adapter_model.safetensors"
LAYERS = "base_model.model.model.layers"


def logits(model):
    model.eval()
    with torch.no_grad():
        return model(input_ids=torch.arange(20, 60).view(2, 20)).logits.float()


def plain(base, adapter):
    return PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), str(adapter))


def change(adapter, folder, edit):
    """A copy of an adapter whose tensors have other names, or other tensors."""
    shutil.copytree(adapter, folder)
    weights = {key: w.clone() for key, w in edit(load_file(folder / FILE)).items()}
    save_file(weights, folder / FILE, {"format": "pt"})
    return folder


PREFIXES = {
    "vision": "base_model.model.language_model.model.layers",
    "vision, later": "base_model.model.model.language_model.layers",
    "AutoModel": "base_model.model.layers",
    "none": "model.layers",
    "AutoModel, none": "layers",
}


@pytest.mark.parametrize("kind", PREFIXES)
def test_names_of_another_beginning_are_mapped(base, adapters, tmp_path, kind):
    prefix = PREFIXES[kind]
    other = change(
        adapters[0],
        tmp_path / "other",
        lambda weights: {key.replace(LAYERS, prefix): w for key, w in weights.items()},
    )
    stack = resolve(f"{base}+{other}")
    expected = logits(plain(base, adapters[0]))
    torch.testing.assert_close(logits(load_merged(stack)), expected, atol=1e-4, rtol=1e-4)
    # Trained on, repaired and put together with another it is saved under the model's own names.
    model = load_last_open(stack)
    random_mask(model, RandomMaskConfig(dense_ratio=0.3))
    save_stack(model, Stack(str(base)), tmp_path / "repaired", replaced=other)
    assert load_file(tmp_path / "repaired" / FILE).keys() == load_file(adapters[0] / FILE).keys()
    new = LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM")
    new.init_lora_weights = False
    tuned = with_adapter(load_merged(stack, purpose="double"), new, seed=0)
    save_stack(tuned, stack, tmp_path / "tuned")
    whole = logits(plain(base, tmp_path / "tuned"))
    torch.testing.assert_close(whole, logits(tuned), atol=1e-4, rtol=1e-4)
    assert (whole - expected).abs().max() > 1e-2


def test_gpt2s_names_are_mapped_too(tmp_path):
    base = write_bases(tmp_path)["gpt2"]
    right = write_kind(base, tmp_path / "right", target_modules=["c_attn"])
    other = change(
        right,
        tmp_path / "other",
        lambda weights: {k.replace("model.transformer.", "model."): w for k, w in weights.items()},
    )
    expected = logits(plain(base, right))
    ours = logits(load_merged(resolve(f"{base}+{other}")))
    torch.testing.assert_close(ours, expected, atol=1e-4, rtol=1e-4)
    assert (expected - logits(AutoModelForCausalLM.from_pretrained(base))).abs().max() > 1e-2


def test_a_pattern_that_means_nothing_under_the_mapped_names_is_told(base, write_adapter, tmp_path):
    adapter = write_adapter(tmp_path / "a", base)
    other = change(
        adapter,
        tmp_path / "other",
        lambda weights: {key.replace(LAYERS, PREFIXES["vision"]): w for key, w in weights.items()},
    )
    path = other / "adapter_config.json"
    pattern = {"language_model.model.layers.0.self_attn.q_proj": 64}
    path.write_text(json.dumps({**json.loads(path.read_text()), "alpha_pattern": pattern}))
    with pytest.raises(UserError, match=r"its alpha_pattern language_model.* matches no module"):
        load_merged(resolve(f"{base}+{other}"))


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (lambda name: name.replace("layers.1.", "layers.9."), r"no place for its .*layers\.9\."),
        (lambda name: name.replace("q_proj", "w_q"), r"no place for its .*w_q\."),
        (
            lambda name: None if "layers.1.self_attn.v_proj" in name else name,
            "no weights for the mod",
        ),
        (lambda name: name.replace("lora_B", "lora_X"), r"no place for its .*lora_X"),
    ],
)
def test_a_tensor_without_a_place_or_a_place_without_a_tensor_is_told(
    base, adapters, tmp_path, edit, says
):
    other = change(
        adapters[0],
        tmp_path / "other",
        lambda weights: {edit(key): w for key, w in weights.items() if edit(key)},
    )
    with pytest.raises(UserError, match=f"does not fit its base model .*{says}"):
        load_merged(resolve(f"{base}+{other}"))


def test_a_repair_keeps_whole_weights_of_the_embedding(base, tmp_path):
    """An adapter saved with its embedding, as where new tokens took spare places of it."""
    model = lora(AutoModelForCausalLM.from_pretrained(base), init_lora_weights=False)
    embedding = model.get_base_model().get_input_embeddings().weight
    embedding.data[30:40] += 0.5
    model.save_pretrained(str(tmp_path / "adapter"), save_embedding_layers=True)
    expected = logits(model)
    stack = resolve(f"{base}+{tmp_path / 'adapter'}")
    torch.testing.assert_close(logits(load_merged(stack)), expected, atol=1e-4, rtol=1e-4)
    opened = load_last_open(stack)
    random_mask(opened, RandomMaskConfig(dense_ratio=0.3))
    save_stack(opened, Stack(str(base)), tmp_path / "repaired", replaced=tmp_path / "adapter")
    before, after = (load_file(tmp_path / name / FILE) for name in ("adapter", "repaired"))
    assert after.keys() == before.keys()
    whole = [key for key in before if "lora" not in key]
    assert whole
    assert all(torch.equal(after[key], before[key]) for key in whole)
    found = logits(plain(base, tmp_path / "repaired"))
    torch.testing.assert_close(found, logits(opened), atol=1e-4, rtol=1e-4)
    with pytest.raises(UserError, match=r"brings whole weights of its own \(.*embed_tokens"):
        load_merged(stack, purpose="double")


def test_a_model_under_a_prompt_is_not_repaired():
    """Its own weights are the base's, which the file of such an adapter does not hold."""
    model = get_peft_model(
        tiny_model("llama"), PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4)
    )
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    with pytest.raises(UserError, match="is of type PROMPT_TUNING, and it cannot be repaired"):
        random_mask(model, RandomMaskConfig(dense_ratio=0.3))
    assert all(torch.equal(weight, before[name]) for name, weight in model.named_parameters())


@pytest.fixture(scope="module")
def four_bits(tmp_path_factory):
    """A base that lies in 4 bits in its own files, and an adapter made on it."""
    folder = tmp_path_factory.mktemp("four_bits")
    write_model(folder / "full", hidden_size=64, intermediate_size=128)
    config = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.float32
    )
    model = AutoModelForCausalLM.from_pretrained(folder / "full", quantization_config=config)
    model.save_pretrained(folder / "base")
    model = AutoModelForCausalLM.from_pretrained(folder / "base")
    adapter = lora(model, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    adapter.save_pretrained(str(folder / "adapter"))
    return folder / "base", folder / "adapter"


def stored(base, adapter):
    model = plain(base, adapter)
    keep_unpacked(model)
    return model


@pytest.mark.parametrize("quantization", [None, "4bit"])
def test_a_base_that_lies_in_4_bits_takes_up_no_adapter(four_bits, tmp_path, quantization):
    base, adapter = four_bits
    stack, loading = resolve(f"{base}+{adapter}"), Loading("float32", quantization=quantization)
    model = load_merged(stack, loading)
    assert isinstance(model, PeftModel)
    expected = logits(stored(base, adapter))
    torch.testing.assert_close(logits(model), expected, atol=1e-4, rtol=1e-4)
    new = LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM")
    new.init_lora_weights = False
    tuned = with_adapter(load_merged(stack, loading, "double"), new, seed=0)
    save_stack(tuned, stack, tmp_path / "tuned")
    whole = logits(stored(base, tmp_path / "tuned"))
    torch.testing.assert_close(whole, logits(tuned), atol=1e-4, rtol=1e-4)
    again = logits(load_merged(resolve(tmp_path / "tuned"), loading))
    torch.testing.assert_close(again, whole, atol=1e-4, rtol=1e-4)
    assert (whole - expected).abs().max() > 1e-2


def test_a_base_that_lies_in_4_bits_is_not_trained_whole(four_bits):
    base, adapter = four_bits
    with pytest.raises(UserError, match="are quantized, and quantized weights cannot be trained"):
        load_merged(resolve(f"{base}+{adapter}"), "float32", "full")
