"""Alignment loss and drift against plain calculations: one row at a time, no padding."""

import math

import pytest
import torch

from holdfast.errors import UserError
from holdfast.evaluate.alignment import (
    answer_losses,
    block_states,
    drift,
    drift_by_block,
    hidden_states,
)
from tiny_models import ARCHITECTURES, lora, tiny_model

ROWS = [
    {"prompt": "w5 w6 w7 w8 w9", "completion": "w10"},
    {"prompt": "w11", "completion": "w12 w13 w14 w15 w16 w17"},
    {"prompt": "w18 w19", "completion": "w20 w21 w22"},
]


def ids_and_start(row: dict[str, str]) -> tuple[list[int], int]:
    """The row's ids (begin 1, end 2) and where its answer begins."""
    prompt = [1] + [int(word[1:]) for word in row["prompt"].split()]
    return prompt + [int(word[1:]) for word in row["completion"].split()] + [2], len(prompt)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_loss_and_drift_are_the_plain_ones(name, tokenizer):
    model, other = tiny_model(name), tiny_model(name, seed=1)
    model.eval()
    losses, distances = [], []
    for row in ROWS:
        ids, start = ids_and_start(row)
        with torch.no_grad():
            p = model(input_ids=torch.tensor([ids])).logits[0].double().softmax(-1)
            nll = [-math.log(p[t - 1, ids[t]]) for t in range(start, len(ids))]
            losses.append(sum(nll) / len(nll))
            last = []
            for each in (model, other.eval()):
                # The final norm is taken away, so the last hidden state is the last block's.
                base, norm = each.base_model, "norm" if name not in ("opt", "gpt_neox") else None
                holder = base.decoder if name == "opt" else base
                norm = norm or {"opt": "final_layer_norm", "gpt_neox": "final_layer_norm"}[name]
                kept = getattr(holder, norm)
                setattr(holder, norm, torch.nn.Identity())
                last.append(each.base_model(input_ids=torch.tensor([ids])).last_hidden_state[0])
                setattr(holder, norm, kept)
        per_position = ((last[0] - last[1]) ** 2).sum(1).sqrt()
        distances.append(float(per_position.sum()) / len(ids))
    model.train()
    for size in (1, 2, 3):
        assert answer_losses(model, tokenizer, ROWS, size) == pytest.approx(losses, rel=1e-4)
        states = hidden_states(model, tokenizer, ROWS, size)
        assert drift(states, hidden_states(other, tokenizer, ROWS)) == pytest.approx(
            distances, rel=1e-4
        )
    assert model.training


@pytest.mark.parametrize("size", [1, 2, 3])
def test_drift_of_every_block_is_the_plain_one(tokenizer, size):
    models = [tiny_model("llama", layers=3).eval(), tiny_model("llama", layers=3, seed=1).eval()]
    plain = []
    for model in models:
        states = []
        for row in ROWS:
            ids, start = ids_and_start(row)
            with torch.no_grad():
                found = model(input_ids=torch.tensor([ids]), output_hidden_states=True)
            # The first is the embedding; the last stands behind the final norm, so it is left out.
            states.append(torch.stack([h[0, start - 1] for h in found.hidden_states[1:-1]]))
        plain.append(torch.stack(states))
    a, b = (block_states(model, tokenizer, ROWS, size) for model in models)
    assert a.shape == (3, 3, models[0].config.hidden_size)
    torch.testing.assert_close(a[:, :-1], plain[0])
    for i, row in enumerate(hidden_states(models[0], tokenizer, ROWS)):
        torch.testing.assert_close(a[i, -1], row[ids_and_start(ROWS[i])[1] - 1])
    distances = ((plain[0] - plain[1]) ** 2).sum(2).sqrt().sum(0) / 3
    assert drift_by_block(a, b)[:-1] == pytest.approx(distances.tolist(), rel=1e-5)


def test_drift_of_an_untouched_model_is_zero(tokenizer):
    base = tiny_model("llama")
    before = hidden_states(base, tokenizer, ROWS)
    adapted = lora(base)  # B = 0: the same function
    assert drift(hidden_states(adapted, tokenizer, ROWS), before) == [0.0, 0.0, 0.0]
    assert all(not block._forward_hooks for block in base.model.layers)


def test_hooks_are_gone_after_a_mistake(tokenizer):
    model = tiny_model("llama")
    with pytest.raises(UserError, match="answer"):
        hidden_states(model, tokenizer, [{"prompt": "w5", "completion": ""}])
    assert all(not block._forward_hooks for block in model.model.layers)


def test_drift_of_different_rows_is_refused(tokenizer):
    states = hidden_states(tiny_model("llama"), tokenizer, ROWS)
    with pytest.raises(UserError, match="same rows"):
        drift(states, states[:2])
    with pytest.raises(UserError, match="same rows"):
        drift(states, states[::-1])
