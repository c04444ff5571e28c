"""Panacea's gradient and last perturbation against plain calculations, and what must not change."""

import pytest
import torch
from safetensors.torch import load_file
from side_runs import (
    SIDE,
    assert_accumulates,
    assert_neutral,
    assert_resumes,
    divide_weights,
    maker,
    model_of,
    moved,
    norm_of,
    of_group,
    plain_gradient,
    trained,
)
from steps import collator, relative_error, rows, step_gradients, weights
from transformers import TrainerCallback

from holdfast import UserError
from holdfast.finetune.panacea import PanaceaConfig, PanaceaTrainer

EXTRA = {"harmful_dataset": SIDE}
ALL = (PanaceaTrainer, PanaceaConfig)
trainer_of = maker(*ALL, "harmful_dataset")


def plain(step, rho, lam, weighs=True):
    """A step's gradient and ε at the first weights."""
    user, _ = plain_gradient(model_of(), rows(4, seed=3))
    here, _ = plain_gradient(model_of(), of_group(step))
    epsilon = {name: rho * g / norm_of(here) for name, g in here.items()}
    there, _ = plain_gradient(moved(model_of(), epsilon), of_group(step))
    return {n: user[n] - lam * (weighs * there[n] - here[n]) for n in user}, epsilon


@pytest.mark.parametrize("padding", ["right", "left"])
@pytest.mark.parametrize("step", [0, 2])
def test_gradient_equals_a_plain_calculation(tmp_path, padding, step):
    expected, epsilon = plain(step, 0.5, 0.3)
    trainer = trainer_of(tmp_path, padding, rho=0.5, lam=0.3)
    trainer.state.global_step = step
    found = step_gradients(trainer, [collator(padding)(rows(4, seed=3))])
    assert relative_error(found, expected) < 1e-5
    assert relative_error(trainer.epsilon, epsilon) < 1e-5
    assert relative_error(found, plain(step, 0.5, 0.0)[0]) > 1e-2


def test_a_harmful_loss_above_the_clamp_has_no_gradient(tmp_path):
    trainer = trainer_of(tmp_path, rho=0.5, lam=0.3, clamp=1e-3)
    found = step_gradients(trainer, [collator()(rows(4, seed=3))])
    assert relative_error(found, plain(0, 0.5, 0.3, weighs=False)[0]) < 1e-5


def test_the_last_steps_perturbation_is_added_at_the_end_and_not_saved_in_a_checkpoint(tmp_path):
    saved = {"save_strategy": "steps", "save_steps": 4, "rho": 0.5, "lam": 0.3}
    trainer = trained(*ALL, tmp_path, extra=EXTRA, **saved)
    assert trainer.state.global_step == 4
    checkpoint = tmp_path / "checkpoint-4"
    before = load_file(checkpoint / "adapter_model.safetensors")
    epsilon = load_file(checkpoint / "panacea.safetensors")
    assert norm_of(epsilon) == pytest.approx(0.5, rel=1e-5)
    after = weights(trainer.model)
    for name, weight in before.items():
        whole = name.replace(".weight", ".default.weight")
        torch.testing.assert_close(after[whole], weight + epsilon[whole])
    # On from its end there is no step, and the same ε.
    again = trained(*ALL, tmp_path, extra=EXTRA, resume=str(checkpoint), **saved)
    assert all(torch.equal(after[name], w) for name, w in weights(again.model).items())


def test_a_training_that_is_stopped_adds_nothing(tmp_path):
    trainer = trainer_of(tmp_path, rho=0.5, max_steps=2)
    trainer.epsilon = {name: torch.ones_like(w) for name, w in weights(trainer.model).items()}

    class Stop(TrainerCallback):
        def on_step_end(self, args, state, control, **_):
            control.should_training_stop = True

    trainer.add_callback(Stop())
    trainer.args.learning_rate = 0.0
    start = weights(trainer.model)
    trainer.train()
    assert trainer.state.global_step == 1
    assert all(torch.equal(start[name], w) for name, w in weights(trainer.model).items())


def test_without_strength_it_is_sft(tmp_path):
    assert_neutral(*ALL, tmp_path, EXTRA, rho=0.0)


def test_accumulation_equals_one_batch(tmp_path):
    assert_accumulates(*ALL, tmp_path, EXTRA, rho=0.3, lam=0.5)


def test_resumed_run_equals_one_without_interruption(tmp_path):
    assert_resumes(*ALL, tmp_path, EXTRA)


def test_what_cannot_be_done_is_told(tmp_path, monkeypatch):
    for name, value in {"rho": -1, "lam": -1, "clamp": 0}.items():
        with pytest.raises(UserError, match=f"{name} is {value}"):
            trainer_of(tmp_path, **{name: value})
    divide_weights(monkeypatch)
    with pytest.raises(UserError, match="Panacea takes gradients of whole weights, which FSDP2"):
        trainer_of(tmp_path)
