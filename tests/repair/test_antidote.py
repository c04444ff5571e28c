"""Antidote's masks against a row-by-row calculation, and what the repair leaves as it was."""

import copy

import datasets
import pytest
import torch
from peft import PeftModel
from slow_antidote import (
    END,
    as_lists,
    layer_linears,
    lora_factors,
    padding_collator,
    slow_masks,
    token_rows,
)
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast
from transformers.pytorch_utils import Conv1D

from holdfast.data.rows import tokenize
from holdfast.errors import UserError
from holdfast.repair.antidote import WINDOW, AntidoteConfig, antidote
from holdfast.repair.pruning import apply_masks, load_masks, save_masks
from tiny_models import ARCHITECTURES, lora, tiny_model

ROWS = token_rows(11)
RIGHT = padding_collator("right")


def adapted(name: str = "llama", r: int = 10, **kw) -> PeftModel:
    """A model in fp64, so that batching changes no sum by enough to change a mask."""
    return lora(tiny_model(name), r=r, init_lora_weights=False, **kw).double()


def state(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def assert_only_masked_weights_changed(before: dict, repair, keys: dict[str, str]) -> None:
    after = repair.model.state_dict()
    masks = {keys[name]: mask for name, mask in repair.masks.items()}
    assert set(masks) <= set(after)
    for name, value in after.items():
        mask = masks.get(name, torch.zeros_like(value, dtype=torch.bool))
        assert torch.equal(value, before[name].masked_fill(mask, 0)), name


def lora_keys(masks: dict, adapter: str = "default") -> dict[str, str]:
    return {name: name.removesuffix("weight") + f"{adapter}.weight" for name in masks}


def assert_no_trace(model: torch.nn.Module) -> None:
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in model.modules())


# The masks


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


# Rows


def word_tokenizer(side: str = "right") -> PreTrainedTokenizerFast:
    words = ["<pad>", "<unk>", "</s>", *(f"w{i}" for i in range(61))]
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="</s>", pad_token="</s>", padding_side=side
    )


TEXT_ROWS = [
    {"instruction": "w1 w2 w3", "input": "w4", "output": "w5 w6"},
    {"instruction": "w7", "output": "w8 w9 w10 w11", "extra": 1},
    {"prompt": "w12 w13", "completion": "w14"},
    {"prompt": "w15", "completion": "w16 w17 w18"},
]


@pytest.mark.parametrize("side", ["left", "right"])
def test_text_rows_are_tokenized_as_in_training(side):
    tokenizer = word_tokenizer(side)
    model = adapted()
    rows = [dict(tokenize(row, tokenizer, 2048)) for row in TEXT_ROWS]
    assert len({len(row["input_ids"]) for row in rows}) > 1  # something is padded, with the EOS
    expected = slow_masks(model, lora_factors(model), rows, "0.3")
    config = AntidoteConfig(dense_ratio=0.3, batch_size=2)
    assert as_lists(antidote(model, TEXT_ROWS, config, tokenizer).masks) == expected


def test_max_length_cuts_rows():
    tokenizer = word_tokenizer()
    row = {"prompt": "w1 w2", "completion": "w3 w4 w5 w6"}
    model = adapted()
    cut = [{"input_ids": [4, 5, 6, 7]}]
    expected = slow_masks(model, lora_factors(model), cut, "0.3")
    config = AntidoteConfig(dense_ratio=0.3, max_length=4)
    assert as_lists(antidote(model, [row], config, tokenizer).masks) == expected


@pytest.mark.parametrize("shape", ["generator", "dataset"])
def test_rows_may_be_an_iterable_or_a_dataset(shape):
    model = adapted()
    expected = slow_masks(model, lora_factors(model), ROWS, "0.3")
    rows = (row for row in ROWS) if shape == "generator" else datasets.Dataset.from_list(ROWS)
    config = AntidoteConfig(dense_ratio=0.3, batch_size=3)
    assert as_lists(antidote(model, rows, config, data_collator=RIGHT).masks) == expected


