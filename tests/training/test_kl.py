"""KL to the start, against a plain calculation over the vocabulary."""

import pytest
import torch
from steps import arguments, collator, relative_error, rows, weights
from torch.nn.functional import cross_entropy

from holdfast import KLConfig, KLTrainer, SFTConfig, SFTTrainer, UserError
from holdfast.labelled import SMALLEST_VOCABULARY, labelled_logits, labelled_positions
from tiny_models import lora, tiny_model

SGD = {"learning_rate": 0.05, "optim": "sgd", "weight_decay": 0.0}


def model_of(fresh=False, dropout=0.0, **settings):
    model = tiny_model("llama", attention_dropout=dropout, **settings)
    return lora(model, init_lora_weights=fresh)


def run(folder, kind="kl", fresh=False, dropout=0.0, collate=None, vocabulary=64, **settings):
    trainer_class, config = {"kl": (KLTrainer, KLConfig), "sft": (SFTTrainer, SFTConfig)}[kind]
    model = model_of(fresh, dropout, vocab_size=vocabulary)
    args = config(**arguments(folder, **settings))
    trainer = trainer_class(model, args, collate or collator(), rows(12), rows(4, seed=2))
    trainer.train()
    return trainer


@pytest.mark.parametrize("direction", ["forward", "reverse"])
@pytest.mark.parametrize("fresh", [True, False])
@pytest.mark.parametrize("vocabulary", [64, SMALLEST_VOCABULARY])
def test_three_steps_by_hand(tmp_path, direction, fresh, vocabulary):
    """w ← w − η·∇(L + λ·mean over answer tokens of KL), each token by a loop over the rows."""
    seen, strength = [], 3.0

    def watch(batch_rows):
        seen.append(batch_rows)
        return collator()(batch_rows)

    own = {"strength": strength, "direction": direction}
    trainer = run(tmp_path, fresh=fresh, collate=watch, vocabulary=vocabulary, **own, **SGD)
    model, teacher = (model_of(fresh, vocab_size=vocabulary) for _ in range(2))
    trained = {n: w for n, w in model.named_parameters() if w.requires_grad}
    start = weights(model)
    for batch_rows in seen:
        tokens, loss = 0, torch.zeros(())
        for row in batch_rows:
            ids = torch.tensor([row["input_ids"]])
            student = model(ids).logits[0]
            with torch.no_grad():
                reference = teacher(ids).logits[0].softmax(-1)
            for t in range(2, ids.shape[1]):  # the prompt has two tokens
                q = student[t - 1].softmax(-1)
                one, other = (
                    (reference[t - 1], q) if direction == "forward" else (q, reference[t - 1])
                )
                kl = (one * (one.log() - other.log())).sum()
                loss = loss + cross_entropy(student[t - 1], ids[0, t]) + strength * kl
                tokens += 1
        found = torch.autograd.grad(loss / tokens, list(trained.values()))
        with torch.no_grad():
            for w, g in zip(trained.values(), found, strict=True):
                w -= SGD["learning_rate"] * g
    moved = {n: w - start[n] for n, w in weights(trainer.model).items()}
    assert relative_error(moved, {n: w - start[n] for n, w in weights(model).items()}) < 1e-5


def test_without_strength_it_is_sft_and_with_it_is_not(tmp_path):
    sft, none, some = (
        weights(run(tmp_path, kind, dropout=0.1, **own).model)
        for kind, own in (("sft", {}), ("kl", {"strength": 0.0}), ("kl", {"strength": 1.0}))
    )
    assert all(torch.equal(sft[name], none[name]) for name in sft)
    assert not all(torch.equal(sft[name], some[name]) for name in sft)


def test_evaluation_leaves_it_out(tmp_path):
    trainer = run(tmp_path, strength=50.0)
    found = trainer.evaluate()["eval_loss"]
    trainer.args.strength = 0.0
    assert found == trainer.evaluate()["eval_loss"]


def test_logits_are_the_same_rows_whether_selected_or_not():
    model = model_of(vocab_size=SMALLEST_VOCABULARY).eval()
    batch = collator()(rows(1, seed=5))
    whole = labelled_logits(model(**batch).logits, batch["labels"])
    with labelled_positions(model, batch):
        few = model(**batch).logits
    assert few.shape[:2] != batch["labels"].shape
    torch.testing.assert_close(labelled_logits(few, batch["labels"]), whole)


def test_mistakes_are_told(tmp_path):
    with pytest.raises(UserError, match="strength is -1"):
        run(tmp_path, strength=-1)
    with pytest.raises(UserError, match='direction is "both"'):
        run(tmp_path, direction="both")
