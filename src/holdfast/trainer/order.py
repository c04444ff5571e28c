"""The order of the rows in every epoch, the same in any number of processes, and their parts."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.utils.data import Sampler


class EpochSampler(Sampler[int]):
    """The rows' indices in a random order that only the seed and the epoch decide.

    Args:
        size: how many rows there are.
        seed: of the order.
        rows: the rows, which are told the epoch too, where they differ from one to the next.
    """

    def __init__(self, size: int, seed: int, rows: Any = None):
        self.size = size
        self.seed = seed
        self.rows = rows
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order comes next."""
        self.epoch = epoch
        # accelerate tells either the sampler or the data set, and after a resume the sampler.
        if hasattr(self.rows, "set_epoch"):
            self.rows.set_epoch(epoch)

    def __iter__(self) -> Iterator[int]:
        return iter(epoch_order(self.size, self.seed, self.epoch))

    def __len__(self) -> int:
        return self.size


def epoch_order(size: int, seed: int, epoch: int) -> list[int]:
    """A permutation of ``range(size)`` for one epoch."""
    # Consecutive seeds must not share orders (seed 1's epoch 0 with seed 0's epoch 1).
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    return torch.randperm(size, generator=generator).tolist()


def part(items: Sequence[Any], processes: int, index: int) -> Sequence[Any]:
    """The part of process ``index``: consecutive items, as many as the others have or one more."""
    size, larger = divmod(len(items), processes)
    start = index * size + min(index, larger)
    return items[start : start + size + (index < larger)]
