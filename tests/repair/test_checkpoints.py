"""What the alignment and the fine-tuning changed, against the merged weights subtracted."""

import dataclasses
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import GPT2Config, GPT2LMHeadModel

from holdfast.errors import UserError
from holdfast.models.loading import Loading, load_last_open
from holdfast.models.saving import save_stack
from holdfast.models.stack import Stack, resolve
from holdfast.models.updates import Update
from holdfast.repair.checkpoints import compare
from three_models import (
    WAYS,
    assert_close,
    assert_same,
    dense,
    effective,
    opened,
    stacks,
    state,
    whole,
)

RANDOM = torch.Generator().manual_seed(0)


def random(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=RANDOM)


@pytest.mark.parametrize("way", WAYS)
def test_both_updates_are_the_differences_of_the_merged_weights(tmp_path, way):
    tuned, aligned, base = stacks(tmp_path, way)
    found = compare(load_last_open(tuned), tuned, aligned, base)
    W, W_aligned, W_base = dense(tuned), dense(aligned), dense(base)
    for name, weight in W.items():
        short = name.removesuffix(".weight")
        for updates, difference in (
            (found.finetuning, weight - W_aligned[name]),
            (found.alignment, W_aligned[name] - W_base[name]),
        ):
            if short not in updates:
                assert torch.equal(difference, torch.zeros_like(difference)), name
                continue
            one = updates[short].whole().reshape(difference.shape)
            assert torch.allclose(one, difference, rtol=0, atol=2e-6), (name, way)
    assert all(name in found.finetuning for name in found.linear)


@pytest.mark.parametrize("way", WAYS)
def test_of_adapters_no_whole_matrix_is_made(tmp_path, way):
    _, found = opened(tmp_path, way)
    low = [update.right is not None for update in found.finetuning.values()]
    assert all(low) == (way != "full")
    low = [update.right is not None for update in found.alignment.values()]
    assert all(low) == (way in ("double", "single"))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("rank", [2, 4, 9, None])
def test_another_update_takes_the_place_of_one(tmp_path, way, rank):
    tuned, aligned, base = stacks(tmp_path, way)
    model = load_last_open(tuned)
    found = compare(model, tuned, aligned, base)
    name = "model.layers.1.self_attn.q_proj"
    update = Update(random(32, rank), random(rank, 32)) if rank else Update(random(32, 32))
    before = dense(tuned)
    repaired = found.replace(model, {name: update})
    expected = {**before, f"{name}.weight": dense(aligned)[f"{name}.weight"] + update.whole()}
    after = effective(repaired)
    assert_close(after, expected)
    for other in before.keys() - {f"{name}.weight"}:
        if way != "single":  # there the others' factors may get another scale
            assert torch.equal(after[other], before[other]), other


def test_a_weight_that_the_fine_tuning_left_alone_gets_one_too(tmp_path):
    tuned, aligned, base = stacks(tmp_path, "double")
    for update in (Update(random(16, 2), random(2, 32)), Update(random(16, 32))):
        model = load_last_open(tuned)
        found = compare(model, tuned, aligned, base)
        name = "model.layers.0.self_attn.v_proj"
        assert name not in found.finetuning
        after = effective(found.replace(model, {name: update}))
        expected = dense(tuned)
        expected[f"{name}.weight"] += update.whole()
        assert_close(after, expected)


def test_nothing_in_the_place_of_nothing_leaves_the_model(tmp_path):
    model, found = opened(tmp_path)
    before = state(model)
    assert found.replace(model, {}) is model
    assert_same(state(model), before)


@pytest.mark.parametrize("rank", [3, 9])
def test_what_is_saved_is_what_was_put_there(tmp_path, rank):
    tuned, aligned, base = stacks(tmp_path, "double")
    model = load_last_open(tuned)
    found = compare(model, tuned, aligned, base)
    name = "model.layers.0.self_attn.q_proj"
    update = Update(random(32, rank), random(rank, 32))
    repaired = found.replace(model, {name: update})
    below = dataclasses.replace(tuned, entries=tuned.entries[:-1])
    save_stack(repaired, below, tmp_path / "repaired", None, tuned.entries[-1])
    again = resolve(tmp_path / "repaired")
    assert len(again.entries) == 2
    expected = dense(tuned)
    expected[f"{name}.weight"] = dense(aligned)[f"{name}.weight"] + update.whole()
    assert_close(dense(again), expected)


