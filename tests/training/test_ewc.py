"""EWC and its control, the plain pull to the start, against plain calculations."""

import pytest
import torch
from steps import arguments, collator, relative_error, rows, weights
from torch.nn.functional import cross_entropy
from torch.utils.data import IterableDataset

from holdfast import (
    EWCConfig,
    EWCTrainer,
    L2SPConfig,
    L2SPTrainer,
    SFTConfig,
    SFTTrainer,
    UserError,
)
from tiny_models import lora, tiny_model

ALIGNMENT = rows(6, seed=1)
METHODS = {
    "ewc": (EWCTrainer, EWCConfig, {"alignment_dataset": ALIGNMENT}, {"strength": 0.02}),
    "l2_sp": (L2SPTrainer, L2SPConfig, {}, {"strength": 0.5}),
    "sft": (SFTTrainer, SFTConfig, {}, {}),
}


def model_of(dropout=0.0):
    """The alignment's adapter, to go on with."""
    return lora(tiny_model("llama", attention_dropout=dropout), init_lora_weights=False)


def trainer_of(method, folder, dropout=0.0, extra=None, **settings):
    kind, config, data, own = METHODS[method]
    args = config(**arguments(folder, **{**own, **settings}))
    data = {**data, **(extra or {})}
    return kind(model_of(dropout), args, collator(), rows(12), **data)


def run(method, folder, resume=None, **settings):
    trainer = trainer_of(method, folder, **settings)
    trainer.train(resume_from_checkpoint=resume)
    return weights(trainer.model)


def loss_of(model, batch_rows, reduction="sum"):
    batch = collator()(batch_rows)
    logits = model(batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    labels = batch["labels"][:, 1:].flatten()
    return cross_entropy(logits[:, :-1].flatten(0, 1), labels, reduction=reduction)


def squared(model, loss):
    trained = {n: w for n, w in model.named_parameters() if w.requires_grad}
    found = torch.autograd.grad(loss, list(trained.values()))
    return {n: g.square() for n, g in zip(trained, found, strict=True)}


def plain_fisher(kind):
    model = model_of().eval()
    if kind == "row":
        parts = [squared(model, loss_of(model, [row])) for row in ALIGNMENT]
        return {n: sum(p[n] for p in parts) / len(parts) for n in parts[0]}
    if kind == "sum":  # batches of four and of two
        batches = [ALIGNMENT[:4], ALIGNMENT[4:]]
        parts = [squared(model, loss_of(model, batch, "mean")) for batch in batches]
        return {n: parts[0][n] + parts[1][n] for n in parts[0]}
    return {n: torch.ones_like(w) for n, w in weights(model).items()}


@pytest.mark.parametrize(
    ("method", "kind", "strength"),
    [("ewc", "row", 0.02), ("ewc", "sum", 0.5), ("l2_sp", "ones", 0.5)],
)
def test_three_steps_by_hand(tmp_path, method, kind, strength):
    """w ← w − η·(∇L(w) + 2λ·F·(w − w0))."""
    eta, seen = 0.05, []

    def watch(batch_rows):
        seen.append(batch_rows)
        return collator()(batch_rows)

    settings = {"strength": strength, "learning_rate": eta, "optim": "sgd", "weight_decay": 0.0}
    trainer = trainer_of(
        method, tmp_path, **settings, **({"fisher": kind} if method == "ewc" else {})
    )
    found_fisher = trainer.strengths()
    trainer.data_collator = watch
    trainer.train()
    fisher = plain_fisher(kind)
    if method == "ewc":
        assert relative_error(found_fisher, fisher) < 1e-5
    model = model_of()
    start = weights(model)
    trained = {n: w for n, w in model.named_parameters() if w.requires_grad}
    for batch_rows in [batch for batch in seen if batch[0] in rows(12)][-3:]:
        tokens = sum(label != -100 for row in batch_rows for label in row["labels"])
        found = torch.autograd.grad(loss_of(model, batch_rows) / tokens, list(trained.values()))
        with torch.no_grad():
            for (name, w), g in zip(trained.items(), found, strict=True):
                w -= eta * (g + 2 * strength * fisher[name] * (w - start[name]))
    moved = {n: w - start[n] for n, w in weights(trainer.model).items()}
    assert relative_error(moved, {n: w - start[n] for n, w in weights(model).items()}) < 1e-5
    plain = run("sft", tmp_path, learning_rate=eta, optim="sgd", weight_decay=0.0)
    assert relative_error({n: plain[n] - start[n] for n in plain}, moved) > 1e-3


@pytest.mark.parametrize("method", ["ewc", "l2_sp"])
def test_without_strength_it_is_sft(tmp_path, method):
    sft = run("sft", tmp_path, dropout=0.1)
    assert all(
        torch.equal(w, sft[n]) for n, w in run(method, tmp_path, dropout=0.1, strength=0.0).items()
    )


def test_accumulation_equals_one_batch(tmp_path):
    settings = {"optim": "sgd", "learning_rate": 0.05}
    whole = run("ewc", tmp_path, **settings, per_device_train_batch_size=4)
    one = {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 4}
    split = run("ewc", tmp_path, **settings, **one)
    start = weights(model_of())
    moved = {name: split[name] - start[name] for name in start}
    assert relative_error(moved, {name: whole[name] - start[name] for name in start}) < 1e-5


@pytest.mark.parametrize("method", ["ewc", "l2_sp"])
def test_resumed_run_equals_one_without_interruption(tmp_path, method):
    settings = {"dropout": 0.1, "num_train_epochs": 2, "save_strategy": "steps", "save_steps": 4}
    whole = run(method, tmp_path, **settings)
    resumed = run(method, tmp_path, str(tmp_path / "checkpoint-4"), **settings)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_shuffled_has_the_same_numbers_elsewhere(tmp_path):
    row = trainer_of("ewc", tmp_path).strengths()
    shuffled = trainer_of("ewc", tmp_path, fisher="shuffled").strengths()
    for name, tensor in row.items():
        assert not torch.equal(tensor, shuffled[name])
        assert torch.equal(tensor.flatten().sort()[0], shuffled[name].flatten().sort()[0])


class Stream(IterableDataset):
    """Rows without a length."""

    def __iter__(self):
        return iter(ALIGNMENT)


def test_mistakes_are_told(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="strength is -1"):
        trainer_of("ewc", tmp_path, strength=-1)
    with pytest.raises(UserError, match='fisher is "exact"'):
        trainer_of("ewc", tmp_path, fisher="exact")
    with pytest.raises(UserError, match="not a stream"):
        trainer_of("ewc", tmp_path, extra={"alignment_dataset": Stream()})
    monkeypatch.setattr(EWCTrainer, "is_fsdp_enabled", True, raising=False)
    monkeypatch.setattr(
        EWCTrainer, "create_accelerator_and_postprocess",
        lambda self: (SFTTrainer.create_accelerator_and_postprocess(self),
                      setattr(self, "is_fsdp_enabled", True)),
    )  # fmt: skip
    with pytest.raises(UserError, match="needs whole weights"):
        trainer_of("ewc", tmp_path)
