"""Attention drift against a plain calculation, row by row, by hooks on the blocks themselves."""

import pytest
import torch

from holdfast.evaluate.attention_drift import attention_drift, attention_outputs
from tiny_models import tiny_model

ROWS = [
    {"prompt": "w5 w6 w7 w8 w9", "completion": "w10"},
    {"prompt": "w11", "completion": "w12 w13 w14 w15 w16 w17"},
]


def plain(model, ids):
    """The outputs of a tiny Llama's attention blocks, [layers, tokens, hidden]."""
    found = []
    for layer in model.model.layers:
        layer.self_attn.register_forward_hook(lambda _m, _a, out: found.append(out[0][0]))
    with torch.no_grad():
        model.eval()(input_ids=torch.tensor([ids]))
    return torch.stack(found).double()


def test_drift_is_the_sum_of_the_blocks_norms(tokenizer):
    models = [tiny_model("llama"), tiny_model("llama", seed=1)]
    kept = list(attention_outputs(models[0], tokenizer, ROWS))
    found = attention_drift(kept, attention_outputs(models[1], tokenizer, ROWS))
    expected = []
    for row in ROWS:
        words = f"{row['prompt']} {row['completion']}".split()
        ids = [1, *(int(word[1:]) for word in words), 2]
        one, other = (plain(tiny_model("llama", seed=seed), ids) for seed in (0, 1))
        layers = ((one - other) ** 2).sum((1, 2)).sqrt()
        assert len(layers) == len(kept[0]) > 1
        expected.append(float(layers.sum()))
    assert found == pytest.approx(expected, rel=1e-5)
    same = attention_drift(kept, attention_outputs(models[0], tokenizer, ROWS))
    assert same == [0.0, 0.0]


def test_padding_of_a_tokenized_row_does_not_count(tokenizer):
    model, other = tiny_model("llama"), tiny_model("llama", seed=1)
    row = {"input_ids": [1, 5, 6, 2], "attention_mask": [1] * 4, "labels": [-100, -100, 6, 2]}
    padded = {
        "input_ids": [0, 0, 1, 5, 6, 2],
        "attention_mask": [0, 0, 1, 1, 1, 1],
        "labels": [-100] * 4 + [6, 2],
    }
    found = [
        attention_drift(
            list(attention_outputs(model, tokenizer, [one])),
            attention_outputs(other, tokenizer, [one]),
        )
        for one in (row, padded)
    ]
    assert found[0] == found[1]
