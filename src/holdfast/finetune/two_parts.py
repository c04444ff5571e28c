"""A training in two parts, the second of which begins again on rows that the first one chose.

The first part goes through all rows. Then the trained weights are put back to what they were, the
optimizer is emptied, the learning rate's schedule begins again, and plain training of the chosen
rows follows. Both parts are steps of one run, so that a checkpoint may be in either, and have
whole batches: one goes on with the rows of the next pass, in the order of `SideRows`.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch.utils.data import DataLoader

from holdfast.errors import UserError
from holdfast.parallel import loader
from holdfast.trainer.kept import KeptMixin
from holdfast.trainer.one_pass import OnePassMixin
from holdfast.trainer.rows import some_of
from holdfast.trainer.side_batches import SideRows


class _Batches:
    """So many batches of numbers in the rows' endless order."""

    def __init__(self, rows: SideRows, batch_size: int, count: int):
        self.rows, self.batch_size, self.count = rows, batch_size, count

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[list[int]]:
        for start in range(0, self.count * self.batch_size, self.batch_size):
            yield self.rows.numbers(start, start + self.batch_size)


def _in_turn(first: int, early: Callable, late: Callable, step: int) -> float:
    """A learning rate's factor, by the schedule of the part that a step is in."""
    return early(step) if step < first else late(step - first)


class TwoPartsMixin(OnePassMixin, KeptMixin):
    """An `holdfast.SFTTrainer` with `SideBatchesMixin` and numbered rows, in two parts.

    Raises:
        UserError: there are less than two steps, or the schedule of the learning rate cannot begin
            again.
    """

    # What SFTTrainer and SideBatchesMixin provide.
    train_dataset: Any
    optimizer: Any
    lr_scheduler: Any
    data_seed: int
    side_batches: Callable[..., Any]
    _train_batch_size: int
    _get_num_items_in_batch: Callable[..., Any]

    _first: int | None = None
    _second_rows: SideRows | None = None

    def all_steps(self, group: int) -> int:
        """The steps of both parts, of so many rows each, without ``max_steps``."""
        raise NotImplementedError

    def first_steps(self, steps: int) -> int:
        """How many of all steps the first part has."""
        raise NotImplementedError

    def chosen(self) -> list[int]:
        """The numbers of the rows that the second part trains on; asked for in that part alone."""
        raise NotImplementedError

    def in_second_part(self) -> bool:
        """Whether the coming step is one of the second part."""
        return self._first is not None and self.state.global_step >= self._first

    def make_kept(self) -> dict[str, torch.Tensor]:
        """The start values of what trains."""
        return {name: w.detach().clone() for name, w in self.trainable_weights()}

    def get_train_dataloader(self) -> DataLoader:
        """All rows in whole batches, to the end of the run; the second part takes none of them."""
        if not self.is_one_pass():
            return super().get_train_dataloader()  # pyright: ignore[reportAttributeAccessIssue]
        size = self._train_batch_size * self.accelerator.num_processes
        split = self.args.gradient_accumulation_steps
        steps = self.args.max_steps if self.args.max_steps > 0 else self.all_steps(size * split)
        self._first, self._second_rows = self.first_steps(steps), None
        if not 0 < self._first < steps:
            name = type(self).__name__.removesuffix("Trainer")
            raise UserError(
                f"{name} chooses rows before it trains on them, and the run has too few steps for "
                f"both ({steps}): give more rows or epochs, or smaller batches."
            )
        rows = SideRows("train_dataset", self.train_dataset, self.data_seed)
        return loader(self, self.train_dataset, _Batches(rows, size, steps * split))

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """As transformers does, for each part anew."""
        first = self._first
        if first is None or self.lr_scheduler is not None:
            return super().create_scheduler(num_training_steps, optimizer)  # pyright: ignore[reportAttributeAccessIssue]
        rates = []
        for steps in (num_training_steps - first, first):
            self.lr_scheduler = None
            made: Any = super().create_scheduler(steps, optimizer)  # pyright: ignore[reportAttributeAccessIssue]
            if not isinstance(made, torch.optim.lr_scheduler.LambdaLR):
                raise UserError(
                    f"lr_scheduler_type is {self.args.lr_scheduler_type}, which cannot begin again "
                    "with the second part of the training: use linear, cosine or constant."
                )
            rates.append(made.lr_lambdas)
        made = self.lr_scheduler
        made.lr_lambdas = [
            partial(_in_turn, first, early, late) for late, early in zip(*rates, strict=True)
        ]
        return made

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> Any:
        """The micro-batches of the coming step; in the second part of the chosen rows."""
        found = super().get_batch_samples(*args, **kwargs)  # pyright: ignore[reportAttributeAccessIssue]
        if self._first is None or not self.in_second_part():
            return found
        step = self.state.global_step - self._first
        if step == 0:
            self._begin_again()
        if self._second_rows is None:
            rows = some_of(self.train_dataset.rows, self.chosen())
            self._second_rows = SideRows("train_dataset", rows, self.data_seed)
        seen = self.state.num_input_tokens_seen
        batches = self.side_batches(self._second_rows, step).batches
        self.state.num_input_tokens_seen = seen  # they are counted as they are trained on
        return batches, self._get_num_items_in_batch(batches, self.args.device)

    @torch.no_grad()
    def _begin_again(self) -> None:
        start = self.have_kept()
        for name, weight in self.trainable_weights():
            weight.copy_(start[name])
        self.optimizer.state.clear()
