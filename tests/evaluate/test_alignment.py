"""Alignment loss and drift against plain calculations: one row at a time, no padding."""

import math

import pytest
import torch

from holdfast.errors import UserError
from holdfast.evaluate.alignment import alignment_pass, drift, drift_by_block
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
        found = alignment_pass(model, tokenizer, ROWS, size)
        assert found.losses == pytest.approx(losses, rel=1e-5)
        aligned = alignment_pass(other, tokenizer, ROWS, losses=False)
        assert aligned.losses == []
        assert drift(found.last, aligned.last) == pytest.approx(distances, rel=1e-5)
        alone = alignment_pass(model, tokenizer, ROWS, size, states=False)
        assert (alone.losses, alone.last, alone.blocks) == (found.losses, [], None)
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
    found = alignment_pass(models[0], tokenizer, ROWS, size)
    a, b = found.blocks, alignment_pass(models[1], tokenizer, ROWS, size).blocks
    assert a.shape == (3, 3, models[0].config.hidden_size)
    torch.testing.assert_close(a[:, :-1], plain[0])
    for i, row in enumerate(found.last):
        torch.testing.assert_close(a[i, -1], row[ids_and_start(ROWS[i])[1] - 1])
    distances = ((plain[0] - plain[1]) ** 2).sum(2).sqrt().sum(0) / 3
    assert drift_by_block(a, b)[:-1] == pytest.approx(distances.tolist(), rel=1e-5)


def test_drift_of_an_untouched_model_is_zero(tokenizer):
    base = tiny_model("llama")
    before = alignment_pass(base, tokenizer, ROWS).last
    adapted = lora(base)  # B = 0: the same function
    assert drift(alignment_pass(adapted, tokenizer, ROWS).last, before) == [0.0, 0.0, 0.0]
    assert not base.lm_head._forward_pre_hooks
    assert all(not block._forward_hooks for block in base.model.layers)


def test_hooks_are_gone_after_a_mistake(tokenizer):
    model = tiny_model("llama")
    with pytest.raises(UserError, match="answer"):
        alignment_pass(model, tokenizer, [{"prompt": "w5", "completion": ""}])
    with pytest.raises(ZeroDivisionError):
        alignment_pass(model, tokenizer, ROWS, progress=lambda *_: 1 // 0)
    assert not model.lm_head._forward_pre_hooks
    assert all(not block._forward_hooks for block in model.model.layers)


def test_drift_of_different_rows_is_refused(tokenizer):
    states = alignment_pass(tiny_model("llama"), tokenizer, ROWS).last
    with pytest.raises(UserError, match="same rows"):
        drift(states, states[:2])
    with pytest.raises(UserError, match="same rows"):
        drift(states, states[::-1])


def tokens(row, before=0, behind=0, trained_from=None):
    """A row as a user may have tokenized it, with padding of any kind on both sides."""
    ids, start = ids_and_start(row)
    start = start if trained_from is None else trained_from
    labels = [-100] * start + ids[start:]
    return {
        "input_ids": [9] * before + ids + [9] * behind,
        "attention_mask": [0] * before + [1] * len(ids) + [0] * behind,
        "labels": [9] * before + labels + [9] * behind,
    }


@pytest.mark.parametrize("name", ["llama", "opt", "gemma2"])
def test_padding_counts_nowhere_whatever_side_it_is_on(name, tokenizer):
    model = tiny_model(name)
    plain = alignment_pass(model, tokenizer, ROWS)
    given = [tokens(ROWS[0], behind=7), tokens(ROWS[1], before=5), tokens(ROWS[2], 3, 2)]
    for side in ("left", "right"):
        tokenizer.padding_side = side
        for rows in (ROWS, given):
            found = alignment_pass(model, tokenizer, rows, 2)
            assert found.losses == pytest.approx(plain.losses, rel=1e-5)
            assert drift(found.last, plain.last) == pytest.approx([0, 0, 0], abs=1e-4)
            torch.testing.assert_close(found.blocks, plain.blocks)


def test_a_row_without_a_prompt_is_read_at_its_first_token(tokenizer):
    """Its first label is predicted by nothing: neither that nor the padding behind it counts."""
    model = tiny_model("llama", layers=3).eval()
    rows = [tokens(ROWS[0], trained_from=0), ROWS[1]]
    ids, _ = ids_and_start(ROWS[0])
    with torch.no_grad():
        out = model(input_ids=torch.tensor([ids]), output_hidden_states=True)
    p = out.logits[0].double().softmax(-1)
    nll = [-math.log(p[t - 1, ids[t]]) for t in range(1, len(ids))]
    found = alignment_pass(model, tokenizer, rows)
    assert found.losses[0] == pytest.approx(sum(nll) / len(nll), rel=1e-5)
    for block in (0, 1):  # the third stands behind the final norm
        torch.testing.assert_close(found.blocks[0, block], out.hidden_states[block + 1][0, 0])


def test_a_row_whose_labels_are_all_padding_is_refused(tokenizer):
    row = {"input_ids": [5, 6, 7], "attention_mask": [1, 1, 0], "labels": [-100, -100, 7]}
    with pytest.raises(UserError, match="no label where its attention_mask is 1"):
        alignment_pass(tiny_model("llama"), tokenizer, [row])


def test_every_row_is_read_once_the_longest_first_and_logits_are_the_labels(tokenizer, monkeypatch):
    model, read, logits, told = tiny_model("llama"), [], [], []
    plain = alignment_pass(model, tokenizer, ROWS)
    model.register_forward_pre_hook(
        lambda _m, _a, given: read.append(given["input_ids"].shape), with_kwargs=True
    )
    model.lm_head.register_forward_hook(lambda _m, _a, out: logits.append(out.shape))
    found = alignment_pass(model, tokenizer, ROWS, 2, progress=lambda *state: told.append(state))
    # Rows of 8, 9 and 7 tokens with 2, 7 and 4 labels, the end token among each.
    assert read == [(2, 9), (1, 7)]
    assert logits == [(1, 9, 64), (1, 4, 64)]
    assert told == [(2, 3), (3, 3)]
    assert found.losses == pytest.approx(plain.losses, rel=1e-5)
    torch.testing.assert_close(found.blocks, plain.blocks)

    forward = model.model.forward

    def small(input_ids, **given):
        if len(input_ids) > 1:
            raise torch.OutOfMemoryError
        return forward(input_ids=input_ids, **given)

    monkeypatch.setattr(model.model, "forward", small)
    halved = alignment_pass(model, tokenizer, ROWS, 3)
    assert halved.losses == pytest.approx(plain.losses, rel=1e-5)
    assert drift(halved.last, plain.last) == pytest.approx([0, 0, 0], abs=1e-4)


def test_a_head_that_hides_itself_gives_the_same_losses(tokenizer, monkeypatch):
    model = tiny_model("llama")
    plain = alignment_pass(model, tokenizer, ROWS).losses
    monkeypatch.setattr(model, "get_output_embeddings", lambda: None)
    assert alignment_pass(model, tokenizer, ROWS).losses == pytest.approx(plain, rel=1e-6)
