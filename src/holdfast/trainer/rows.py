"""The rows of a training as token rows, whatever they are given as."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

from transformers import PreTrainedTokenizerBase

from holdfast.data.chat_templates import TrainOn
from holdfast.data.rows import tokenize_rows, tokenized
from holdfast.data.tool_calls import unfilled
from holdfast.errors import UserError
from holdfast.trainer.streams import PreparedStream, is_stream, length

TOKENIZED = ("input_ids", "attention_mask", "labels")


def prepare_rows(
    rows: Any,
    tokenizer: PreTrainedTokenizerBase | None,
    max_length: int,
    drop_cut: bool = False,
    train_on: TrainOn = "all",
) -> Any:
    """Tokenize rows; rows that are tokenized already come back as they are.

    Of a stream each row is tokenized as it is read; of the first it is seen whether they are.

    Raises:
        UserError: no rows, no tokenizer for rows that need one, or a row that is no training row.
    """
    if length(rows) == 0:
        raise UserError("the data set is empty: it needs at least one row.")
    of_arrow = "arguments" in str(getattr(rows, "features", None))
    if is_stream(rows):
        return PreparedStream(
            rows,
            lambda some: _as_read(
                map(unfilled, some) if of_arrow else some, tokenizer, max_length, drop_cut, train_on
            ),
        )
    if "input_ids" in rows[0]:
        return rows
    rows = [unfilled(row) for row in rows] if of_arrow else rows
    return tokenize_rows(rows, _needed(tokenizer), max_length, drop_cut=drop_cut, train_on=train_on)


def changed(rows: Any, change: Callable[[Any], Any]) -> Any:
    """Rows that are not tokenized yet, each changed; those of a stream as they are read.

    Raises:
        UserError: what ``change`` raises, with the row's number from 1.
    """

    def each(some: Iterable[Any]) -> Iterator[Any]:
        for number, row in enumerate(some, start=1):
            try:
                yield change(unfilled(row) if of_arrow else row)
            except UserError as error:
                raise UserError(f"row {number}: {error}") from None

    of_arrow = "arguments" in str(getattr(rows, "features", None))
    if rows is None:
        return None
    return PreparedStream(rows, each) if is_stream(rows) else list(each(rows))


def some_of(rows: Any, numbers: Sequence[int]) -> Any:
    """Some rows by their numbers; of a `datasets.Dataset` one that knows its columns."""
    return rows.select(numbers) if hasattr(rows, "select") else [rows[n] for n in numbers]


def _as_read(
    rows: Iterable[Any],
    tokenizer: PreTrainedTokenizerBase | None,
    max_length: int,
    drop_cut: bool,
    train_on: TrainOn,
) -> Iterator[Any]:
    """The prepared rows of a stream, each as it is read."""
    rows = iter(rows)
    for first in rows:
        if "input_ids" in first:
            yield first
            yield from rows
        else:
            read = chain([first], rows)
            yield from tokenized(read, _needed(tokenizer), max_length, "", drop_cut, train_on)


def _needed(tokenizer: PreTrainedTokenizerBase | None) -> PreTrainedTokenizerBase:
    if tokenizer is None:
        raise UserError(
            "the rows are text and there is no tokenizer: pass processing_class, or rows with "
            f"{', '.join(TOKENIZED)}."
        )
    return tokenizer
