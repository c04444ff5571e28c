"""Vaccine's gradient against a plain calculation, and what must not change it."""

import pytest
import torch
from steps import arguments, collator, gradients, relative_error, rows, step_gradients, weights

from holdfast import SFTConfig, SFTTrainer, UserError, VaccineConfig, VaccineTrainer
from holdfast.align.perturbation import output_gradients
from holdfast.models.blocks import attention_blocks
from tiny_models import lora, tiny_model


def plain_loss(model, batch, noise=None):
    """Mean answer-token loss of a Llama with noise added to its attention outputs, by our own sum.

    The perturbation enters through the output projection's bias-like addition: a wrapper
    around the attention's forward, not a hook, so this shares nothing with the package.
    """
    layers = (
        model.get_base_model().model.layers if hasattr(model, "peft_config") else model.model.layers
    )
    outputs = []
    originals = [layer.self_attn.forward for layer in layers]

    def wrap(forward, index):
        def run(*args, **kwargs):
            e, *rest = forward(*args, **kwargs)
            if noise is None:
                e.retain_grad()
                outputs.append(e)
            else:
                e = e + noise[index]
            return (e, *rest)

        return run

    for index, layer in enumerate(layers):
        layer.self_attn.forward = wrap(originals[index], index)
    logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    for layer in layers:
        del layer.self_attn.forward
    log_p = logits[:, :-1].log_softmax(-1)
    targets = batch["labels"][:, 1:]
    picked = log_p.gather(-1, targets.clamp(min=0).unsqueeze(-1)).squeeze(-1)
    return -(picked * (targets != -100)).sum() / (targets != -100).sum(), outputs


def plain_vaccine_gradients(model, batch, rho):
    """Two full passes over one whole batch, with ordinary backward calls."""
    model.zero_grad()
    loss, outputs = plain_loss(model, batch)
    loss.backward()
    norm = sum(float((e.grad.double() ** 2).sum()) for e in outputs) ** 0.5
    noise = [rho * e.grad / (norm + 1e-7) for e in outputs]
    model.zero_grad()
    plain_loss(model, batch, noise)[0].backward()
    return gradients(model)


def trainer_of(model, folder, side="right", **settings):
    config = VaccineConfig(**arguments(folder, **settings))
    return VaccineTrainer(model, config, train_dataset=rows(16), data_collator=collator(side))


@pytest.mark.parametrize("adapter", [True, False])
@pytest.mark.parametrize("side", ["right", "left"])
def test_gradient_equals_a_plain_calculation(tmp_path, adapter, side):
    model = tiny_model("llama", layers=3)
    model = lora(model, init_lora_weights=False) if adapter else model
    batch = collator(side)(rows(8))
    expected = plain_vaccine_gradients(model, collator("right")(rows(8)), rho=1.5)
    trainer = trainer_of(model, tmp_path, side, rho=1.5)
    assert relative_error(step_gradients(trainer, [batch]), expected) < 1e-5
    # The perturbation matters here: without it the gradient is another one.
    plain = trainer_of(model, tmp_path, side, rho=0.0)
    assert relative_error(step_gradients(plain, [batch]), expected) > 1e-2


def test_accumulation_equals_one_batch(tmp_path):
    model = lora(tiny_model("llama", layers=3), init_lora_weights=False)
    expected = plain_vaccine_gradients(model, collator()(rows(8)), rho=1.5)
    trainer = trainer_of(model, tmp_path, rho=1.5, gradient_accumulation_steps=8)
    singles = [collator()([row]) for row in rows(8)]
    assert relative_error(step_gradients(trainer, singles), expected) < 1e-5


def test_training_step_alone_is_a_step_of_its_own(tmp_path):
    model = lora(tiny_model("llama", layers=3), init_lora_weights=False)
    batch = collator()(rows(4))
    expected = plain_vaccine_gradients(model, batch, rho=1.5)
    trainer = trainer_of(model, tmp_path, rho=1.5)
    model.zero_grad()
    trainer.current_gradient_accumulation_steps = 1
    trainer.training_step(model, batch)
    assert relative_error(gradients(model), expected) < 1e-5


def test_perturbation_raises_the_loss_as_far_as_the_first_order_says(tmp_path):
    """L(e + ε) − L(e) ≈ ρ·‖g‖ for a small ρ, by a finite difference."""
    model, batch = tiny_model("llama", layers=3), collator()(rows(8))
    loss, outputs = plain_loss(model, batch)
    loss.backward()
    norm = sum(float((e.grad.double() ** 2).sum()) for e in outputs) ** 0.5
    rho = 1e-2
    raised, _ = plain_loss(model, batch, [rho * e.grad / norm for e in outputs])
    assert (raised - loss).item() == pytest.approx(rho * norm, rel=0.1)
    found = output_gradients(attention_blocks(model), lambda: plain_loss(model, batch, [0] * 3)[0])
    assert sum(float(g.double().square().sum()) for g in found) ** 0.5 == pytest.approx(norm)


