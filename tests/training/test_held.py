"""What KL and LDIFS share: their term is the whole step's, however the step is split."""

import pytest
import torch
from side_runs import model_of
from steps import arguments, collator, relative_error, rows, step_gradients

from holdfast import KLConfig, KLTrainer, LDIFSConfig, LDIFSTrainer

USER = rows(4, seed=3)


def term(trainer, strength, size):
    """The term's own gradient, of batches of so many rows, away from the start."""
    found = []
    for value in (5.0, 0.0):
        setattr(trainer.args, strength, value)
        parts = [collator()(USER[i : i + size]) for i in range(0, 4, size)]
        found.append(step_gradients(trainer, parts))
    return {name: found[0][name] - found[1][name] for name in found[0]}


@pytest.mark.parametrize("counts_items", [True, False])
@pytest.mark.parametrize(
    ("trainer_class", "config", "strength"),
    [(KLTrainer, KLConfig, "strength"), (LDIFSTrainer, LDIFSConfig, "rho")],
)
def test_the_term_is_the_whole_steps(tmp_path, trainer_class, config, strength, counts_items):
    """Also of a model that takes no number of tokens, whose loss is a mean of each batch."""
    trainer = trainer_class(model_of(), config(**arguments(tmp_path)), collator(), rows(8))
    trainer.model_accepts_loss_kwargs = counts_items
    trainer.have_kept()  # as the training begins
    with torch.no_grad():
        for weight in trainer.model.parameters():
            if weight.requires_grad:
                weight += 0.1 * torch.randn(weight.shape)
    whole = term(trainer, strength, 4)
    assert all(float(gradient.norm()) > 0 for gradient in whole.values())
    assert relative_error(term(trainer, strength, 1), whole) < 1e-3
