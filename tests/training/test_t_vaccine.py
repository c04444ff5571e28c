"""T-Vaccine's probabilities, draws, freezing and gradient, against plain calculations."""

import json

import numpy as np
import pytest
import torch
from steps import arguments, collator, gradients, relative_error, rows, step_gradients, weights
from test_vaccine import plain_loss

from holdfast import (
    SFTConfig,
    SFTTrainer,
    TVaccineConfig,
    TVaccineTrainer,
    UserError,
    VaccineConfig,
    VaccineTrainer,
)
from holdfast.models.blocks import attention_blocks, decoder_layers
from tiny_models import lora, tiny_model


def trainer_of(model, folder, side="right", train_rows=None, **settings):
    settings = {"rho": 1.5, "layers": 2, "probe_every": 6, "draw_every": 3, **settings}
    return TVaccineTrainer(
        model,
        TVaccineConfig(**arguments(folder, **settings)),
        train_dataset=rows(16) if train_rows is None else train_rows,
        harmful_dataset=rows(10, seed=1),
        data_collator=collator(side),
    )


def draw_above_the_first(trainer):
    """Fix the draw: with layer 0 drawn nothing would lie below, and nothing be tested."""
    trainer.draw = lambda number: [2, 4]


def plain_gradients(model, batch, rho, drawn):
    """Two full passes with ordinary backward calls; only the drawn layers perturb and train."""
    model.zero_grad()
    loss, outputs = plain_loss(model, batch)
    loss.backward()
    norm = sum(float((outputs[i].grad.double() ** 2).sum()) for i in drawn) ** 0.5
    noise = [
        rho * e.grad / (norm + 1e-7) if i in drawn else torch.zeros_like(e)
        for i, e in enumerate(outputs)
    ]
    model.zero_grad()
    plain_loss(model, batch, noise)[0].backward()
    kept = {id(p) for i in drawn for p in decoder_layers(model)[i].parameters()}
    inside = {id(p) for layer in decoder_layers(model) for p in layer.parameters()}
    found = gradients(model)
    return {
        name: found[name]
        for name, p in model.named_parameters()
        if name in found and (id(p) in kept or id(p) not in inside)
    }


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("split", [1, 8])
def test_gradient_equals_a_plain_calculation(tmp_path, side, split):
    model = lora(tiny_model("llama", layers=5), init_lora_weights=False)
    trainer = trainer_of(model, tmp_path, side, gradient_accumulation_steps=split)
    draw_above_the_first(trainer)
    batches = [collator(side)(rows(8)[i::split]) for i in range(split)]
    found = step_gradients(trainer, batches)
    trainer._thaw(range(5))
    expected = plain_gradients(model, collator()(rows(8)), 1.5, trainer.drawn)
    assert trainer.drawn == [2, 4]
    assert relative_error(found, expected) < 1e-5


def test_full_fine_tuning_gradient_of_the_drawn_layers(tmp_path):
    model = tiny_model("llama", layers=5)
    trainer = trainer_of(model, tmp_path)
    draw_above_the_first(trainer)
    batch = collator()(rows(8))
    found = step_gradients(trainer, [batch])
    trainer._thaw(range(5))
    expected = plain_gradients(model, batch, 1.5, trainer.drawn)
    expected.pop("model.embed_tokens.weight")  # no gradient reaches it from above a frozen layer
    assert relative_error(found, expected) < 1e-5


def test_probabilities_are_the_norms_of_the_probe_gradients(tmp_path):
    model = lora(tiny_model("llama", layers=4), init_lora_weights=False)
    trainer = trainer_of(model, tmp_path, probe_batch_size=10)
    found = trainer.measure(0)
    loss, outputs = plain_loss(model, collator()(rows(10, seed=1)))
    loss.backward()
    norms = torch.stack([e.grad.norm() for e in outputs])
    np.testing.assert_allclose(found, (norms / norms.sum()).numpy(), rtol=1e-5)


def test_draws_follow_the_probabilities_without_replacement(tmp_path):
    """The first of S draws has law P, the pair has the law of drawing one after the other."""
    trainer = trainer_of(lora(tiny_model("llama", layers=4)), tmp_path)
    p = np.array([0.1, 0.2, 0.3, 0.4])
    trainer.probabilities = p.tolist()
    n = 20_000
    pairs = np.zeros((4, 4))
    for number in range(n):
        i, j = trainer.draw(number)
        pairs[i, j] += 1
    for i in range(4):
        for j in range(i + 1, 4):
            expected = p[i] * p[j] / (1 - p[i]) + p[j] * p[i] / (1 - p[j])
            # Five standard errors of a binomial share; the draws are seeded and never flicker.
            error = (expected * (1 - expected) / n) ** 0.5
            assert abs(pairs[i, j] / n - expected) < 5 * error
    trainer.probabilities = [0.0, 1.0, 0.0, 0.0]
    assert all(1 in trainer.draw(number) for number in range(20))