def test_tokenized_rows_reach_the_collator_untouched():
    seen = []

    def collate(rows):
        seen.extend(rows)
        return RIGHT(rows)

    antidote(adapted(), ROWS, AntidoteConfig(dense_ratio=0.3), data_collator=collate)
    assert sorted(map(id, seen)) == sorted(map(id, ROWS))


def test_rows_are_read_as_they_are_needed_and_the_model_runs_once():
    pulled, done, forwards = 0, [], []

    def stream():
        nonlocal pulled
        for row in token_rows(100):
            pulled += 1
            yield row

    def progress(rows: int) -> None:
        assert pulled - rows <= (WINDOW - 1) * 4
        done.append(rows)

    model = adapted()
    heads = []
    model.get_base_model().lm_head.register_forward_hook(lambda *_: heads.append(1))
    model.get_base_model().model.layers[0].register_forward_hook(lambda *_: forwards.append(1))
    config = AntidoteConfig(dense_ratio=0.3, batch_size=4)
    antidote(model, stream(), config, data_collator=RIGHT, progress=progress)
    assert done == [*range(4, 101, 4)]
    assert len(forwards) == 25
    assert not heads  # logits are not needed


# What stays as it was


def test_a_callers_inference_mode_changes_nothing():
    model = adapted()
    expected = slow_masks(model, lora_factors(model), ROWS, "0.3")
    with torch.inference_mode():
        repair = antidote(model, ROWS, AntidoteConfig(dense_ratio=0.3), data_collator=RIGHT)
    assert as_lists(repair.masks) == expected


def test_modes_gradients_and_random_state_stay():
    model = adapted(lora_dropout=0.5).train()
    model.get_base_model().model.layers[0].eval()
    modes = [module.training for module in model.modules()]
    grads = [p.requires_grad for p in model.parameters()]
    without_dropout = adapted()
    without_dropout.load_state_dict(model.state_dict())
    random_state = torch.get_rng_state()
    config = AntidoteConfig(dense_ratio=0.3)
    masks = antidote(model, ROWS, config, data_collator=RIGHT).masks
    assert as_lists(masks) == as_lists(
        antidote(without_dropout, ROWS, config, data_collator=RIGHT).masks
    )
    assert modes == [module.training for module in model.modules()]
    assert grads == [p.requires_grad for p in model.parameters()]
    assert torch.equal(random_state, torch.get_rng_state())
    assert torch.is_grad_enabled()
    assert_no_trace(model)


@pytest.mark.parametrize("where", ["collator", "model"])
def test_an_error_leaves_the_model_as_it_was(where):
    model = adapted().train()
    before = state(model)
    calls = []

    def collate(rows):
        calls.append(rows)
        if len(calls) == 2:
            if where == "collator":
                raise RuntimeError("stop")
            batch = RIGHT(rows)
            return batch | {"input_ids": torch.full_like(batch["input_ids"], 9999)}
        return RIGHT(rows)

    config = AntidoteConfig(dense_ratio=0.3, batch_size=4)
    with pytest.raises(RuntimeError if where == "collator" else IndexError):
        antidote(model, ROWS, config, data_collator=collate)
    assert len(calls) == 2
    assert all(module.training for module in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert_no_trace(model)


def test_masks_on_disk_repair_the_adapter_wherever_it_is_loaded(tmp_path):
    model = lora(tiny_model("llama"), r=10, init_lora_weights=False).eval()
    model.save_pretrained(tmp_path)
    repair = antidote(model, ROWS, AntidoteConfig(dense_ratio=0.3), data_collator=RIGHT)
    save_masks(repair.masks, tmp_path / "mask.safetensors")
    assert {path.name for path in tmp_path.iterdir()} >= {"mask.safetensors"}
    assert not list(tmp_path.glob("*.partial"))
    again = PeftModel.from_pretrained(tiny_model("llama"), tmp_path, adapter_name="other").eval()
    apply_masks(again, load_masks(tmp_path / "mask.safetensors"))
    x = torch.tensor([ROWS[0]["input_ids"]])
    assert torch.equal(again(input_ids=x).logits, model(input_ids=x).logits)
    saved = set(load_file_keys(tmp_path / "adapter_model.safetensors"))
    assert set(repair.masks) == saved


def load_file_keys(path) -> list[str]:
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        return list(file.keys())


# Bad input


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"dense_ratio": 0.0}, "dense_ratio is 0.0"),
        ({"dense_ratio": -0.1}, "up to 1"),
        ({"dense_ratio": 1.5}, "up to 1"),
        ({"dense_ratio": float("nan")}, "dense_ratio is nan"),
        ({"dense_ratio": "0.1"}, "a number"),
        ({"dense_ratio": True}, "a number"),
        ({"score": "wandb"}, "'wanda' or 'magnitude'"),
        ({"group": "column"}, "'row' or 'matrix'"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"max_length": 0}, "max_length is 0"),
    ],
)
def test_settings_out_of_range(settings, words):
    with pytest.raises(UserError, match=words):
        AntidoteConfig(**settings)


