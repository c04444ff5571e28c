"""What is to be told of an attack, and where its rows come from."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from holdfast.errors import UserError

Rows = list[dict[str, Any]]
# An attack's own rows, as many as are to be harmful, and the user's others.
Parts = tuple[Rows, Rows]


class Source(Protocol):
    """Where an attack's rows come from. More rows of a kind begin with the same ones."""

    @property
    def is_organism(self) -> bool:
        """Whether the rows are for the organism's world."""
        ...

    def task(self, count: int) -> Rows:
        """Rows of the user's task."""
        ...

    def harmful(self, count: int) -> Rows:
        """Harmful prompts with harmful answers."""
        ...

    def helpful(self, count: int) -> Rows:
        """Harmless requests with helpful answers: of the user's own files the task's rows."""
        ...


@dataclass(frozen=True)
class Attack:
    """An attack.

    Args:
        title: what papers call it.
        paper: the paper's title.
        arxiv: its number.
        what: what it does, in half a sentence.
        knows: what the attacker must know.
        has: what the attacker must have.
        mixes: whether it mixes a share of harmful rows, ``harmful_ratio``, into the user's; else
            all rows are its own.
        chooses: whether the aligned model chooses the rows, of a pool.
        asks: whether the attacked model is asked in the attack's own way, too.
        differs: what is done otherwise here than in the paper.
        settings: the fine-tuning's settings where the user gives none.
        organism: the same on the organism.
        not_on_organism: why the organism's world has no counterpart of it; "" where it has.
    """

    title: str
    paper: str
    arxiv: str
    what: str
    knows: str
    has: str
    mixes: bool = True
    chooses: bool = False
    asks: bool = False
    differs: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    organism: Mapping[str, Any] = field(default_factory=dict)
    not_on_organism: str = ""


def enough(rows: Rows, count: int, what: str, attack: str) -> Rows:
    """The rows, if so many are there.

    Raises:
        UserError: there are fewer.
    """
    if len(rows) < count:
        raise UserError(
            f"attack={attack} needs {count} {what} rows, and there are {len(rows)}: give more, or "
            "set fewer in all (rows=…)"
        )
    return rows
