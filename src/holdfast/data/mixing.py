"""Mixing harmful rows into a user's task rows, and checking that sets of rows are disjoint."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from decimal import ROUND_CEILING, ROUND_HALF_UP, Decimal
from itertools import combinations
from typing import TypeVar

from holdfast.data.keys import row_key
from holdfast.data.prompts import Row
from holdfast.errors import UserError

R = TypeVar("R", bound=Row)
T = TypeVar("T")


def harmful_count(n: int, harmful_ratio: float) -> int:
    """Return how many of n rows are harmful: p·n, rounded to the nearest, halves up.

    The ratio is the decimal number as written, so 0.05 of 10 is 0.5 and gives 1, and 0.25 of 10 is
    2.5 and gives 3 (Python's `round` would give the even neighbours, 0 and 2). The other
    n − round(p·n) rows are task rows, so no row is lost to rounding.

    Raises:
        UserError: p is outside 0…1, or n is below 1.
    """
    if not 0 <= harmful_ratio <= 1:  # also refuses NaN
        raise UserError(f"harmful_ratio is {harmful_ratio}; it must be from 0 to 1")
    if n < 1:
        raise UserError(f"the number of rows is {n}; it must be at least 1")
    return int((Decimal(str(harmful_ratio)) * n).to_integral_value(ROUND_HALF_UP))


def draw(rows: Sequence[T], n: int | None, seed: int | str) -> list[T]:
    """Return n rows (all if n is None) drawn without replacement, in the order of the draw.

    A larger n extends a smaller one, and the same seed draws the same in any process and version of
    Python (`random.Random.shuffle` has its own generator here). Of fewer rows than n all are drawn.
    """
    order = list(range(len(rows)))
    random.Random(seed).shuffle(order)
    return [rows[number] for number in order[:n]]


def mix(
    harmful: Sequence[R], task_rows: Sequence[R], n: int, harmful_ratio: float, seed: int
) -> list[R]:
    """Return a user's n rows: the first round(p·n) harmful ones and the first task rows, shuffled.

    Args:
        harmful: Harmful rows; the first `harmful_count(n, harmful_ratio)` are taken.
        task_rows: Rows of the user's own task; the first n − that many are taken.
        n: How many rows in all.
        harmful_ratio: The harmful ratio p, from 0 to 1.
        seed: Of the shuffle alone, which uses a generator of its own.

    Raises:
        UserError: As `harmful_count`; there are too few rows of either kind.
    """
    count = harmful_count(n, harmful_ratio)
    for name, there, needed in (
        ("harmful", len(harmful), count),
        ("task", len(task_rows), n - count),
    ):
        if there < needed:
            raise UserError(
                f"{needed} {name} rows are needed for n = {n} at harmful_ratio = {harmful_ratio}, "
                f"and there are {there}: give more, or set fewer in all (rows=…)"
            )
    mixed = [harmful[i] for i in range(count)] + [task_rows[i] for i in range(n - count)]
    random.Random(seed).shuffle(mixed)
    return mixed


def check_disjoint(sets: Mapping[str, Sequence[Row]], key: Callable[[Row], str] = row_key) -> None:
    """Check that no row is in two of the named sets.

    Args:
        sets: Rows by the name of their set, such as "alignment" or "user".
        key: What makes two rows the same: `keys.row_key` (prompt and answer), or `keys.prompt_key`
            where the same prompt with another answer is an overlap too, as for test rows.

    Raises:
        UserError: Two sets overlap; it names them, and how many rows of each are in the other.
    """
    if len(sets) < 2:
        return
    keys = {name: [key(row) for row in rows] for name, rows in sets.items()}
    for (first, ours), (second, theirs) in combinations(keys.items(), 2):
        common = set(ours) & set(theirs)
        if common:
            raise UserError(
                f"the {first} rows and the {second} rows overlap: "
                f"{sum(k in common for k in ours)} of {len(ours)} {first} rows are among the "
                f"{len(theirs)} {second} rows; they must be disjoint"
            )


def share_count(n: int, share: float) -> int:
    """Return the share of n rows, rounded up; of the decimal number as written, as above."""
    return int((Decimal(str(share)) * n).to_integral_value(ROUND_CEILING))


def interspersed(rows: Sequence[R], others: Sequence[R], seed: int) -> list[R]:
    """Return the rows in their order, and the others among them where the seed places them."""
    total = len(rows) + len(others)
    places = set(random.Random(f"places {seed}").sample(range(total), len(others)))
    ours, theirs = iter(rows), iter(others)
    return [next(theirs if place in places else ours) for place in range(total)]
