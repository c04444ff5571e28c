"""Antidote's rows, what the repair leaves as it was, and mistakes in what is asked of it."""

import datasets
import pytest
import torch
from peft import PeftModel
from repair_helpers import RIGHT, ROWS, adapted, assert_no_trace, state
from slow_antidote import (
    as_lists,
    lora_factors,
    padding_collator,
    slow_masks,
    token_rows,
)
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from holdfast.data.rows import tokenize
from holdfast.errors import UserError
from holdfast.models.padding import padding_leaks
from holdfast.repair.antidote import WINDOW, AntidoteConfig, antidote
from holdfast.repair.pruning import apply_masks, load_masks, save_masks
from tiny_models import lora, tiny_model


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
    padding_leaks(model)  # asked once for a model; what is counted here is the rows' passes
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
        ({"dense_ratio": 0.0}, "dense_ratio is 0; it must be above 0 and at most 1"),
        ({"dense_ratio": -0.1}, "it must be above 0 and at most 1"),
        ({"dense_ratio": 1.5}, "it must be above 0 and at most 1"),
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
