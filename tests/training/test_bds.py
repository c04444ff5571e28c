"""BDS against a plain calculation of both of its updates, and what must not change it."""

import pytest
import torch
import transformers
from side_runs import SIDE, divide_weights, model_of, of_group, plain_gradient
from steps import arguments, collator, relative_error, rows, weights
from test_what_a_trainer_takes import Stream

from holdfast import BDSConfig, BDSTrainer, SFTConfig, SFTTrainer, UserError

USER = rows(12)


def trainer_of(folder, user=USER, side=SIDE, **settings):
    return BDSTrainer(
        model_of(),
        BDSConfig(**arguments(folder, **settings)),
        train_dataset=user,
        alignment_dataset=side,
        data_collator=collator(),
    )


def row_gradients(model, some):
    """Each row's mean loss over its answer tokens, and its gradient."""
    found = []
    for row in some:
        model.zero_grad()
        logits = model(torch.tensor([row["input_ids"]])).logits[0].log_softmax(-1)
        places = [place for place, label in enumerate(row["labels"]) if label != -100]
        nats = torch.stack([-logits[place - 1, row["labels"][place]] for place in places]).mean()
        nats.backward()
        grads = {n: w.grad.clone() for n, w in model.named_parameters() if w.grad is not None}
        found.append((float(nats.detach()), grads))
    return found


SPLIT = {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 4}


def features_of(model, some):
    """The rows' mean last hidden states, less their mean, of length 1, row after row."""
    with torch.no_grad():
        h = [
            model(torch.tensor([row["input_ids"]]), output_hidden_states=True).hidden_states[-1][0]
            for row in some
        ]
    h = torch.stack([states.mean(0) for states in h])
    c = h - h.mean(0)
    return c / c.norm(dim=1, keepdim=True)


@pytest.mark.parametrize("scheduler", ["scalar", "neural"])
@pytest.mark.parametrize("split", [{}, SPLIT])
def test_two_passes_by_hand(tmp_path, split, scheduler):
    """w by SGD, the scores by AdamW written out; every row twice, so that learned weights are
    used."""
    eta, rate, lam, n = 0.05, 0.3, 0.7, len(USER)
    given = {"learning_rate": eta, "optim": "sgd", "weight_decay": 0.0, "num_train_epochs": 2}
    given |= {"train_sampling_strategy": "sequential", "selector_rate": rate, "lam": lam, **split}
    given |= {"scheduler": scheduler}
    trainer, twin = trainer_of(tmp_path, **given), model_of()
    start = weights(twin)
    trainer.train()
    features = torch.eye(n) if scheduler == "scalar" else features_of(twin, USER)
    v = torch.zeros(features.shape[1])
    first, second = torch.zeros_like(v), torch.zeros_like(v)
    for step in range(6):
        places = [(4 * step + i) % n for i in range(4)]
        omega = n * (features @ v).softmax(0)
        each = row_gradients(twin, [USER[i] for i in places])
        safe = plain_gradient(twin, of_group(step))[0]
        losses = torch.zeros(n)
        losses[places] = torch.tensor([loss for loss, _ in each])
        q = v.clone().requires_grad_()
        (n * (features @ q).softmax(0) * losses).sum().div(4).backward()
        first, second = 0.9 * first + 0.1 * q.grad, 0.95 * second + 0.05 * q.grad**2
        with torch.no_grad():
            for name, w in twin.named_parameters():
                if name in safe:
                    own = sum(omega[i] * g[name] for i, (_, g) in zip(places, each, strict=True))
                    w -= eta * (own / 4 + lam * safe[name])
        v = v - rate * (first / (1 - 0.9 ** (step + 1))) / (
            (second / (1 - 0.95 ** (step + 1))).sqrt() + 1e-8
        )
    moved, wanted = (
        {n: w - start[n] for n, w in weights(m).items()} for m in (trainer.model, twin)
    )
    assert relative_error(moved, wanted) < 1e-5
    assert torch.allclose(trainer.learned.detach(), v, rtol=1e-4, atol=1e-5)
    assert torch.allclose(trainer.row_scores().detach(), features @ v, rtol=1e-4, atol=1e-4)
    assert float(v.abs().max()) > 0.5
    assert float(trainer.row_weights().detach().mean()) == pytest.approx(1)