class Watch(TVaccineTrainer):
    """Notes which layers' weights change in each step."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.changed = []

    def training_step(self, model, inputs, num_items_in_batch=None):
        before = getattr(self, "before", None)
        now = [
            torch.cat([p.detach().flatten() for n, p in layer.named_parameters() if "lora" in n])
            for layer in self.decoder_layers
        ]
        if before is not None:
            self.changed.append(
                [i for i, (a, b) in enumerate(zip(before, now, strict=True)) if not a.equal(b)]
            )
        self.before = now
        return super().training_step(model, inputs, num_items_in_batch)


def test_only_drawn_layers_change_and_draws_come_every_j_steps(tmp_path):
    model = lora(tiny_model("llama", layers=5), init_lora_weights=False)
    settings = {"rho": 1.0, "layers": 2, "probe_every": 6, "draw_every": 3, "weight_decay": 0.1}
    trainer = Watch(
        model,
        TVaccineConfig(**arguments(tmp_path, **settings)),
        train_dataset=rows(40),
        harmful_dataset=rows(10, seed=1),
        data_collator=collator(),
    )
    trainer.train()
    assert [entry["step"] for entry in trainer.history] == [0, 3, 6, 9]
    first, second, third, _ = (entry["probabilities"] for entry in trainer.history)
    assert first == second != third
    logged = [
        {
            "step": entry["step"],
            "probabilities": entry["block_probabilities"],
            "drawn": entry["drawn_blocks"],
        }
        for entry in trainer.state.log_history
        if "drawn_blocks" in entry
    ]
    assert logged == trainer.history
    for step, changed in enumerate(trainer.changed):
        assert changed == trainer.history[step // 3]["drawn"]
    assert all(p.requires_grad for n, p in model.named_parameters() if "lora" in n)


def test_freezing_the_attention_only_leaves_the_rest_training(tmp_path):
    targets = ["q_proj", "v_proj", "down_proj"]
    model = lora(tiny_model("llama", layers=5), target_modules=targets, init_lora_weights=False)
    trainer = trainer_of(model, tmp_path, freeze="attention")
    found = step_gradients(trainer, [collator()(rows(8))])
    for name in weights(model) | found:
        layer = int(name.split("layers.")[1].split(".")[0])
        assert (name in found) == ("mlp" in name or layer in trainer.drawn)


def test_layers_below_the_lowest_drawn_are_computed_once(tmp_path):
    model = lora(tiny_model("llama", layers=5), init_lora_weights=False)
    trainer = trainer_of(model, tmp_path)
    draw_above_the_first(trainer)
    calls = [0] * 5
    for index, layer in enumerate(decoder_layers(model)):
        # The projection is reached only when the layer really computes.
        layer.self_attn.q_proj.register_forward_hook(
            lambda *_, index=index: calls.__setitem__(index, calls[index] + 1)
        )
    trainer.plan_step()
    measured = list(calls)
    trainer.args.probe_every = trainer.args.draw_every = 10**6
    trainer.state.global_step = 1
    step_gradients(trainer, [collator()(rows(4))])
    assert [c - m for c, m in zip(calls, measured, strict=True)] == [1, 1, 2, 2, 2]
    assert all("forward" not in vars(layer) for layer in decoder_layers(model))


def run(trainer_class, config_class, folder, extra=None, adapter=True, **settings):
    model = tiny_model("llama", layers=3, attention_dropout=0.1)
    model = lora(model, lora_dropout=0.1) if adapter else model
    config = config_class(**arguments(folder, **settings))
    trainer = trainer_class(
        model, config, train_dataset=rows(24), data_collator=collator(), **(extra or {})
    )
    trainer.train()
    return weights(trainer.model)


PROBES = {"harmful_dataset": rows(10, seed=1)}


@pytest.mark.parametrize("adapter", [True, False])
def test_with_every_layer_drawn_it_is_vaccine_and_without_strength_sft(tmp_path, adapter):
    settings = {"num_train_epochs": 2, "gradient_accumulation_steps": 2, "adapter": adapter}
    every = {"layers": 3, "draw_every": 2, "probe_every": 4}
    vaccine = run(VaccineTrainer, VaccineConfig, tmp_path, rho=1.0, **settings)
    all_drawn = run(TVaccineTrainer, TVaccineConfig, tmp_path, PROBES, rho=1.0, **every, **settings)
    assert all(torch.equal(vaccine[name], all_drawn[name]) for name in vaccine)
    sft = run(SFTTrainer, SFTConfig, tmp_path, **settings)
    zero = run(TVaccineTrainer, TVaccineConfig, tmp_path, PROBES, rho=0.0, **every, **settings)
    assert all(torch.equal(sft[name], zero[name]) for name in sft)


def test_checkpointing_changes_nothing(tmp_path):
    model = lora(
        tiny_model("llama", layers=5, attention_dropout=0.2),
        lora_dropout=0.2,
        init_lora_weights=False,
    )
    found = []
    for checkpointing in (False, True):
        trainer = trainer_of(model, tmp_path)
        draw_above_the_first(trainer)
        if checkpointing:
            model.activation_checkpointing_enable({"use_reentrant": False})
        torch.manual_seed(3)
        found.append(step_gradients(trainer, [collator()(rows(8))]))
        trainer._thaw(range(5))
    assert relative_error(found[1], found[0]) < 1e-6


def test_both_passes_see_the_same_dropout_masks_above_shared_layers(tmp_path):
    """Sharing the layers below changes nothing: without it the same seed gives the same step."""
    model = lora(
        tiny_model("llama", layers=5, attention_dropout=0.3),
        lora_dropout=0.3,
        init_lora_weights=False,
    )
    found = []
    for share in (True, False):
        trainer = trainer_of(model, tmp_path)
        draw_above_the_first(trainer)
        if not share:
            trainer._shared_layers = list
        torch.manual_seed(3)
        found.append(step_gradients(trainer, [collator()(rows(8))]))
        trainer._thaw(range(5))
    assert relative_error(found[0], found[1]) < 1e-6


def test_resumed_run_equals_one_without_interruption(tmp_path):
    settings = {"rho": 1.0, "layers": 1, "draw_every": 4, "probe_every": 8, "num_train_epochs": 2}
    whole = run(TVaccineTrainer, TVaccineConfig, tmp_path / "a", PROBES, **settings)
    saved = {"save_strategy": "steps", "save_steps": 5}
    config = TVaccineConfig(**arguments(tmp_path / "b", **settings, **saved))
    for resume in (None, str(tmp_path / "b" / "checkpoint-5")):
        model = lora(tiny_model("llama", layers=3, attention_dropout=0.1), lora_dropout=0.1)
        trainer = TVaccineTrainer(
            model, config, train_dataset=rows(24), data_collator=collator(), **PROBES
        )
        trainer.train(resume_from_checkpoint=resume)
        found = weights(trainer.model)
        assert all(torch.equal(whole[name], found[name]) for name in whole)
        assert [entry["step"] for entry in trainer.history] == [0, 4, 8]
    state = json.loads((tmp_path / "b" / "checkpoint-5" / "t_vaccine.json").read_text())
    assert len(state["probabilities"]) == 3


def test_everything_is_undone_after_an_error(tmp_path):
    model = lora(tiny_model("llama", layers=5), init_lora_weights=False)
    broken = rows(16)
    broken[-1]["labels"] = [-100] * len(broken[-1]["input_ids"])
    trainer = trainer_of(
        model, tmp_path, train_rows=broken, per_device_train_batch_size=1,
        train_sampling_strategy="sequential",
    )  # fmt: skip
    with pytest.raises(UserError, match="the loss became nan at step 16 of 16"):
        trainer.train()
    assert all(not block._forward_hooks for block in attention_blocks(model))
    assert all("forward" not in vars(layer) for layer in decoder_layers(model))
    assert all(p.requires_grad for n, p in model.named_parameters() if "lora" in n)


def test_mistaken_settings_are_told(tmp_path):
    model = lora(tiny_model("llama", layers=2))
    with pytest.raises(UserError, match="layers is 8, but the model has 2"):
        trainer_of(model, tmp_path, layers=8)
    with pytest.raises(UserError, match="draw_every is 0"):
        trainer_of(model, tmp_path, draw_every=0)
    with pytest.raises(UserError, match='freeze is "mlp"'):
        trainer_of(model, tmp_path, freeze="mlp")
    with pytest.raises(UserError, match="empty"):
        TVaccineTrainer(
            model,
            TVaccineConfig(**arguments(tmp_path, layers=1)),
            train_dataset=rows(4),
            harmful_dataset=[],
            data_collator=collator(),
        )
