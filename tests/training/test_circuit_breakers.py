"""Circuit breakers' steps against a plain calculation, and what must not change them."""

import copy

import pytest
import torch
from steps import arguments, collator, relative_error, rows, step_gradients, weights

from holdfast import (
    CircuitBreakersConfig,
    CircuitBreakersTrainer,
    SFTConfig,
    SFTTrainer,
    UserError,
)
from tiny_models import lora, tiny_model

SAFE, HARMFUL = rows(4), rows(9, seed=3)
# Two steps on all rows, so that the order within a batch says nothing; at the first nothing has
# moved, so the harmful cosine is 1 and nothing is retained.
TWO = {"optim": "sgd", "learning_rate": 0.3, "max_steps": 2, "num_train_epochs": 2}


def cross_entropy(logits, batch):
    log_p = logits[:, :-1].log_softmax(-1)
    targets = batch["labels"][:, 1:]
    picked = log_p.gather(-1, targets.clamp(min=0).unsqueeze(-1)).squeeze(-1)
    return -(picked * (targets != -100)).sum() / (targets != -100).sum()


def states(model, batch):
    """Each layer's output and the logits: wrappers around the layers' forwards, no hooks."""
    base = model.get_base_model() if hasattr(model, "peft_config") else model
    found = []
    for layer in base.model.layers:
        layer.forward = (
            lambda forward: lambda *a, **k: (found.append(forward(*a, **k)), found[-1])[1]
        )(layer.forward)
    logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    for layer in base.model.layers:
        del layer.forward
    return found, logits


def plain(model, groups, alpha, gamma, layers):
    """Two steps of gradient descent by hand."""
    start = copy.deepcopy(model)
    safe = collator()(SAFE)
    for step, group in enumerate(groups):
        model.zero_grad()
        harmful = collator()([HARMFUL[i] for i in group])
        with torch.no_grad():
            before_safe, before_harmful = states(start, safe)[0], states(start, harmful)[0]
        (now_safe, logits), (now_harmful, _) = states(model, safe), states(model, harmful)
        retained, real = 0.0, safe["attention_mask"]
        for now, before in zip(now_safe, before_safe, strict=True):
            distance = ((now - before) ** 2).sum(-1)
            distance = torch.where(distance > 0, distance, torch.ones_like(distance)).sqrt() * (
                distance > 0
            )
            retained = retained + (distance * real).sum() / real.sum() / len(now_safe)
        rerouted, answers = 0.0, harmful["labels"] != -100
        for layer in layers:
            now, before = now_harmful[layer - 1], before_harmful[layer - 1]
            cosine = (now * before).sum(-1) / now.norm(dim=-1) / before.norm(dim=-1)
            rerouted = rerouted + cosine.clamp(min=0)[answers].mean() / len(layers)
        loss = gamma * cross_entropy(logits, safe)
        loss = loss + alpha * (1 - step / 4) * rerouted + alpha * step / 4 * retained
        loss.backward()
        with torch.no_grad():
            for weight in model.parameters():
                if weight.grad is not None:
                    weight -= 0.3 * weight.grad
    return weights(model)


def trainer_of(model, folder, side="right", **settings):
    return CircuitBreakersTrainer(
        model,
        CircuitBreakersConfig(**arguments(folder, **settings)),
        train_dataset=SAFE,
        harmful_dataset=HARMFUL,
        data_collator=collator(side),
    )


def made(adapter):
    model = tiny_model("llama", layers=3)
    if adapter == "fresh":
        return lora(model)
    return lora(model, init_lora_weights=False) if adapter == "trained" else model


