"""How much a trial attack makes a model forget each of its rows.

The model trains a few steps on harmful rows, with an optimizer of its own (AdamW), and its weights
come back bit for bit; so do the random numbers, so that a training goes on as if nothing had been
tried. What a row is forgotten by is the rise of its mean loss: no answer is generated or judged.
"""

from typing import Any

import torch
from torch import Tensor

from holdfast.labelled import row_losses
from holdfast.models.modes import evaluation_mode
from holdfast.models.padding import refuse_left_padding
from holdfast.models.random_state import RandomState
from holdfast.trainer.side_batches import SideRows


def forgetting(trainer: Any, harmful: SideRows, steps: int, learning_rate: float) -> Tensor:
    """By how much the mean loss of each row of ``train_dataset`` rises in a trial attack, [rows].

    Args:
        trainer: a trainer of `holdfast.trainer.side_batches.SideBatchesMixin`; in every process.
        harmful: what the attack trains on, one group of the training's batch in each step.
        steps: of the attack.
        learning_rate: of the attack.
    """
    state = RandomState(trainer.args.device)
    torch.manual_seed(trainer.args.seed + 1_000_003 * trainer.accelerator.process_index)
    before = _losses(trainer)
    weights = {name: w.detach().clone() for name, w in trainer.trainable_weights()}
    attacker = torch.optim.AdamW(weights.values(), lr=learning_rate)
    with trainer.replaced(weights):
        for number in range(steps):
            found, _ = trainer.gradient(trainer.side_batches(harmful, number))
            for name, gradient in found.items():
                weights[name].grad = gradient
            attacker.step()  # in place: the model has these weights
        after = _losses(trainer)
    state.restore()
    return after - before


def two_groups(rise: Tensor, share: float) -> list[list[int]]:
    """The numbers of the other rows and of the share that is forgotten most; neither is empty."""
    count = min(max(1, round(share * len(rise))), len(rise) - 1)
    order = rise.argsort(descending=True, stable=True).tolist()
    return [sorted(order[count:]), sorted(order[:count])]


@torch.no_grad()
def _losses(trainer: Any) -> Tensor:
    """The mean loss of each row's answer, without dropout, in every process the same."""
    rows, accelerator = trainer.train_dataset, trainer.accelerator
    collate = trainer._get_collator_with_removed_columns(trainer.data_collator, "train_dataset")
    found = torch.zeros(len(rows), device=trainer.args.device)
    size = trainer._train_batch_size
    mine = range(accelerator.process_index * size, len(rows), accelerator.num_processes * size)
    with evaluation_mode(trainer.model), trainer.compute_loss_context_manager():
        for start in mine:
            numbers = range(start, min(start + size, len(rows)))
            batch = trainer._prepare_inputs(collate([rows[number] for number in numbers]))
            refuse_left_padding(trainer.model, batch.get("attention_mask"))
            found[numbers.start : numbers.stop] = row_losses(trainer.model, batch).to(found)
    return accelerator.reduce(found, "sum")