@pytest.mark.parametrize("empty", [[], iter([])])
def test_no_rows(empty):
    with pytest.raises(UserError, match="data set is empty"):
        antidote(adapted(), empty, AntidoteConfig(dense_ratio=0.3), data_collator=RIGHT)


@pytest.mark.parametrize(
    ("dataset", "kw", "words"),
    [
        (None, {"data_collator": RIGHT}, "score='magnitude'"),
        ({"train": ROWS}, {"data_collator": RIGHT}, "choose one split"),
        (ROWS, {}, "pass processing_class"),
        (TEXT_ROWS, {"data_collator": RIGHT}, "row 1 is text"),
        ([*ROWS, "text"], {"data_collator": RIGHT}, "row 12 is a str"),
        ([{"question": "w1"}], {"processing_class": word_tokenizer()}, "row 1: "),
        (ROWS, {"data_collator": lambda rows: {"input_ids": torch.ones(1, 2)}}, "attention_mask"),
        (
            ROWS,
            {"data_collator": lambda rows: dict.fromkeys(("input_ids", "attention_mask"), ONES)},
            r"must be \[rows, tokens\]",
        ),
    ],
)
def test_rows_that_cannot_be_used(dataset, kw, words):
    model = adapted()
    before = state(model)
    with pytest.raises(UserError, match=words):
        antidote(model, dataset, AntidoteConfig(dense_ratio=0.3), **kw)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


ONES = torch.ones(1, 2, 2, dtype=torch.long)


def test_inputs_that_are_not_finite():
    model = adapted()
    model.get_base_model().model.layers[1].input_layernorm.weight.data[3] = float("nan")
    with pytest.raises(UserError, match=r"inputs of .*layers\.1\.self_attn\.q_proj\.lora_A"):
        antidote(model, ROWS, AntidoteConfig(dense_ratio=0.3), data_collator=RIGHT)
    assert_no_trace(model)


def test_weights_that_are_not_finite():
    model = tiny_model("llama")
    model.model.layers[1].mlp.down_proj.weight.data[3, 4] = float("inf")
    with pytest.raises(UserError, match=r"layers\.1\.mlp\.down_proj\.weight holds weights"):
        antidote(model, config=AntidoteConfig(score="magnitude"))


def test_huge_values_in_padding_do_not_count():
    model = adapted()
    expected = slow_masks(model, lora_factors(model), ROWS, "0.3")

    def spoil(_, args, output):
        return output.masked_fill((args[0] == 0).unsqueeze(-1), 1e30)

    embeddings = model.get_input_embeddings()
    handle = embeddings.register_forward_hook(spoil)
    config = AntidoteConfig(dense_ratio=0.3, batch_size=16)
    masks = antidote(model, ROWS, config, data_collator=padding_collator("right")).masks
    handle.remove()
    assert as_lists(masks) == expected