@pytest.mark.parametrize(
    ("adapter", "side", "split", "gamma"),
    [
        ("fresh", "right", 1, 0.7),
        ("trained", "left", 1, 0.7),
        ("full", "right", 1, 0.7),
        ("trained", "right", 4, 0.7),
    ],
)
def test_two_steps_equal_a_plain_calculation(tmp_path, adapter, side, split, gamma):
    model = made(adapter)
    settings = {"alpha": 2.0, "gamma": gamma, "target_layers": [1, 3], **TWO}
    settings |= {"per_device_train_batch_size": 4 // split, "gradient_accumulation_steps": split}
    if split > 1:
        settings["activation_checkpointing"] = True
    trainer = trainer_of(model, tmp_path, side, **settings)
    groups = [trainer.harmful_rows.numbers(4 * step, 4 * step + 4) for step in (0, 1)]
    before = weights(model)
    expected = plain(copy.deepcopy(model), groups, 2.0, gamma, [1, 3])
    trainer.train()
    found = weights(model)

    def moved(after):
        return {name: after[name] - before[name] for name in before}

    assert relative_error(moved(found), moved(expected)) < 1e-5
    other = plain(copy.deepcopy(made(adapter)), groups, 1.0, gamma, [1, 3])
    assert relative_error(moved(other), moved(expected)) > 1e-2


def test_states_turned_beyond_a_right_angle_are_left_there(tmp_path):
    trainer = trainer_of(made("trained"), tmp_path)
    batch, starts = collator()(HARMFUL[:4]), trainer._start_states
    assert float(trainer._rerouting_loss(batch)) == pytest.approx(1)
    trainer._start_states = lambda *args: [-state for state in starts(*args)]
    assert float(trainer._rerouting_loss(batch)) == 0


def retained(folder, batches, counts_items=True):
    """The gradients of a later step without the cross-entropy, the weights moved."""
    trainer = trainer_of(made("trained"), folder, gamma=0.0, max_steps=2)
    trainer.have_kept()
    trainer.state.global_step, trainer.state.max_steps = 1, 2
    trainer.model_accepts_loss_kwargs = counts_items
    with torch.no_grad():
        for weight in weights(trainer.model):
            trainer.model.get_parameter(weight).mul_(1.3)
    return step_gradients(trainer, batches)


def test_what_is_retained_is_a_mean_over_the_steps_tokens_whatever_loss_a_model_has(tmp_path):
    """One that is not told the step's tokens has means over micro-batches, which are averaged; and
    a row without a loss, with which batches are filled up, does not count."""
    whole = retained(tmp_path, [collator()(SAFE)])
    split = [collator()([row]) for row in SAFE]
    for counts_items in (True, False):
        assert relative_error(retained(tmp_path, split, counts_items), whole) < 1e-5
    mute = {**HARMFUL[0], "labels": [-100] * len(HARMFUL[0]["labels"])}
    assert relative_error(retained(tmp_path, [collator()([*SAFE, mute])]), whole) < 1e-5


def run(trainer_class, config_class, folder, resume=None, extra=None, **settings):
    model = lora(tiny_model("llama", attention_dropout=0.1), lora_dropout=0.1)
    config = config_class(**arguments(folder, **settings))
    trainer = trainer_class(
        model, config, train_dataset=rows(12), data_collator=collator(), **(extra or {})
    )
    trainer.train(resume_from_checkpoint=resume)
    return weights(trainer.model)


def test_strength_zero_is_sft_bit_for_bit_with_dropout(tmp_path):
    settings = {"num_train_epochs": 2, "gradient_accumulation_steps": 2}
    mine = (CircuitBreakersTrainer, CircuitBreakersConfig, tmp_path)
    extra = {"extra": {"harmful_dataset": HARMFUL}, "gamma": 1.0}
    sft = run(SFTTrainer, SFTConfig, tmp_path, **settings)
    none = run(*mine, alpha=0.0, **extra, **settings)
    assert all(torch.equal(sft[name], none[name]) for name in sft)
    some = run(*mine, alpha=0.1, **extra, **settings)
    assert not all(torch.equal(sft[name], some[name]) for name in sft)


def test_resumed_run_equals_one_without_interruption(tmp_path):
    settings = {"alpha": 1.0, "num_train_epochs": 2, "lr_scheduler_type": "cosine"}
    settings |= {"extra": {"harmful_dataset": HARMFUL}}
    whole = run(CircuitBreakersTrainer, CircuitBreakersConfig, tmp_path / "a", **settings)
    settings |= {"save_strategy": "steps", "save_steps": 2}
    for resume in (None, str(tmp_path / "b" / "checkpoint-2")):
        mine = (CircuitBreakersTrainer, CircuitBreakersConfig, tmp_path / "b", resume)
        found = run(*mine, **settings)
        assert all(torch.equal(whole[name], found[name]) for name in whole)


def test_the_schedule_turns_from_rerouting_to_retaining(tmp_path):
    trainer = trainer_of(made("fresh"), tmp_path, alpha=8.0)
    trainer.state.max_steps = 10
    found = []
    for step in (0, 5, 10):
        trainer.state.global_step = step
        found.append(trainer.coefficients())
    assert found == [(8.0, 0.0), (6.0, 2.0), (4.0, 4.0)]


def test_layers_are_as_far_up_as_the_papers_and_mistakes_one_sentence(tmp_path):
    found = {}
    for count in (2, 3, 8, 32):
        model = lora(tiny_model("llama", layers=count, seed=1))
        found[count] = trainer_of(model, tmp_path).target_layers
    assert found == {2: [1], 3: [1, 2], 8: [2, 5], 32: [10, 20]}
    with pytest.raises(UserError, match=r"target_layers is \[4\], and the model has layers 1 to 3"):
        trainer_of(made("fresh"), tmp_path, target_layers=[4])
    with pytest.raises(UserError, match="alpha and gamma are 0"):
        CircuitBreakersConfig(**arguments(tmp_path, alpha=0.0))
