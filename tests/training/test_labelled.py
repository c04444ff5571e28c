"""Logits where labels are: the same loss and gradients as with the logits of every position."""

import pytest
import torch
from transformers import TrainingArguments

from holdfast import VaccineConfig, VaccineTrainer, labelled
from holdfast.labelled import labelled_positions
from holdfast.training import SFTConfig, SFTTrainer
from tiny_models import ARCHITECTURES, lora, tiny_model

V = labelled.SMALLEST_VOCABULARY


def batch(vocabulary):
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(3, vocabulary, (3, 12), generator=generator)
    labels = ids.clone()
    labels[0, :7] = labels[1, :3] = labels[1, 9:] = labels[2, :11] = -100
    mask = torch.ones_like(ids)
    mask[1, 9:] = 0
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def logits_of(model, seen):
    """The shapes of the logits in training; a trainer's trials before it are in evaluation mode."""
    head = model.get_output_embeddings()

    def note(module, _given, out):
        if module.training:
            seen.append(tuple(out.shape))

    return head.register_forward_hook(note)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_loss_and_gradients_are_those_of_all_logits(architecture):
    model = tiny_model(architecture, vocab_size=V)
    inputs, results, seen = batch(V), [], []
    watching = logits_of(model, seen)
    for whole in (True, False):
        model.zero_grad()
        if whole:
            loss = model(**inputs, num_items_in_batch=torch.tensor(20)).loss
        else:
            with labelled_positions(model, inputs):
                loss = model(**inputs, num_items_in_batch=torch.tensor(20)).loss
        loss.backward()
        results.append([loss.detach(), *(p.grad for p in model.parameters() if p.grad is not None)])
    watching.remove()
    for plain, ours in zip(*results, strict=True):
        torch.testing.assert_close(ours, plain, atol=1e-6, rtol=1e-5)
    # 5 + 6 + 1 tokens are learned
    assert seen == [(3, 12, V), (1, 12, V)]
    assert model(**inputs).logits.shape == (3, 12, V)  # nothing is left of it afterwards
    assert "_loss_function" not in model.__dict__


def test_a_small_vocabulary_and_another_loss_are_left_alone():
    seen = []
    model = tiny_model("llama")
    logits_of(model, seen)
    with labelled_positions(model, batch(64)):
        model(**batch(64))
    model = tiny_model("llama", vocab_size=V)
    logits_of(model, seen)
    given = model.loss_function

    def own(logits, labels, vocab_size, **kwargs):
        return 2 * given(logits=logits, labels=labels, vocab_size=vocab_size)

    model.loss_function = own
    with labelled_positions(model, batch(V)):
        model(**batch(V))
    assert model.loss_function is own
    with labelled_positions(model, {**batch(V), "labels": None}):
        model(batch(V)["input_ids"])
    assert [shape[:2] for shape in seen] == [(3, 12)] * 3


@pytest.mark.parametrize(
    ("trainer_class", "config_class", "more"),
    [(SFTTrainer, SFTConfig, {}), (VaccineTrainer, VaccineConfig, {"rho": 2.0})],
)
def test_a_training_ends_where_it_did(tmp_path, monkeypatch, trainer_class, config_class, more):
    rows = [{key: value[i].tolist() for key, value in batch(V).items()} for i in (0, 1, 2, 0, 2, 1)]
    ended, seen = [], []
    for smallest in (10 * V, V):
        monkeypatch.setattr(labelled, "SMALLEST_VOCABULARY", smallest)
        model = lora(tiny_model("llama", vocab_size=V))
        logits_of(model, seen)
        common = {"per_device_train_batch_size": 2, "max_steps": 3, "report_to": "none"}
        common |= {"use_cpu": True, "save_strategy": "no", "disable_tqdm": True}
        args = config_class(str(tmp_path), **common, **more)
        assert isinstance(args, TrainingArguments)
        collate = lambda some: {key: torch.tensor([row[key] for row in some]) for key in some[0]}  # noqa: E731
        trainer_class(model, args, train_dataset=rows, data_collator=collate).train()
        ended.append({n: p.detach().clone() for n, p in model.named_parameters() if "lora" in n})
    for name, value in ended[0].items():
        torch.testing.assert_close(ended[1][name], value, atol=1e-5, rtol=1e-4)
    half = len(seen) // 2
    assert {shape[:2] for shape in seen[:half]} == {(2, 12)}
    assert all(shape[0] == 1 for shape in seen[half:])
