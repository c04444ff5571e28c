"""Antidote's masks against a row-by-row calculation."""

import copy

import pytest
import torch
from repair_helpers import (
    RIGHT,
    ROWS,
    adapted,
    assert_only_masked_weights_changed,
    lora_keys,
    state,
)
from slow_antidote import (
    END,
    as_lists,
    layer_linears,
    lora_factors,
    padding_collator,
    slow_masks,
)
from transformers import GPT2Config, GPT2LMHeadModel
from transformers.pytorch_utils import Conv1D

from holdfast.repair.antidote import AntidoteConfig, antidote
from tiny_models import ARCHITECTURES, lora, tiny_model


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("batch_size", [1, 4, 16])
@pytest.mark.parametrize("pad", [0, END])
def test_masks_equal_the_row_by_row_calculation(side, batch_size, pad):
    model = adapted()
    expected = slow_masks(model, lora_factors(model), ROWS, "0.3")
    config = AntidoteConfig(dense_ratio=0.3, batch_size=batch_size)
    repair = antidote(model, ROWS, config, data_collator=padding_collator(side, pad))
    assert as_lists(repair.masks) == expected


@pytest.mark.parametrize("form", ["lora", "full"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture(name, form):
    model = adapted(name) if form == "lora" else tiny_model(name).double()
    modules = lora_factors(model) if form == "lora" else layer_linears(model)
    expected = slow_masks(model, modules, ROWS, "0.2")
    before = state(model)
    x = torch.tensor([ROWS[0]["input_ids"]])
    output = model(input_ids=x).logits
    config = AntidoteConfig(dense_ratio=0.2, batch_size=4)
    # Gemma 2's attention takes its softmax in fp32, where the fp64 mask of a query that is padding
    # overflows: left padding gives NaN in fp64 (and in fp64 only).
    side = "right" if name == "gemma2" else "left"
    repair = antidote(model, ROWS, config, data_collator=padding_collator(side))
    assert as_lists(repair.masks) == expected
    keys = lora_keys(expected) if form == "lora" else {key: key for key in expected}
    assert_only_masked_weights_changed(before, repair, keys)
    assert not torch.allclose(model(input_ids=x).logits, output)
    assert repair.model is model


def test_fp32_masks_equal_the_row_by_row_calculation():
    model = lora(tiny_model("llama"), r=10, init_lora_weights=False)
    expected = slow_masks(model, lora_factors(model), ROWS, "0.3")
    repair = antidote(model, ROWS, AntidoteConfig(dense_ratio=0.3), data_collator=RIGHT)
    assert as_lists(repair.masks) == expected


@pytest.mark.parametrize("autocast_adapter", [True, False])
def test_bf16(autocast_adapter):
    """One row a batch gives the reference's own bf16 numbers; batches differ by rounding only."""
    base = tiny_model("llama").bfloat16()
    model = lora(base, r=10, init_lora_weights=False)
    if not autocast_adapter:
        model = model.bfloat16()
    factor = next(iter(lora_factors(model).values()))
    assert factor.weight.dtype == (torch.float32 if autocast_adapter else torch.bfloat16)
    expected = slow_masks(model, lora_factors(model), ROWS, "0.3")
    copied = copy.deepcopy(model)
    config = AntidoteConfig(dense_ratio=0.3, batch_size=1)
    assert as_lists(antidote(model, ROWS, config, data_collator=RIGHT).masks) == expected
    config = AntidoteConfig(dense_ratio=0.3, batch_size=8)
    batched = antidote(copied, ROWS, config, data_collator=RIGHT).masks
    differing = sum(int((mask != torch.tensor(expected[n])).sum()) for n, mask in batched.items())
    assert differing <= 0.02 * sum(mask.numel() for mask in batched.values())


def test_group_matrix():
    model = adapted()
    expected = slow_masks(model, lora_factors(model), ROWS, "0.15", group="matrix")
    config = AntidoteConfig(dense_ratio=0.15, group="matrix")
    assert as_lists(antidote(model, ROWS, config, data_collator=RIGHT).masks) == expected


def test_magnitude_needs_no_rows():
    model = adapted()
    expected = slow_masks(model, lora_factors(model), None, "0.3")
    assert expected != slow_masks(model, lora_factors(model), ROWS, "0.3")
    config = AntidoteConfig(dense_ratio=0.3, score="magnitude")
    assert as_lists(antidote(model, config=config).masks) == expected


def test_dora_counts_tokens_and_not_the_identity_that_it_sends_through_its_factors():
    model = adapted(use_dora=True)
    expected = slow_masks(model, lora_factors(model), ROWS, "0.3")
    before = state(model)
    repair = antidote(model, ROWS, AntidoteConfig(dense_ratio=0.3), data_collator=RIGHT)
    assert as_lists(repair.masks) == expected
    assert_only_masked_weights_changed(before, repair, lora_keys(expected))


def test_transposed_weights_of_gpt2():
    config = GPT2Config(vocab_size=64, n_embd=32, n_layer=2, n_head=4, n_positions=64)
    torch.manual_seed(0)
    model = GPT2LMHeadModel(config).double()
    modules = layer_linears(model, Conv1D)
    expected = slow_masks(model, modules, ROWS, "0.2", transposed=True)
    before = state(model)
    repair = antidote(
        model, ROWS, AntidoteConfig(dense_ratio=0.2), data_collator=padding_collator("left")
    )
    assert {name: mask.T.tolist() for name, mask in repair.masks.items()} == expected
    assert_only_masked_weights_changed(before, repair, {key: key for key in expected})


def test_target_modules_choose_adapted_modules():
    model = adapted()
    config = AntidoteConfig(dense_ratio=0.3, target_modules=["v_proj", "layers.1.self_attn.q_proj"])
    masks = antidote(model, ROWS, config, data_collator=RIGHT).masks
    everything = lora_factors(model)
    chosen = [n for n in everything if "v_proj" in n or "layers.1.self_attn.q_proj" in n]
    assert list(masks) == chosen
    assert len(chosen) == 6


def test_a_single_target_may_be_a_string():
    config = AntidoteConfig(dense_ratio=0.3, target_modules="v_proj")
    masks = antidote(adapted(), ROWS, config, data_collator=RIGHT).masks
    assert len(masks) == 4
    assert all("v_proj" in name for name in masks)


def test_target_modules_reach_the_head_of_a_full_model():
    model = tiny_model("llama").double()
    modules = {"lm_head.weight": model.lm_head}
    expected = slow_masks(model, modules, ROWS, "0.2")
    config = AntidoteConfig(dense_ratio=0.2, target_modules=["lm_head"])
    assert as_lists(antidote(model, ROWS, config, data_collator=RIGHT).masks) == expected


def test_only_the_active_adapter_is_repaired():
    model = adapted()
    model.add_adapter("second", copy.deepcopy(model.peft_config["default"]))
    model.double().set_adapter("second")
    expected = slow_masks(model, lora_factors(model, "second"), ROWS, "0.3")
    before = state(model)
    repair = antidote(model, ROWS, AntidoteConfig(dense_ratio=0.3), data_collator=RIGHT)
    assert as_lists(repair.masks) == expected
    assert_only_masked_weights_changed(before, repair, lora_keys(expected, "second"))


def test_the_last_of_several_active_adapters_is_repaired():
    model = adapted()
    model.add_adapter("second", copy.deepcopy(model.peft_config["default"]))
    model.double().base_model.set_adapter(["default", "second"])
    expected = slow_masks(model, lora_factors(model, "second"), ROWS, "0.3")
    before = state(model)
    repair = antidote(model, ROWS, AntidoteConfig(dense_ratio=0.3), data_collator=RIGHT)
    assert as_lists(repair.masks) == expected
    assert_only_masked_weights_changed(before, repair, lora_keys(expected, "second"))