def test_models_of_two_structures_are_refused(tmp_path):
    other = Stack(str(whole(tmp_path / "other", 1, intermediate_size=40)))
    tuned, aligned, _ = stacks(tmp_path, "double")
    with pytest.raises(UserError, match="not of one structure"):
        compare(load_last_open(tuned), tuned, aligned, other)


def test_quantized_weights_are_compared_by_their_adapters_alone(tmp_path):
    tuned, aligned, base = stacks(tmp_path, "double")
    model, quantized = load_last_open(tuned), Loading(quantization="4bit")
    assert compare(model, tuned, aligned, base, quantized).linear
    other = Stack(str(whole(tmp_path / "other", 1)))
    with pytest.raises(UserError, match="leave quantization out"):
        compare(model, tuned, aligned, other, quantized)
    whole_ones = stacks(tmp_path / "full", "full")
    with pytest.raises(UserError, match="leave quantization out"):
        compare(load_last_open(whole_ones[0]), *whole_ones, quantized)


def test_a_whole_update_is_not_put_into_quantized_weights(tmp_path, monkeypatch):
    monkeypatch.setattr("holdfast.repair.checkpoints.is_quantized", lambda _: True)
    model, found = opened(tmp_path)
    update = {"model.layers.0.self_attn.q_proj": Update(random(32, 32))}
    with pytest.raises(UserError, match="these are quantized: leave quantization out"):
        found.replace(model, update)


@pytest.mark.parametrize("targets", [["c_attn"], ["c_attn", "c_fc", "c_proj"]])
def test_layers_that_are_stored_turned_are_compared_as_all_others(tmp_path, targets):
    config = GPT2Config(n_layer=2, n_embd=32, n_head=4, vocab_size=64, initializer_range=0.2)
    GPT2LMHeadModel(config).save_pretrained(tmp_path / "base")
    for name in ("aligned", "tuned"):
        one = LoraConfig(r=3, target_modules=targets, fan_in_fan_out=True, init_lora_weights=False)
        get_peft_model(GPT2LMHeadModel(config), one).save_pretrained(tmp_path / name)
    base, one, two = (str(tmp_path / name) for name in ("base", "aligned", "tuned"))
    aligned = Stack(base, (Path(one),))
    tuned = Stack(base, (Path(one), Path(two)))
    W, W_aligned = dense(tuned), dense(aligned)
    for rank in (3, 9, None):
        model = load_last_open(tuned)
        found = compare(model, tuned, aligned, Stack(base))
        name = "transformer.h.1.attn.c_attn"
        gap = found.finetuning[name].whole() - (W[f"{name}.weight"] - W_aligned[f"{name}.weight"]).T
        assert gap.abs().max() < 2e-6
        update = Update(random(96, rank), random(rank, 32)) if rank else Update(random(96, 32))
        key = f"{name}.weight"
        after = effective(found.replace(model, {name: update}))
        expected = {**W, key: W_aligned[key] + update.whole().T}
        for one_name, weight in after.items():  # some are zeros
            assert torch.allclose(weight, expected[one_name], rtol=0, atol=1e-5), one_name


def test_norms_products_and_singular_values_need_no_whole_matrix():
    one, other = Update(random(7, 3), random(3, 5)), Update(random(7, 2), random(2, 5))
    a, b, X = one.whole(), other.whole(), random(7, 4)
    for x, y in ((one, other), (Update(a), other), (one, Update(b)), (Update(a), Update(b))):
        assert x.inner(y) == pytest.approx(float((a * b).sum()), rel=1e-5)
        assert x.norm() == pytest.approx(float(a.norm()), rel=1e-6)
        assert torch.allclose(x.gram_times(X), a @ a.T @ X, rtol=1e-5, atol=1e-4)
        U, S, Vt = x.svd()
        assert torch.allclose((U * S) @ Vt, a.double(), atol=1e-6)
        assert torch.allclose(S[:3].float(), torch.linalg.svdvals(a)[:3], rtol=1e-5)
        assert torch.allclose(x.plus(y).whole(), a + b, atol=1e-6)
        assert torch.allclose(x.times(-2).whole(), -2 * a, atol=1e-6)
