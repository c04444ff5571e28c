"""What every screen takes and gives."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from holdfast.data.conversations import Message, said, thought
from holdfast.data.prompts import Parts, plain, read_text
from holdfast.errors import UserError
from holdfast.settings import check_ranges

Row = Mapping[str, Any]


class Scored(NamedTuple):
    """What a screen says of one row.

    Args:
        score: the higher, the more harmful; None where the screen cannot tell, which is flagged.
        kind: what it saw, in few words that many rows share: rows are counted by it.
        detail: what is of this row alone, such as the known row that it is like; "" for nothing.
    """

    score: float | None
    kind: str
    detail: str = ""

    @property
    def reason(self) -> str:
        """Kind and detail in one text."""
        return f"{self.kind}: {self.detail}" if self.detail else self.kind


class Screen(Protocol):
    """A screen that is ready: it scores rows one by one, whatever stands beside them."""

    def score(self, rows: Sequence[Row]) -> list[Scored]:
        """One score for each row, in their order."""
        ...


class Known(NamedTuple):
    """The scores of rows that are known, each as if it were not known itself.

    Args:
        harmful: those of known harmful rows.
        safe: those of known safe ones.
    """

    harmful: Sequence[float]
    safe: Sequence[float]


@dataclass
class ScreenConfig:
    """What every screen's settings have.

    Args:
        threshold: a row is flagged whose score is at least this; if not given, the threshold that
            tells the known harmful rows best from the known safe ones.
        share: flags this share of the rows in the threshold's place, those of the highest scores;
            rounded up.
    """

    threshold: float | None = field(default=None, metadata={"range": "(-inf, inf)"})
    share: float | None = field(default=None, metadata={"range": "[0, 1]"})

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            UserError: one is out of its range.
        """
        check_ranges(self)

    @property
    def finds_threshold(self) -> bool:
        """Whether the threshold is to be found by known rows."""
        return self.threshold is None and self.share is None


def exchanges(row: Row) -> list[tuple[str, str]]:
    """Every answer of a row that is trained, with what is said between the answer before and it.

    A row of text has one. A turn's thoughts, which stand apart from its content, are a part of it,
    for they are trained, too. In all they are no longer than the row.

    Raises:
        UserError: the row is tokenized, or none that could be trained on.
    """
    found = read_text(row, need_answer=True)
    if isinstance(found, Parts):
        return [(plain(found.prompt), plain(found.answer))]
    pairs, asked = [], []
    trained = set(found.trained)
    for place, turn in enumerate(found.messages):
        if turn["role"] != "assistant":
            asked.append(_all_of(turn))
            continue
        if place in trained:
            pairs.append(("\n\n".join(asked), _all_of(turn)))
            asked = []
        else:  # it is read, so it may say what makes the next answer harmful
            asked.append(_all_of(turn))
    return pairs


def _all_of(turn: Message) -> str:
    return "\n\n".join(filter(None, (thought(turn), said(turn))))


def check_known(rows: object, what: str, setting: str) -> None:
    """Check that known rows are there.

    Raises:
        UserError: there are none; it names the setting that names them.
    """
    if not rows:
        raise UserError(
            f"{what} needs known harmful rows to compare with, and there are none: name a file of "
            f"them ({setting}=harmful.jsonl)."
        )