def test_the_scores_gradient_is_of_the_steps_mean(tmp_path):
    """At p = 0, where ω is 1: (ℓ_i − Σ_j ℓ_j / N) / B, of steps of other sizes too."""
    trainer = trainer_of(tmp_path)
    trainer._losses[:5], trainer._counted = torch.tensor([3.0, 1.0, 4.0, 1.0, 5.0]), 5
    losses = trainer._losses.clone()
    trainer.move_scores()
    torch.testing.assert_close(trainer.learned.grad, (losses - losses.sum() / len(USER)) / 5)
    assert not trainer._losses.any()


def test_rows_are_read_without_dropout_and_at_any_width(tmp_path):
    """The last hidden states of an OPT-350m are narrower than its layers."""

    def features(model):
        args = BDSConfig(**arguments(tmp_path, scheduler="neural", max_steps=1))
        trainer = BDSTrainer(model, args, collator(), USER, alignment_dataset=SIDE)
        trainer.train()
        return trainer.kept["features"]

    torch.testing.assert_close(features(model_of(0.5)), features_of(model_of(), USER))
    sizes = {"hidden_size": 32, "word_embed_proj_dim": 16, "ffn_dim": 32, "num_hidden_layers": 2}
    sizes |= {"vocab_size": 64, "num_attention_heads": 2, "max_position_embeddings": 64}
    config = transformers.OPTConfig(**sizes, do_layer_norm_before=False)
    assert features(transformers.OPTForCausalLM(config)).shape == (len(USER), 16)


def test_equal_weights_and_equal_lengths_are_plain_fine_tuning(tmp_path):
    """To the last digits: rows count by their means, and there is no setting that counts tokens."""
    same = [row for row in rows(60) if len(row["input_ids"]) == 7][:8]
    plain = SFTTrainer(model_of(), SFTConfig(**arguments(tmp_path)), collator(), same)
    other = trainer_of(tmp_path, same, lam=0.0, selector_rate=0.0)
    start = weights(plain.model)
    for trainer in (plain, other):
        trainer.train()
    moved = [{n: w - start[n] for n, w in weights(t.model).items()} for t in (other, plain)]
    assert relative_error(*moved) < 1e-4


@pytest.mark.parametrize("scheduler", ["scalar", "neural"])
def test_rows_against_the_safe_ones_lose_weight(tmp_path, scheduler):
    """Half of the rows answer the alignment rows' prompts otherwise."""
    safe = rows(8, seed=2)
    against = [{**row, "labels": [-100, -100, *[9] * (len(row["labels"]) - 2)]} for row in safe]
    against = [{**r, "input_ids": [*r["input_ids"][:2], *r["labels"][2:]]} for r in against]
    given = {"num_train_epochs": 12, "selector_rate": 0.05, "lam": 3.0, "learning_rate": 5e-2}
    given |= {"scheduler": scheduler}
    trainer = trainer_of(tmp_path, [*safe, *against], safe, **given)
    trainer.train()
    omega = trainer.row_weights().detach()
    assert omega[:8].mean() > omega[8:].mean()


@pytest.mark.parametrize("scheduler", ["scalar", "neural"])
def test_resumed_run_equals_one_without_interruption(tmp_path, scheduler):
    ends = []
    given = {"save_strategy": "steps", "save_steps": 2, "selector_rate": 0.3, "num_train_epochs": 2}
    given |= {"scheduler": scheduler}
    for resume in (None, str(tmp_path / "checkpoint-2")):
        trainer = trainer_of(tmp_path, **given)
        trainer.train(resume_from_checkpoint=resume)
        ends.append({**weights(trainer.model), "p": trainer.row_scores().detach()})
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


def test_what_cannot_be_done_is_told(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="train_dataset of known rows"):
        trainer_of(tmp_path, Stream(USER), max_steps=2)
    with pytest.raises(UserError, match="label smoothing is no part of"):
        trainer_of(tmp_path, label_smoothing_factor=0.1)
    with pytest.raises(UserError, match='scheduler is "deep"'):
        trainer_of(tmp_path, scheduler="deep")
    with pytest.raises(UserError, match=r"selector_rate is -0\.1"):
        trainer_of(tmp_path, selector_rate=-0.1)
    divide_weights(monkeypatch)
    with pytest.raises(UserError, match="FSDP2"):
        trainer_of(tmp_path)
