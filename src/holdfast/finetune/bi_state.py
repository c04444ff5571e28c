"""The rows of Lisa's two states: which come when."""

from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

from torch.utils.data import Sampler

from holdfast.finetune.schedule import State
from holdfast.trainer.order import epoch_order
from holdfast.trainer.streams import StreamedBatches, is_stream


class BiStateSampler(Sampler[list[int]]):
    """Batches of indices in the order of Lisa's schedule.

    Indices below ``user_rows`` are the user's rows, those from there on are alignment rows. Each
    state goes on where it left its own rows; nobody's batch is skipped while the other state runs,
    unless the user's are swapped out. The schedule ends after ``steps`` optimizer steps, or with
    the user's last batch. With a number of steps each of them is whole: of several batches the
    user's last step goes on with the rows of the next pass.

    Args:
        user_rows, alignment_rows: how many there are; None of a stream (see `BiStateStream`).
        batch_size: rows in a batch, of all processes together.
        batches_per_step: batches in one optimizer step, its micro-batches.
        state_at: the state of an optimizer step.
        seed: the seed of the order.
        user_batches: how many of the user's batches the schedule holds.
        steps: how many optimizer steps the schedule holds, if ``user_batches`` is not given.
        swapped: every batch is one of the user's, and in the alignment state one of alignment rows
            is given in its place.
    """

    drop_last = False

    def __init__(
        self,
        user_rows: int | None,
        alignment_rows: int | None,
        batch_size: int,
        batches_per_step: int,
        state_at: Callable[[int], State],
        seed: int,
        user_batches: int | None = None,
        steps: int | None = None,
        swapped: bool = False,
    ):
        self.swapped = swapped
        self.user_rows, self.alignment_rows = user_rows, alignment_rows
        self.batch_size, self.batches_per_step = batch_size, batches_per_step
        self.state_at, self.seed = state_at, seed
        self.user_batches, self.steps = user_batches, steps
        self.length = sum(size for _, size in self._schedule())

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[list[int]]:
        for state, indices in self.interleaved(self.order("user"), self.order("alignment")):
            # In the data set of both, the alignment rows come after the user's.
            offset = 0 if state == "user" else self.user_rows or 0
            yield [offset + index for index in indices]

    def interleaved(self, user: Iterator[Any], alignment: Iterator[Any]) -> Iterator[Any]:
        """Each batch of the schedule with its state, taken from those of the two states."""
        for state, size in self._schedule():
            for _ in range(size):
                if self.swapped and state == "alignment":
                    next(user)
                yield state, next(user if state == "user" else alignment)

    def order(self, state: State) -> Iterator[list[int]]:
        """The batches of indices of one state's rows, without end."""
        rows = self.user_rows if state == "user" else self.alignment_rows
        # Another seed, or equal sizes would put both sets in the same order.
        seed = self.seed if state == "user" else self.seed + 500_000
        for epoch in count():
            indices = epoch_order(rows or 0, seed, epoch)
            for start in range(0, len(indices), self.batch_size):
                yield indices[start : start + self.batch_size]

    def _schedule(self) -> Iterator[tuple[State, int]]:
        """The state and the number of batches of every optimizer step."""
        user_left = self.user_batches
        for step in count():
            if user_left == 0 or step == self.steps:
                return
            state, size = self.state_at(step), self.batches_per_step
            if (state == "user" or self.swapped) and user_left is not None:
                size = min(size, user_left)
                user_left -= size
            yield state, size


class BiStateStream:
    """The batches of a `BiStateSampler` as rows, where those of a state are a stream.

    A stream's rows come in its own order, again from the beginning when it ends; other rows are
    shuffled as the sampler does.

    Args:
        batches: the schedule.
        user: the user's rows.
        alignment: the alignment rows.
    """

    def __init__(self, batches: BiStateSampler, user: Any, alignment: Any):
        self.batches, self.user, self.alignment = batches, user, alignment

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[Any]]:
        found = self.batches.interleaved(
            self._rows(self.user, "user"), self._rows(self.alignment, "alignment")
        )
        return (batch for _, batch in found)

    def _rows(self, rows: Any, state: State) -> Iterator[list[Any]]:
        if is_stream(rows):
            return iter(StreamedBatches(rows, self.batches.batch_size))
        return ([rows[index] for index in indices] for indices in self.batches.order(state))
