"""SafeGrad's gradient against a plain calculation, and what must not change it."""

import pytest
import torch
from side_runs import (
    SIDE,
    assert_accumulates,
    assert_resumes,
    divide_weights,
    maker,
    model_of,
    moved,
    of_group,
    plain_gradient,
    trained,
)
from steps import collator, relative_error, rows, step_gradients, weights

from holdfast import UserError
from holdfast.finetune.safegrad import SafeGradConfig, SafeGradTrainer

EXTRA = {"alignment_dataset": SIDE}
ALL = (SafeGradTrainer, SafeGradConfig)
USER = rows(4, seed=3)
trainer_of = maker(*ALL, "alignment_dataset")


def drifted():
    """A change of the weights, so that the model is no longer its own reference."""
    generator = torch.Generator().manual_seed(4)
    return {
        name: torch.randn(w.shape, generator=generator) / 10
        for name, w in weights(model_of()).items()
    }


def plain_divergence(some):
    """∇ and value of the mean KL(p_0 ‖ p_w) at the drifted weights, one row after the other."""
    reference = model_of()
    ids = iter(some)

    def loss_of(log_p, _):
        row = next(ids)
        with torch.no_grad():
            logits = reference(torch.tensor([row["input_ids"]])).logits[0, :-1]
        p0 = logits[torch.tensor(row["labels"][1:]) != -100].softmax(-1)
        return (p0 * (p0.log() - log_p)).sum()

    return plain_gradient(moved(model_of(), drifted()), some, loss_of)[0]


def flat(of):
    return torch.cat([of[name].flatten() for name in sorted(of)]).double()


def expected_of(user, aligned, rho):
    product, squared = flat(user) @ flat(aligned), flat(aligned) @ flat(aligned)
    out = product / squared if product < 0 else 0.0
    return {n: g + float(rho - out) * aligned[n] for n, g in user.items()}, float(product)


def found_at_the_drifted_weights(folder, padding="right", side=SIDE, step=2, **settings):
    trainer = trainer_of(folder, padding, side, **settings)
    trainer.have_kept()  # as the training begins
    moved(trainer.model, drifted())
    trainer.state.global_step = step
    return step_gradients(trainer, [collator(padding)(USER)])


@pytest.mark.parametrize("padding", ["right", "left"])
@pytest.mark.parametrize("rho", [0.0, 0.7])
def test_gradient_equals_a_plain_calculation(tmp_path, padding, rho):
    user, _ = plain_gradient(moved(model_of(), drifted()), USER)
    aligned = plain_divergence(of_group(2))
    expected, _ = expected_of(user, aligned, rho)
    found = found_at_the_drifted_weights(tmp_path, padding, rho=rho)
    assert relative_error(found, expected) < 1e-5


def test_only_what_works_against_the_alignment_is_taken_out(tmp_path):
    """Rows that learn the opposite of the user's conflict with them; the same rows do not."""
    start = moved(model_of(), drifted())
    user, _ = plain_gradient(start, USER)
    conflicts = []
    for seed in range(6):
        side = rows(4, seed=seed)
        aligned, _ = plain_gradient(moved(model_of(), drifted()), of_group(2, side=side))
        expected, product = expected_of(user, aligned, 0.0)
        conflicts.append(product < 0)
        found = found_at_the_drifted_weights(tmp_path, side=side, rho=0.0, alignment_loss="sft")
        assert relative_error(found, expected) < 1e-5
        if product < 0:
            assert (
                abs(flat(found) @ flat(aligned)) < 1e-5 * flat(found).norm() * flat(aligned).norm()
            )
        else:
            assert relative_error(found, user) < 1e-5
    assert any(conflicts)
    assert not all(conflicts)


def test_where_both_models_are_one_the_users_gradient_is_left_alone(tmp_path):
    trainer = trainer_of(tmp_path, rho=1.0)
    found = step_gradients(trainer, [collator()(USER)])
    assert relative_error(found, plain_gradient(model_of(), USER)[0]) < 1e-5


def test_accumulation_equals_one_batch(tmp_path):
    assert_accumulates(*ALL, tmp_path, EXTRA)


@pytest.mark.parametrize("loss", ["kl", "sft"])
def test_resumed_run_equals_one_without_interruption(tmp_path, loss):
    assert_resumes(*ALL, tmp_path, EXTRA, alignment_loss=loss)


def test_the_two_losses_and_strengths_differ(tmp_path):
    ends = [
        weights(trained(*ALL, tmp_path, extra=EXTRA, **own).model)
        for own in ({}, {"rho": 0.0}, {"alignment_loss": "sft"})
    ]
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert relative_error(ends[a], ends[b]) > 1e-4


def test_what_cannot_be_done_is_told(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="rho is -1"):
        trainer_of(tmp_path, rho=-1)
    with pytest.raises(UserError, match='alignment_loss is "mse"'):
        trainer_of(tmp_path, alignment_loss="mse")
    divide_weights(monkeypatch)
    with pytest.raises(UserError, match="SafeGrad takes gradients of whole weights, which FSDP2"):
        trainer_of(tmp_path)
