"""A known data set's part, cut from the rows of a split."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice, repeat

from holdfast.data.keys import row_key
from holdfast.data.sources.base import Part, Row, Source
from holdfast.errors import UserError

# Gives the rows of a split of one of a source's origins.
Reader = Callable[[str, str], Iterable[Row]]


@dataclass(frozen=True)
class Cut:
    """A part's rows, and how many were left out of it, by reason."""

    rows: list[Row]
    left_out: dict[str, int]


def cut(source: Source, name: str, read: Reader) -> Cut:
    """Return a part's rows, normalised, with an `id`: source/split/number in the split, from 0.

    Args:
        source: The data set.
        name: The part's name.
        read: Gives the rows of a split, for (origin, split).

    Raises:
        UserError: The columns have changed, or a row is not as it should be; with its number.
    """
    part = source.parts[name]
    without = {row_key(row) for other in part.apart_from for row in cut(source, other, read).rows}
    rows: list[Row] = []
    left_out: dict[str, int] = {}
    for row in islice(_normalised(source, part, read), part.start, part.stop):
        if row is None:
            reason = "no usable answer"
        elif without and row_key(row) in without:
            reason = f"also in {' or '.join(part.apart_from)}"
        else:
            rows.append(row)
            continue
        left_out[reason] = left_out.get(reason, 0) + 1
    return Cut(rows, left_out)


def _normalised(source: Source, part: Part, read: Reader) -> Iterator[Row | None]:
    """The kept rows of a split; None for one that must be left out but counts in the order."""
    columns = source.origins[part.origin].columns
    place = f"{source.name}, split {part.split}"
    rows = read(part.origin, part.split)
    belongs: Iterable[bool] = repeat(True)
    if part.belongs:
        rows = list(rows)
        _check_columns(rows, columns, place)
        try:
            belongs = part.belongs(rows)
        except UserError as error:
            raise UserError(f"{place}: {error}") from None
    for number, (row, is_in) in enumerate(zip(rows, belongs, strict=False)):
        _check_columns([row], columns, place)
        try:
            if not is_in or not part.keep(row):
                continue
            made = part.normalise(row)
        except UserError as error:
            raise UserError(f"{place}, row {number + 1}: {error}") from None
        yield made and {**made, "id": f"{source.name}/{part.split}/{number}"}


def _check_columns(rows: Iterable[Row], columns: Iterable[str], place: str) -> None:
    for row in rows:
        missing = [column for column in columns if column not in row]
        if missing:
            raise UserError(
                f"{place}: the columns are {', '.join(map(repr, row))}, and {missing[0]!r} is not "
                "among them: the data set has changed, or this is another one"
            )