def run(trainer_class, config_class, folder, model=None, **settings):
    model = model or lora(tiny_model("llama", layers=3, attention_dropout=0.1), lora_dropout=0.1)
    config = config_class(**arguments(folder, **settings))
    trainer = trainer_class(model, config, train_dataset=rows(24), data_collator=collator())
    trainer.train()
    return weights(trainer.model)


def test_strength_zero_is_sft_bit_for_bit_with_dropout(tmp_path):
    settings = {"num_train_epochs": 2, "gradient_accumulation_steps": 2}
    sft = run(SFTTrainer, SFTConfig, tmp_path, **settings)
    vaccine = run(VaccineTrainer, VaccineConfig, tmp_path, rho=0.0, **settings)
    assert all(torch.equal(sft[name], vaccine[name]) for name in sft)
    stronger = run(VaccineTrainer, VaccineConfig, tmp_path, rho=1.0, **settings)
    assert not all(torch.equal(sft[name], stronger[name]) for name in sft)


def test_both_passes_see_the_same_dropout_masks(tmp_path):
    """With dropout p, pass two under the same masks equals the plain two passes under that seed."""
    model = lora(
        tiny_model("llama", layers=3, attention_dropout=0.3),
        lora_dropout=0.3,
        init_lora_weights=False,
    )
    batch = collator()(rows(8))
    model.train()
    torch.manual_seed(5)
    loss, outputs = plain_loss(model, batch)
    loss.backward()
    norm = sum(float((e.grad.double() ** 2).sum()) for e in outputs) ** 0.5
    noise = [1.5 * e.grad / (norm + 1e-7) for e in outputs]
    model.zero_grad()
    torch.manual_seed(5)
    plain_loss(model, batch, noise)[0].backward()
    expected = gradients(model)
    trainer = trainer_of(model, tmp_path, rho=1.5)
    torch.manual_seed(5)
    assert relative_error(step_gradients(trainer, [batch]), expected) < 1e-5


def test_checkpointing_changes_nothing(tmp_path):
    model = lora(
        tiny_model("llama", layers=3, attention_dropout=0.2),
        lora_dropout=0.2,
        init_lora_weights=False,
    )
    batch = collator()(rows(8))
    found = []
    for checkpointing in (False, True):
        trainer = trainer_of(model, tmp_path, rho=1.5)
        if checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        torch.manual_seed(3)
        found.append(step_gradients(trainer, [batch]))
    assert relative_error(found[1], found[0]) < 1e-6


def test_plain_steps_between_when_accelerated(tmp_path):
    settings = {"num_train_epochs": 1, "rho": 1.0}
    never = run(SFTTrainer, SFTConfig, tmp_path)
    first = run(VaccineTrainer, VaccineConfig, tmp_path, every=6, max_steps=1, **settings)
    one = run(VaccineTrainer, VaccineConfig, tmp_path, every=1, max_steps=1, **settings)
    assert all(torch.equal(first[name], one[name]) for name in one)
    sixth = run(VaccineTrainer, VaccineConfig, tmp_path, every=6, **settings)
    always = run(VaccineTrainer, VaccineConfig, tmp_path, every=1, **settings)
    assert not all(torch.equal(sixth[name], always[name]) for name in never)


def test_resumed_run_equals_one_without_interruption(tmp_path):
    settings = {"rho": 1.0, "num_train_epochs": 2, "lr_scheduler_type": "cosine"}
    whole = run(VaccineTrainer, VaccineConfig, tmp_path / "a", **settings)
    saved = {"save_strategy": "steps", "save_steps": 5}
    config = VaccineConfig(**arguments(tmp_path / "b", **settings, **saved))
    for resume in (None, str(tmp_path / "b" / "checkpoint-5")):
        model = lora(tiny_model("llama", layers=3, attention_dropout=0.1), lora_dropout=0.1)
        trainer = VaccineTrainer(model, config, train_dataset=rows(24), data_collator=collator())
        trainer.train(resume_from_checkpoint=resume)
        found = weights(trainer.model)
        assert all(torch.equal(whole[name], found[name]) for name in whole)


def test_hooks_are_gone_after_an_error(tmp_path):
    model = tiny_model("llama")
    trainer = trainer_of(model, tmp_path, rho=1.0)
    batch = collator()(rows(4))
    batch["labels"] = batch["labels"].float()  # no loss can be computed from these
    with pytest.raises(Exception):  # noqa: B017, PT011  whatever torch raises
        trainer.training_step(model, batch)
    assert all(not block._forward_hooks for block in attention_blocks(model))


def test_mistaken_settings_are_told(tmp_path):
    with pytest.raises(UserError, match="rho is -1"):
        VaccineConfig(**arguments(tmp_path, rho=-1))
    with pytest.raises(UserError, match="every is 0"):
        VaccineConfig(**arguments(tmp_path, every=0))


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path):
    model = tiny_model("llama")
    with torch.no_grad():
        model.model.layers[1].mlp.down_proj.weight[0, 0] = float("nan")
    with pytest.raises(UserError, match="the loss became nan at step 1 of 6"):
        run(SFTTrainer, SFTConfig, tmp_path, model=model)
