"""VLGuard's loss against a plain calculation, and what must not change it."""

import pytest
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
from steps import collator, relative_error, rows, step_gradients

from holdfast import UserError
from holdfast.finetune.vlguard import VLGuardConfig, VLGuardTrainer

EXTRA = {"alignment_dataset": SIDE}
ALL = (VLGuardTrainer, VLGuardConfig)
trainer_of = maker(*ALL, "alignment_dataset")


@pytest.mark.parametrize("padding", ["right", "left"])
@pytest.mark.parametrize("step", [0, 2])
def test_gradient_is_the_weighted_sum_of_both(tmp_path, padding, step):
    user, aligned = (plain_gradient(model_of(), of)[0] for of in (rows(4, seed=3), of_group(step)))
    trainer = trainer_of(tmp_path, padding, lam=0.7)
    trainer.state.global_step = step
    found = step_gradients(trainer, [collator(padding)(rows(4, seed=3))])
    expected = {name: user[name] + 0.7 * aligned[name] for name in user}
    assert relative_error(found, expected) < 1e-5
    assert relative_error(found, user) > 1e-2


def test_without_weight_it_is_sft(tmp_path):
    assert_neutral(*ALL, tmp_path, EXTRA, lam=0.0)


def test_accumulation_equals_one_batch(tmp_path):
    assert_accumulates(*ALL, tmp_path, EXTRA, lam=2.0)


def test_resumed_run_equals_one_without_interruption(tmp_path):
    assert_resumes(*ALL, tmp_path, EXTRA)


def test_what_cannot_be_done_is_told(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="lam is -1"):
        trainer_of(tmp_path, lam=-1)
    with pytest.raises(UserError, match="data set is empty"):
        trainer_of(tmp_path, side=[])
    divide_weights(monkeypatch)
    with pytest.raises(UserError, match="VLGuard takes gradients of whole weights, which FSDP2"):
        trainer_of(tmp_path)
