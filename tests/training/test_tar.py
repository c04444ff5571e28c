"""TAR's meta gradient against a plain calculation, and what must not change it."""

import math

import pytest
import torch
from side_runs import (
    SIDE,
    assert_accumulates,
    assert_neutral,
    assert_resumes,
    divide_weights,
    maker,
    model_of,
    of_group,
    plain_gradient,
)
from steps import collator, relative_error, rows, step_gradients, weights

from holdfast import UserError
from holdfast.align.tar import TARConfig, TARTrainer

EXTRA = {"harmful_dataset": SIDE}
ALL = (TARTrainer, TARConfig)
ATTACK = {"attack_steps": 3, "tamper_every": 2, "attack_learning_rate": 0.02}
SHORT = {**ATTACK, "lam": 0.5}
trainer_of = maker(*ALL, "harmful_dataset", **SHORT)


def plain_meta_gradient(step, attack_steps, every, rate, schedule):
    """The attacker's Adam with decoupled decay by hand, and the entropies' gradients on its way."""
    model = model_of()
    trained = {n: w for n, w in model.named_parameters() if w.requires_grad}
    first = {n: torch.zeros_like(w) for n, w in trained.items()}
    second = {n: torch.zeros_like(w) for n, w in trained.items()}
    total = {n: torch.zeros_like(w) for n, w in trained.items()}
    for i in range(1, attack_steps + 1):
        group = of_group(step * attack_steps + i - 1, side=SIDE[:8])
        g, _ = plain_gradient(model, group)
        with torch.no_grad():
            for name, w in trained.items():
                first[name] = 0.9 * first[name] + 0.1 * g[name]
                second[name] = 0.999 * second[name] + 0.001 * g[name] ** 2
                m, v = first[name] / (1 - 0.9**i), second[name] / (1 - 0.999**i)
                w.mul_(1 - rate * 0.01).sub_(rate * m / (v.sqrt() + 1e-8))
        if i % every == 0:
            held_out = of_group(step, side=SIDE[8:], nth=1)
            tamper, _ = plain_gradient(
                model, held_out, lambda log_p, _: (log_p.exp() * log_p).sum()
            )
            for name, t in tamper.items():
                total[name] += math.exp(schedule * (i - attack_steps)) * t
    return total


@pytest.mark.parametrize("padding", ["right", "left"])
@pytest.mark.parametrize(
    ("step", "steps", "every", "schedule"), [(0, 1, 1, 0.0), (0, 3, 2, 0.0625), (2, 4, 2, 0.5)]
)
def test_gradient_equals_a_plain_calculation(tmp_path, padding, step, steps, every, schedule):
    retained, _ = plain_gradient(model_of(), rows(4, seed=3))
    meta = plain_meta_gradient(step, steps, every, 0.02, schedule)
    trainer = trainer_of(
        tmp_path, padding, attack_steps=steps, tamper_every=every, schedule=schedule
    )
    trainer.state.global_step = step
    start = weights(trainer.model)
    found = step_gradients(trainer, [collator(padding)(rows(4, seed=3))])
    expected = {name: g + 0.5 * meta[name] for name, g in retained.items()}
    assert relative_error(found, expected) < 1e-5
    # It is the step's gradient (a known port of TAR loses it), and the attack leaves no trace.
    assert relative_error(found, retained) > 1e-2
    assert all(torch.equal(start[name], w) for name, w in weights(trainer.model).items())


def test_training_makes_the_attacked_model_know_less(tmp_path):
    """After some steps the attacker's end has a higher entropy than without TAR."""
    ends = []
    for lam in (0.0, 2.0):
        trainer = trainer_of(tmp_path, lam=lam, num_train_epochs=6)
        trainer.train()
        entropies = []
        tamper = trainer.tamper
        trainer.tamper = lambda inputs, of=tamper, kept=entropies: _kept(of(inputs), kept)
        trainer.meta_gradient(0)
        ends.append(-entropies[-1])
    assert ends[1] > ends[0] + 0.1


def _kept(loss, kept):
    kept.append(loss.item())
    return loss


def test_without_strength_it_is_sft(tmp_path):
    assert_neutral(*ALL, tmp_path, EXTRA, **ATTACK, lam=0.0)


def test_accumulation_equals_one_batch(tmp_path):
    assert_accumulates(*ALL, tmp_path, EXTRA, **SHORT)


def test_resumed_run_equals_one_without_interruption(tmp_path):
    assert_resumes(*ALL, tmp_path, EXTRA, **SHORT)


def test_what_cannot_be_done_is_told(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="attack_steps is 0"):
        trainer_of(tmp_path, attack_steps=0)
    with pytest.raises(UserError, match="tamper_every is 4, but the attacker takes 3 steps"):
        trainer_of(tmp_path, tamper_every=4)
    with pytest.raises(UserError, match="harmful_dataset has one row"):
        trainer_of(tmp_path, side=SIDE[:1])
    divide_weights(monkeypatch)
    with pytest.raises(UserError, match="TAR takes gradients of whole weights, which FSDP2"):
        trainer_of(tmp_path)
