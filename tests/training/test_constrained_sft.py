"""Constrained SFT against the paper's own form of its loss, token by token."""

import pytest
import torch
from steps import arguments, collator, relative_error, rows, weights
from torch.nn.functional import logsigmoid
from torch.utils.data import IterableDataset

from holdfast import ConstrainedSFTConfig, ConstrainedSFTTrainer, SFTConfig, SFTTrainer, UserError
from holdfast.finetune.constrained_sft import answer_places
from holdfast.labelled import SMALLEST_VOCABULARY
from tiny_models import lora, tiny_model

SGD = {"learning_rate": 0.05, "optim": "sgd", "weight_decay": 0.0}
KINDS = {
    "constrained": (ConstrainedSFTTrainer, ConstrainedSFTConfig),
    "sft": (SFTTrainer, SFTConfig),
}


def model_of(dropout=0.0, **settings):
    return lora(tiny_model("llama", attention_dropout=dropout, **settings), init_lora_weights=False)


def run(folder, kind="constrained", model=None, collate=None, data=None, resume=None, **settings):
    trainer_class, config = KINDS[kind]
    args = config(**arguments(folder, **settings))
    data = rows(12) if data is None else data
    trainer = trainer_class(model or model_of(), args, collate or collator(), data, rows(4, seed=2))
    trainer.train(resume_from_checkpoint=resume)
    return trainer


@pytest.mark.parametrize("vocabulary", [64, SMALLEST_VOCABULARY])
def test_steps_by_hand(tmp_path, vocabulary):
    """w ← w − η·∇ of -(2/β_t)·log σ(β_t·(log π − log π_0)), in the order of the batches."""
    seen, own = [], {"beta": 0.3, "tokens": 3, "factor": 4.0, "first_factor": 2.0}

    def watch(batch_rows):
        seen.append(batch_rows)
        return collator()(batch_rows)

    model, teacher = (model_of(vocab_size=vocabulary) for _ in range(2))
    trainer = run(tmp_path, model=model_of(vocab_size=vocabulary), collate=watch, **own, **SGD)
    trained = {n: w for n, w in model.named_parameters() if w.requires_grad}
    start = weights(model)
    for batch_rows in seen[3:]:  # before them the rows are gone through once, in their order
        tokens, loss = 0, torch.zeros(())
        for row in batch_rows:
            ids = torch.tensor([row["input_ids"]])
            student = model(ids).logits[0].log_softmax(-1)
            with torch.no_grad():
                reference = teacher(ids).logits[0].log_softmax(-1)
            for t in range(2, ids.shape[1]):  # the prompt has two tokens
                beta = {2: 0.3 * 2, 3: 0.3 * 4, 4: 0.3 * 4}.get(t, 0.3)
                ratio = student[t - 1, ids[0, t]] - reference[t - 1, ids[0, t]]
                loss = loss - 2 / beta * logsigmoid(beta * ratio)
                tokens += 1
        found = torch.autograd.grad(loss / tokens, list(trained.values()))
        with torch.no_grad():
            for w, g in zip(trained.values(), found, strict=True):
                w -= SGD["learning_rate"] * g
    moved = {n: w - start[n] for n, w in weights(trainer.model).items()}
    assert relative_error(moved, {n: w - start[n] for n, w in weights(model).items()}) < 1e-5


def test_without_strength_it_is_sft_and_with_it_is_not(tmp_path):
    sft, none, some = (
        weights(run(tmp_path, kind, model_of(0.1), **own).model)
        for kind, own in (("sft", {}), ("constrained", {"beta": 0.0}), ("constrained", {}))
    )
    assert all(torch.equal(sft[name], none[name]) for name in sft)
    assert not all(torch.equal(sft[name], some[name]) for name in sft)


def test_resumed_bit_for_bit_and_evaluated_plainly(tmp_path):
    settings = {"num_train_epochs": 2, "save_strategy": "steps", "save_steps": 4}
    whole = run(tmp_path, model=model_of(0.1), **settings)
    again = run(tmp_path, model=model_of(0.1), resume=str(tmp_path / "checkpoint-4"), **settings)
    assert all(torch.equal(w, weights(again.model)[n]) for n, w in weights(whole.model).items())
    plain = SFTTrainer(whole.model, SFTConfig(**arguments(tmp_path)), collator(), rows(4))
    assert whole.evaluate()["eval_loss"] == plain.evaluate(rows(4, seed=2))["eval_loss"]


def test_each_answer_has_its_first_tokens():
    labels = torch.tensor(
        [[5, -100, 7, 8, -100, -100, 9, 9, 9], [-100, 4, 4, -100, 4, *[-100] * 4]]
    )
    assert answer_places(labels).tolist() == [1, 2, 1, 2, 3, 1, 2, 1]


class Stream(IterableDataset):
    """Rows without a length."""

    def __iter__(self):
        return iter(rows(4))


def test_mistakes_are_told(tmp_path):
    with pytest.raises(UserError, match="beta is -1"):
        run(tmp_path, beta=-1)
    with pytest.raises(UserError, match="not a stream"):
        run(tmp_path, data=Stream(), max_steps=2)
