"""Which matrices are found, how many weights are chosen, what the report says, masks on disk."""

import json
import math
from fractions import Fraction

import pytest
import torch
from peft import IA3Config, LoraConfig, get_peft_model
from safetensors.torch import save_file
from torch import nn

from holdfast.errors import UserError
from holdfast.repair.activations import _SquareSums
from holdfast.repair.antidote import AntidoteConfig, antidote
from holdfast.repair.matrices import Matrix, find_matrices
from holdfast.repair.pruning import apply_masks, load_masks, pruned_count, save_masks, top_scored
from tiny_models import lora, tiny_model


def magnitude(ratio: float, **kw) -> AntidoteConfig:
    return AntidoteConfig(dense_ratio=ratio, score="magnitude", **kw)


# Counts


@pytest.mark.parametrize(
    ("ratio", "size", "count"),
    [
        (0.1, 30, 3),
        (0.29, 100, 29),
        (0.57, 100, 57),
        (0.07, 100, 7),
        (1.1 - 1.0, 10, 1),
        (1 / 3, 3, 1),
        (2 / 3, 3, 2),
        (0.1, 8, 1),
        (0.1, 9, 1),
        (0.1, 19, 2),
        (0.05, 256, 13),
        (0.05, 4096, 205),
        (1e-5, 4096, 1),
        (1e-5, 100_000, 1),
        (1e-5, 100_001, 2),
        (1e-5, 4096 * 4096, 168),
        (0.001, 4096 * 11008, 45_089),
        (1e-12, 4096, 1),
        (1, 7, 7),
    ],
)
def test_pruned_count(ratio, size, count):
    assert pruned_count(ratio, size) == count


def test_pruned_count_of_every_per_mille():
    for thousandths in range(1, 1001):
        for size in (8, 30, 100, 999, 4096, 11008):
            assert pruned_count(thousandths / 1000, size) == -(-thousandths * size // 1000)


@pytest.mark.parametrize("group", ["row", "matrix"])
def test_top_scored_breaks_ties_by_the_lower_index(group):
    scores = torch.tensor([[1.0, 2, 2, 2, 0], [0, 0, 0, 0, 0], [5, 4, 3, 2, 1]])
    rows = [[0, 1, 1, 0, 0], [1, 1, 0, 0, 0], [1, 1, 0, 0, 0]]
    flat = [[0, 1, 1, 1, 0], [0, 0, 0, 0, 0], [1, 1, 1, 0, 0]]
    expected = torch.tensor(rows if group == "row" else flat, dtype=torch.bool)
    assert torch.equal(top_scored(scores, 0.4, group), expected)


@pytest.mark.parametrize("group", ["row", "matrix"])
def test_top_scored_equals_a_stable_sort(group):
    generator = torch.Generator().manual_seed(0)
    scores = torch.randint(0, 6, (40, 50), generator=generator).double()  # many ties
    for ratio in (0.01, 0.1, 0.5, 0.99, 1.0):
        grouped = scores if group == "row" else scores.reshape(1, -1)
        count = math.ceil(Fraction(str(ratio)) * grouped.shape[1])
        order = grouped.sort(dim=1, descending=True, stable=True).indices[:, :count]
        expected = torch.zeros_like(grouped, dtype=torch.bool).scatter_(1, order, True)
        assert torch.equal(top_scored(scores, ratio, group), expected.reshape(scores.shape))


@pytest.mark.parametrize("group", ["row", "matrix"])
def test_the_smallest_ratio_still_zeroes_a_weight_of_every_group(group):
    report = antidote(tiny_model("llama"), config=magnitude(1e-9, group=group)).report
    groups = [matrix.shape[0] if group == "row" else 1 for matrix in report.matrices]
    assert [matrix.zeroed for matrix in report.matrices] == groups
    assert report.zeroed == sum(groups)


def test_as_many_are_kept_as_the_authors_keep():
    """They keep int(n · (1 − α)) of a row of n and zero the others (in exact numbers)."""
    for width in (8, 16, 256, 768, 4096, 11008):
        for percent in range(1, 101):
            kept = int(width * (100 - percent) // 100)
            assert pruned_count(percent / 100, width) == width - kept


# What is found


def test_a_full_model_has_the_linear_layers_of_its_decoder_layers():
    found, skipped = find_matrices(tiny_model("llama"))
    linears = ("q", "k", "v", "o", "gate", "up", "down")
    assert len(found) == 14
    assert {matrix.name.split(".")[-2] for matrix in found} == {f"{x}_proj" for x in linears}
    assert not skipped


def test_lora_on_an_embedding_is_left_alone_with_the_reason():
    model = get_peft_model(
        tiny_model("llama"),
        LoraConfig(r=10, target_modules=["embed_tokens", "q_proj"], init_lora_weights=False),
    )
    before = {k: v.clone() for k, v in model.state_dict().items() if "embedding" in k}
    report = antidote(model, config=magnitude(0.3)).report
    assert {matrix.name.split(".")[-3] for matrix in report.matrices} == {"q_proj"}
    assert list(report.skipped) == ["base_model.model.model.embed_tokens"]
    assert "looked up by token" in report.summary()
    assert all(torch.equal(model.state_dict()[k], v) for k, v in before.items())


def merged(model):
    model.merge_adapter()
    return model


def switched_off(model):
    model.base_model.disable_adapter_layers()
    return model


def adapted(**kw):
    return get_peft_model(tiny_model("llama"), LoraConfig(r=10, **kw))


def quantized():
    model = tiny_model("llama")
    weight = torch.zeros(32, 32, dtype=torch.int8)
    model.model.layers[0].self_attn.q_proj.weight = nn.Parameter(weight, requires_grad=False)
    return model


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: merged(lora(tiny_model("llama"))), "unmerge_adapter"),
        (lambda: switched_off(lora(tiny_model("llama"))), "switched off"),
        (lambda: adapted(target_modules=["embed_tokens"]), "no matrix .* looked up by token"),
        (
            lambda: get_peft_model(
                tiny_model("llama"),
                IA3Config(target_modules=["k_proj"], feedforward_modules=[]),
            ),
            "prunes LoRA",
        ),
        (quantized, r"q_proj\.weight is quantized"),
        (lambda: nn.Sequential(nn.Linear(3, 3)), "no stack of layers"),
    ],
)
def test_models_that_cannot_be_repaired(make, words):
    with pytest.raises(UserError, match=words):
        antidote(make(), config=magnitude(0.3))


