"""Rows that keep their number in a batch, for what is known of each row beside its tokens."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.utils.data import Dataset

ROW_NUMBER = "holdfast_row"


class Numbered(Dataset):
    """Rows of a data set that can be counted, each with its number."""

    def __init__(self, rows: Any):
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Any:
        return {**self.rows[index], ROW_NUMBER: index}


def numbering(collate: Callable) -> Callable:
    """The collator, whose batches have the rows' numbers, [rows], beside what it gives.

    Args:
        collate: the collator, which sees the rows as they were before they were numbered.
    """

    def collated(rows: Sequence[Any]) -> Any:
        numbers = [row[ROW_NUMBER] for row in rows if ROW_NUMBER in row]
        batch = collate([{k: v for k, v in row.items() if k != ROW_NUMBER} for row in rows])
        return {**batch, ROW_NUMBER: torch.tensor(numbers)} if numbers else batch

    return collated
