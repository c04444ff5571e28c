"""Booster's gradient against a plain calculation, and what must not change it."""

import pytest
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
)
from steps import collator, relative_error, rows, step_gradients

from holdfast import UserError
from holdfast.align.booster import BoosterConfig, BoosterTrainer

EXTRA = {"harmful_dataset": SIDE}
ALL = (BoosterTrainer, BoosterConfig)
trainer_of = maker(*ALL, "harmful_dataset")


@pytest.mark.parametrize("padding", ["right", "left"])
@pytest.mark.parametrize("step", [0, 2])
def test_gradient_equals_a_plain_calculation(tmp_path, padding, step):
    aligned, _ = plain_gradient(model_of(), rows(4, seed=3))
    before, _ = plain_gradient(model_of(), of_group(step))
    shifted = moved(model_of(), before, -0.3 / norm_of(before))
    after, _ = plain_gradient(shifted, of_group(step))
    trainer = trainer_of(tmp_path, padding, lam=2.0, alpha=0.3)
    trainer.state.global_step = step
    found = step_gradients(trainer, [collator(padding)(rows(4, seed=3))])
    expected = {name: g + 2.0 * (before[name] - after[name]) for name, g in aligned.items()}
    assert relative_error(found, expected) < 1e-5
    assert relative_error(found, aligned) > 1e-2


def test_the_term_is_the_slope_of_the_fall_of_the_harmful_loss(tmp_path):
    """With the step's direction fixed, by a finite difference along the term itself."""
    trainer = trainer_of(tmp_path, alpha=0.3)
    batches = trainer.side_batches(trainer.harmful_rows, 0)
    here, _ = trainer.gradient(batches)
    step = {name: -0.3 * g / norm_of(here) for name, g in here.items()}

    def fall(delta, size):
        with trainer.shifted(delta, size):
            before = trainer.gradient(batches)[1]
            with trainer.shifted(step):
                return (before - trainer.gradient(batches)[1]).item()

    with trainer.shifted(step):
        there, _ = trainer.gradient(batches)
    term = {name: here[name] - there[name] for name in here}
    size = 1e-2 / norm_of(term)
    slope = (fall(term, size) - fall(term, -size)) / (2 * size)
    assert slope == pytest.approx(norm_of(term) ** 2, rel=0.03)


@pytest.mark.parametrize("neutral", [{"lam": 0.0}, {"alpha": 0.0}])
def test_without_strength_it_is_sft(tmp_path, neutral):
    assert_neutral(*ALL, tmp_path, EXTRA, **neutral)


def test_accumulation_equals_one_batch(tmp_path):
    assert_accumulates(*ALL, tmp_path, EXTRA)


def test_resumed_run_equals_one_without_interruption(tmp_path):
    assert_resumes(*ALL, tmp_path, EXTRA)


def test_what_cannot_be_done_is_told(tmp_path, monkeypatch):
    for name in ("lam", "alpha"):
        with pytest.raises(UserError, match=f"{name} is -1"):
            trainer_of(tmp_path, **{name: -1})
    divide_weights(monkeypatch)
    with pytest.raises(UserError, match="Booster takes gradients of whole weights, which FSDP2"):
        trainer_of(tmp_path)
