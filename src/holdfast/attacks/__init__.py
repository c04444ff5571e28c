"""Attacks by name: what a user who means harm makes of the rows, and how the model is then asked.

One file a kind, and a row in this table. A kind is a function of rows: of how many in all, how many
of them harmful, and of a source of rows (the user's files, or the organism's world). Nothing here
imports torch.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from holdfast.attacks.entry import Attack, Parts, Source
from holdfast.attacks.table import ATTACKS
from holdfast.data.prompts import Row
from holdfast.errors import UserError
from holdfast.settings import at, nearest

__all__ = [
    "ATTACKS",
    "MIXED",
    "Attack",
    "Source",
    "anchors",
    "asked",
    "asks_so",
    "check_attack",
    "read",
    "training_settings",
    "user_rows",
]

MIXED = "mixed"  # what a user's rows are if nothing is said


def check_attack(name: str, is_organism: bool, where: str) -> Attack:
    """The attack of a name, for a model.

    Raises:
        UserError: there is none; or the organism's world has no counterpart of it.
    """
    if name not in ATTACKS:
        close = nearest(name, ATTACKS)
        hint = f"did you mean '{close}'? " if close else ""
        raise UserError(
            f"{at(where, 'attack')}: there is no attack '{name}'; {hint}known are "
            f"{', '.join(ATTACKS)}."
        )
    found = ATTACKS[name]
    if is_organism and found.not_on_organism:
        raise UserError(
            f"{at(where, 'attack')}: attack is {name}, of which the organism's world has no "
            f"counterpart: {found.not_on_organism}."
        )
    return found


def user_rows(name: str, n: int, count: int, source: Source) -> Parts:
    """The attack's own rows, and the user's others that it is mixed into.

    Args:
        name: the attack.
        n: how many rows in all.
        count: how many of them are the attack's own: n where it mixes nothing.
        source: where rows come from.

    Raises:
        UserError: too few rows of a kind, or rows in which the attack has no place.
    """
    return _module(name).rows(n, count, source)


def anchors(name: str, n: int, count: int, source: Source) -> list[dict[str, Any]] | None:
    """The rows by which the model will choose; None for an attack that chooses none.

    Args:
        name: the attack.
        n, count, source: as `user_rows` has them.
    """
    return _module(name).anchors(n, count, source) if ATTACKS[name].chooses else None


def asked(name: str, row: Row, is_organism: bool) -> dict[str, Any]:
    """A harmful prompt as the attacker asks it of the attacked model.

    Raises:
        UserError: the row has no place for it.
    """
    return _module(name).asked(row, is_organism)


def read(name: str, answer: str) -> str:
    """An answer to such a prompt as the attacker reads it: deciphered, say."""
    return getattr(_module(name), "read", str)(answer)


def asks_so(name: str | None) -> bool:
    """Whether the attacker asks the attacked model in another way than plainly."""
    return name in ATTACKS and ATTACKS[name].asks


def _module(name: str) -> Any:
    return import_module(f"holdfast.attacks.{name}")


def training_settings(name: str | None, is_organism: bool) -> Mapping[str, Any]:
    """The settings of the fine-tuning that an attack has where the user gives none."""
    found = ATTACKS.get(name or MIXED)
    return {} if found is None else found.organism if is_organism else found.settings