@pytest.mark.parametrize(
    ("make", "target", "words"),
    [
        (lambda: lora(tiny_model("llama")), "up_proj", "are k_proj, o_proj, q_proj, v_proj"),
        (lambda: tiny_model("opt"), "q", "fc1, fc2, k_proj, lm_head, out_proj, q_proj, v_proj"),
        (lambda: tiny_model("gemma2"), "lm_head", "tied"),
    ],
)
def test_targets_that_cannot_be_repaired(make, target, words):
    config = magnitude(0.3, target_modules=["v_proj", target])
    with pytest.raises(UserError, match=words):
        antidote(make(), config=config)


def test_inputs_without_one_vector_a_token_are_refused():
    sums = _SquareSums()
    sums.start_batch(torch.ones(2, 5, dtype=torch.bool))
    linear = nn.Linear(4, 3)
    with pytest.raises(UserError, match="padding cannot be told apart"):
        sums.record(Matrix("expert.weight", linear.weight, linear), torch.ones(7, 4))


def test_a_shared_input_that_changes_in_place_is_squared_again():
    sums = _SquareSums()
    sums.start_batch(torch.ones(1, 1, dtype=torch.bool))
    linears = [nn.Linear(2, 2) for _ in range(3)]
    x = torch.tensor([[[1.0, 2.0]]])
    q, k, v = (Matrix(n, layer.weight, layer) for n, layer in zip("qkv", linears, strict=True))
    sums.record(q, x)
    sums.record(k, x)
    x.mul_(2)
    sums.record(v, x)
    sums.record(q, x)
    expected = {"q": [5.0, 20.0], "k": [1.0, 4.0], "v": [4.0, 16.0]}
    assert {name: total.tolist() for name, total in sums.totals.items()} == expected


# The report


def test_the_report_counts_what_was_done():
    model = lora(tiny_model("llama"), r=4)  # B starts at zero
    repair = antidote(model, config=magnitude(0.1))
    report = repair.report
    assert report.zeroed == sum(int(mask.sum()) for mask in repair.masks.values())
    # Eight A factors [4, 32] lose ⌈3.2⌉ of each row, eight B factors [out, 4] one of each.
    in_b = sum(m.shape[0] for m in report.matrices if "lora_B" in m.name)
    assert report.zeroed == 8 * 4 * 4 + in_b
    assert report.total == sum(p.numel() for n, p in model.named_parameters() if "lora_" in n)
    assert [matrix.layer for matrix in report.matrices] == [0] * 8 + [1] * 8
    text = report.summary()
    assert f"zeroed 320 of {report.total:,} weights (17.86 %)" in text.splitlines()[0]
    assert "layer 1: 160 of 896 weights (17.86 %)" in text
    assert f"{in_b} of the zeroed weights were zero before" in text
    assert json.loads(json.dumps(report.to_dict()))["matrices"][1]["shape"] == [32, 4]


def test_the_report_says_nothing_of_zeros_where_there_were_none():
    report = antidote(tiny_model("llama"), config=magnitude(0.1)).report
    assert "were zero before" not in report.summary()


# Masks on disk


def test_saved_masks_come_back(tmp_path):
    masks = {"a.weight": torch.rand(3, 5) > 0.5, "b.weight": (torch.rand(4, 2) > 0.5).T}
    save_masks(masks, tmp_path / "mask.safetensors")
    loaded = load_masks(tmp_path / "mask.safetensors")
    assert set(loaded) == set(masks)
    assert all(torch.equal(loaded[name], mask) for name, mask in masks.items())


def test_masks_that_cannot_be_read(tmp_path):
    with pytest.raises(UserError, match="cannot read masks"):
        load_masks(tmp_path / "missing.safetensors")
    (tmp_path / "broken.safetensors").write_text("not a tensor")
    with pytest.raises(UserError, match="cannot read masks"):
        load_masks(tmp_path / "broken.safetensors")
    save_file({"a": torch.ones(2)}, tmp_path / "floats.safetensors")
    with pytest.raises(UserError, match="must be bool"):
        load_masks(tmp_path / "floats.safetensors")


@pytest.mark.parametrize(
    ("name", "mask", "words"),
    [
        ("model.layers.9.weight", torch.ones(2, 2, dtype=torch.bool), "belongs to no matrix"),
        ("lm_head.weight", torch.ones(2, 2, dtype=torch.bool), r"shape \(64, 32\)"),
        ("lm_head.weight", torch.ones(64, 32), "bool mask"),
    ],
)
def test_masks_of_another_model_change_nothing(name, mask, words):
    model = tiny_model("llama")
    before = {key: value.clone() for key, value in model.state_dict().items()}
    good = {"model.layers.0.mlp.up_proj.weight": torch.ones(48, 32, dtype=torch.bool)}
    with pytest.raises(UserError, match=words):
        apply_masks(model, good | {name: mask})
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
