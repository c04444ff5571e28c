"""CTRAP's gradient against a plain calculation, and what must not change it."""

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
from holdfast.align.ctrap import CTRAPConfig, CTRAPTrainer

EXTRA = {"harmful_dataset": SIDE}
ALL = (CTRAPTrainer, CTRAPConfig)
trainer_of = maker(*ALL, "harmful_dataset")


@pytest.mark.parametrize("padding", ["right", "left"])
@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize(("token", "e"), [(None, 2), (17, 17)])
def test_gradient_equals_a_plain_calculation(tmp_path, padding, normalize, token, e):
    aligned, _ = plain_gradient(model_of(), rows(4, seed=3))
    harmful, _ = plain_gradient(model_of(), of_group(2))
    length = 0.2 / norm_of(harmful) if normalize else 0.2
    shifted = moved(model_of(), harmful, -length)
    collapse, _ = plain_gradient(shifted, of_group(2), lambda log_p, _: -log_p[:, e].sum())
    trainer = trainer_of(tmp_path, padding, lam=0.7, alpha=0.2, normalize=normalize, token=token)
    trainer.state.global_step = 2
    found = step_gradients(trainer, [collator(padding)(rows(4, seed=3))])
    expected = {name: g + 0.7 * collapse[name] for name, g in aligned.items()}
    assert relative_error(found, expected) < 1e-5
    assert relative_error(found, aligned) > 1e-2


def test_without_strength_it_is_sft(tmp_path):
    assert_neutral(*ALL, tmp_path, EXTRA, lam=0.0)


def test_accumulation_equals_one_batch(tmp_path):
    assert_accumulates(*ALL, tmp_path, EXTRA)


def test_resumed_run_equals_one_without_interruption(tmp_path):
    assert_resumes(*ALL, tmp_path, EXTRA)


def test_what_cannot_be_done_is_told(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="lam is -1"):
        trainer_of(tmp_path, lam=-1)
    with pytest.raises(UserError, match="token is 64, but the model knows 64 tokens"):
        trainer_of(tmp_path, token=64)
    model = model_of()
    model.config.eos_token_id = None
    with pytest.raises(UserError, match="has a token that ends a text: set token"):
        trainer_of(tmp_path, model=model)
    divide_weights(monkeypatch)
    with pytest.raises(UserError, match="CTRAP takes gradients of whole weights, which FSDP2"):
        trainer_of(tmp_path)
