"""SPPFT: the frozen layers stay bit for bit, the others take plain steps."""

import pytest
import torch
from steps import arguments, collator, relative_error, rows
from torch.nn.functional import cross_entropy

from holdfast import SPPFTConfig, SPPFTTrainer, UserError
from tiny_models import lora, tiny_model


def model_of(adapter):
    model = tiny_model("llama", layers=4)
    return lora(model, init_lora_weights=False) if adapter else model


def run(folder, adapter=True, collate=None, resume=None, **settings):
    own = {"first_layer": 1, "last_layer": 2, "learning_rate": 0.05, "optim": "sgd"}
    args = SPPFTConfig(**arguments(folder, **own | {"weight_decay": 0.0} | settings))
    trainer = SPPFTTrainer(model_of(adapter), args, collate or collator(), rows(12))
    trainer.train(resume_from_checkpoint=resume)
    return {name: w.detach().clone() for name, w in trainer.model.named_parameters()}


@pytest.mark.parametrize("adapter", [True, False])
def test_three_steps_by_hand(tmp_path, adapter):
    seen = []

    def watch(batch_rows):
        seen.append(batch_rows)
        return collator()(batch_rows)

    found = run(tmp_path, adapter, watch)
    model = model_of(adapter)
    start = {name: w.detach().clone() for name, w in model.named_parameters()}
    trained = {
        name: w
        for name, w in model.named_parameters()
        if w.requires_grad and "layers.1." not in name and "layers.2." not in name
    }
    for batch_rows in seen:
        batch = collator()(batch_rows)
        logits = model(batch["input_ids"], attention_mask=batch["attention_mask"]).logits
        loss = cross_entropy(logits[:, :-1].flatten(0, 1), batch["labels"][:, 1:].flatten())
        gradients = torch.autograd.grad(loss, list(trained.values()))
        with torch.no_grad():
            for w, g in zip(trained.values(), gradients, strict=True):
                w -= 0.05 * g
    moved = {name: found[name] - start[name] for name in trained}
    assert relative_error(moved, {n: w.detach() - start[n] for n, w in trained.items()}) < 1e-5
    assert all(torch.equal(found[n], start[n]) for n in start if n not in trained)


def test_resumed_with_the_same_layers_frozen(tmp_path):
    settings = {"num_train_epochs": 2, "save_strategy": "steps", "save_steps": 4}
    whole = run(tmp_path, **settings)
    resumed = run(tmp_path, resume=str(tmp_path / "checkpoint-4"), **settings)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_mistakes_are_told(tmp_path):
    with pytest.raises(UserError, match="last_layer is 0, before first_layer, 1"):
        run(tmp_path, last_layer=0)
    with pytest.raises(UserError, match="last_layer is 4, and the model's layers are 0 to 3"):
        run(tmp_path, last_layer=4)
    with pytest.raises(UserError, match="nothing to train"):
        run(tmp_path, first_layer=0, last_layer=3)
