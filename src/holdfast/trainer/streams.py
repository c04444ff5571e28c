"""Data sets that are read from their beginning only (streams), as batches of one process.

A batch of all P processes is the next P·b rows of the stream; each process reads all of them and
takes its part, so that a step is the same whatever P is. A stream that has no length is read again
from its beginning when it ends, until the training has made its ``max_steps``.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import count, islice
from typing import Any

from torch.utils.data import IterableDataset
from transformers.trainer_utils import has_length

from holdfast.errors import UserError


def is_stream(rows: Any) -> bool:
    """Whether rows cannot be asked for by their number."""
    return isinstance(rows, IterableDataset) or not hasattr(rows, "__getitem__")


class PreparedStream(IterableDataset):
    """A stream whose rows are prepared as they are read.

    Args:
        rows: the stream.
        prepare: makes of an iterable of rows one of prepared rows, one after the other.
    """

    def __init__(self, rows: Any, prepare: Callable[[Iterable[Any]], Iterator[Any]]):
        self.rows, self.prepare = rows, prepare

    def __iter__(self) -> Iterator[Any]:
        return self.prepare(self.rows)

    def __len__(self) -> int:
        return len(self.rows)  # a TypeError where it has none, as transformers expects

    def set_epoch(self, epoch: int) -> None:
        """Choose the pass whose order comes next, where the stream has any."""
        if hasattr(self.rows, "set_epoch"):
            self.rows.set_epoch(epoch)


class StreamedBatches:
    """Batches of all processes together, each the next ``size`` rows of a stream.

    Args:
        rows: the stream.
        size: how many rows a batch has; the last of a pass may have fewer.
        drop_last: leaves such a smaller one out.
        endless: reads the stream again when it ends.
    """

    def __init__(self, rows: Any, size: int, drop_last: bool = False, endless: bool = True):
        self.rows, self.size, self.drop_last, self.endless = rows, size, drop_last, endless

    def __len__(self) -> int:
        rows = len(self.rows)
        return rows // self.size if self.drop_last else -(-rows // self.size)

    def __iter__(self) -> Iterator[list[Any]]:
        for number in count():
            if self.endless and hasattr(self.rows, "set_epoch"):
                self.rows.set_epoch(number)
            found, rows = False, iter(self.rows)
            while batch := list(islice(rows, self.size)):
                if len(batch) == self.size or not self.drop_last:
                    found = True
                    yield batch
            if not self.endless:
                return
            if not found:
                again = " a second time" if number else ""
                raise UserError(f"the streaming data set gives no batch of rows{again}.")

    def set_epoch(self, epoch: int) -> None:
        """Choose the pass that comes next, of a stream with a length."""
        if not self.endless and hasattr(self.rows, "set_epoch"):
            self.rows.set_epoch(epoch)


class ProcessBatches(IterableDataset):
    """One process's part of every batch; an item is a list of rows.

    Args:
        batches: the batches of all processes together, the same in each of them.
        part: gives a process's part of a batch, at least one row.
        rows: how many rows they hold, None if nobody knows.
    """

    def __init__(
        self,
        batches: Any,
        part: Callable[[Sequence[Any]], Sequence[Any]],
        rows: int | None = None,
    ):
        self.batches, self.part, self.total_length = batches, part, rows

    def __iter__(self) -> Iterator[list[Any]]:
        return (list(self.part(batch)) for batch in self.batches)

    def __len__(self) -> int:
        return len(self.batches)

    def set_epoch(self, epoch: int) -> None:
        """Choose the pass that comes next."""
        if hasattr(self.batches, "set_epoch"):
            self.batches.set_epoch(epoch)


def length(rows: Any) -> int | None:
    """How many rows there are, None if nobody knows."""
    return len(rows) if has_length(rows) else None
