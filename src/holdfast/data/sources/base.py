"""What is known of a data set: where it is on the Hub, its parts, and how a row becomes ours."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from holdfast.errors import UserError

Row = dict[str, Any]


@dataclass(frozen=True)
class Origin:
    """A data set on the Hub that parts are cut from.

    Args:
        hub: Its id, owner/name.
        columns: The columns that a row must have.
        config: Its configuration, where it has several.
        revision: The commit that is read; None reads the newest, whose commit is then recorded.
        files: The file of each split, where the repository has no layout that `datasets` reads, or
            the file alone is needed; with a `*` in its name all that fit, in their order.
        authors: The name that a split's file has at its authors, for who brings that one.
        headerless: What to call the one column of CSV files that have no header.
    """

    hub: str
    columns: tuple[str, ...]
    config: str | None = None
    revision: str | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    authors: Mapping[str, str] = field(default_factory=dict)
    headerless: str | None = None


@dataclass(frozen=True)
class Part:
    """Rows of one split: those that `keep` lets through, from `start` to `stop` of them.

    Args:
        split: The split on the Hub.
        normalise: Makes a row of the Hub an Alpaca row with its `kind`; a `UserError` of its own
            says what is wrong in the row, and None leaves out a row that could not be trained on.
        keep: Which rows of the split belong to the part.
        start: The first of them, counted from 0.
        stop: Before which of them it ends.
        apart_from: Parts of the same data set whose rows are left out of this one, so that an
            alignment row, say, is never a user's row.
        origin: Which of the source's origins the split is of.
        belongs: Which rows of the split belong to the part, where only all of them together can
            tell; beside `keep`.
    """

    split: str
    normalise: Callable[[Row], Row | None]
    keep: Callable[[Row], bool] = lambda row: True
    start: int = 0
    stop: int | None = None
    apart_from: tuple[str, ...] = ()
    origin: str = "main"
    belongs: Callable[[Sequence[Row]], Sequence[bool]] | None = None


@dataclass(frozen=True)
class Source:
    """A known data set.

    Args:
        name: What a user calls it.
        title: What it is, in one line.
        licence: Its terms, as its page states them.
        origins: Where it is, by name; "main" is the one that must be there.
        parts: Its parts by name.
        default: The part that the bare name stands for; None where it must be named.
    """

    name: str
    title: str
    licence: str
    origins: Mapping[str, Origin]
    parts: Mapping[str, Part]
    default: str | None = None


def text(row: Row, column: str) -> str:
    """Return a text column.

    Raises:
        UserError: It holds no text.
    """
    value = row[column]
    if not isinstance(value, str):
        raise UserError(f"column '{column}' must be text, and is {value!r:.40}")
    return value


def label(row: Row, names: tuple[str, ...]) -> str:
    """Return the name of a row's `label`, an index into `names`.

    Raises:
        UserError: The label is no such index; unlabelled test splits have -1.
    """
    value = row["label"]
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < len(names):
        known = ", ".join(f"{number} ({name})" for number, name in enumerate(names))
        raise UserError(f"the label is {value!r:.40}; it must be {known}")
    return names[value]
