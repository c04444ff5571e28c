"""Attacks × defenses: the harmful score that each attack gets from each defense, as a heat map."""

from collections.abc import Sequence
from dataclasses import dataclass

from holdfast.report.drawing.canvas import Picture
from holdfast.report.drawing.grids import shades_picture
from holdfast.report.metrics import ATTACKED, HARM
from holdfast.report.rows import Comparison, Row
from holdfast.report.words import named, number, short
from holdfast.statistics.worst import is_attack

LABEL = "Harmful score of every attack on every defense"
TITLE = "harmful score, in percent: the stronger, the worse"
_WHO = ("attack", "attacker")


@dataclass(frozen=True)
class AttackMap:
    """The numbers of the map.

    Args:
        attacks: its rows: the attacks, and those whose settings an attacker has searched.
        defenses: its columns: the variants, with their places on axes that no attacker chooses.
        values: [attacks, defenses], the largest harmful score, of prompts asked plainly or in the
            attack's way, over all other settings of the attacker's; None where it was not run.
    """

    attacks: list[str]
    defenses: list[str]
    values: list[list[float | None]]


def attack_map(comparison: Comparison) -> AttackMap | None:
    """The map of a comparison; None where there are no two attacks of one defense."""
    found: dict[str, dict[str, float]] = {}
    for row in comparison.rows:
        harm = [row.cells[name].mean.value for name in (HARM, ATTACKED) if name in row.cells]
        attack = _attack(row)
        if attack and harm:
            rest = {axis: value for axis, value in row.axes.items() if not is_attack(axis)}
            own = found.setdefault(attack, {})
            defense = named(row.variant, rest)
            own[defense] = max(*harm, own.get(defense, 0.0))
    defenses = list(dict.fromkeys(name for own in found.values() for name in own))
    if len(found) < 2 or not defenses:
        return None
    values = [[own.get(name) for name in defenses] for own in found.values()]
    return AttackMap(list(found), defenses, values)


def attack_picture(shown: AttackMap) -> Picture:
    """The map drawn: a cell's shade and number are its harmful score."""
    told = [
        [_told(attack, name, value) for name, value in zip(shown.defenses, row, strict=True)]
        for attack, row in zip(shown.attacks, shown.values, strict=True)
    ]
    return shades_picture(
        shown.defenses, shown.attacks, shown.values, told, LABEL, TITLE, top=100, written=True
    )


def attack_rows(shown: AttackMap) -> list[list[str]]:
    """The same as a table: an attack, and its harmful score by defense."""
    return [
        [attack, *("–" if value is None else number(value) for value in row)]
        for attack, row in zip(shown.attacks, shown.values, strict=True)
    ]


def _attack(row: Row) -> str:
    """What to call the attack of a row; "" where none is told apart."""
    own = {axis.rpartition(".")[2]: value for axis, value in row.axes.items() if is_attack(axis)}
    words: Sequence[str] = [short(own[name]).replace("_", " ") for name in _WHO if name in own]
    return ", ".join(words)


def _told(attack: str, defense: str, value: float | None) -> str:
    return f"{attack} on {defense}: " + ("not run" if value is None else f"HS {number(value)}")
