"""When Lisa is in which of its two states.

With numbers, K1 alignment steps and K2 user steps take turns until the user's steps are over.
Where the user's rows are swapped out for alignment rows (``user_rows=swapped``) they take turns
within the user's epochs, and the run has as many steps as plain fine-tuning has. With
``auto`` in the place of either, U being the user's steps in all,

    n  = max(2, ⌈U / 900⌉)                          turns of the user's (at most U)
    K2 = ⌈U / n⌉                                     at most the paper's 900
    K1 = max(round(K2 / 9), min(10, ⌈K2 / 2⌉))       the paper's proportion, 100 to 900, and of a
                                                     small job ten steps, or half of the user's

and K1 alignment steps more come at the end, so that the run ends aligned: at least four switches of
state. Where the steps of both states are given (``max_steps``), U is the largest number that leaves
room for the alignment steps; what remains joins those at the end.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

from holdfast.errors import UserError
from holdfast.plans import Plan, Settings

State = Literal["alignment", "user"]
AUTO = "auto"
Steps = int | Literal["auto"]
UserRows = Literal["seen", "swapped"]
SWAPPED = "swapped"

PAPER = (100, 900)  # K1 and K2 of the Lisa paper
_TURNS = 2  # of the user's, at least
_FEW = 10  # alignment steps of a turn in a small job


@dataclass(frozen=True)
class Schedule:
    """The states of a run's optimizer steps, counted from 0.

    Args:
        alignment_steps: K1.
        user_steps: K2.
        closing: alignment steps at the end, after the user's last turn.
        steps: all steps of the run; None if they follow from the user's batches.
    """

    alignment_steps: int
    user_steps: int
    closing: int = 0
    steps: int | None = None

    def state_at(self, step: int) -> State:
        """The state that a step is in."""
        if self.steps is not None and self.closing and step >= self.steps - self.closing:
            return "alignment"
        period = self.alignment_steps + self.user_steps
        return "alignment" if step % period < self.alignment_steps else "user"

    def states(self, steps: int) -> Iterator[State]:
        """The states of a run of so many steps."""
        return (self.state_at(step) for step in range(steps))


def check_turns(alignment_steps: Steps, user_steps: Steps, user_rows: str) -> None:
    """Check that a run with these settings comes to an end.

    Raises:
        UserError: the user's rows are all to be seen, and their state has no steps; or none has.
    """
    if user_steps != 0:
        return
    if user_rows != SWAPPED:
        raise UserError(
            "user_steps is 0; it must be 1 or more where user_rows is seen (swapped puts alignment "
            "rows in the place of all of the user's)."
        )
    if alignment_steps == 0:
        raise UserError("alignment_steps and user_steps are both 0: one of them must be 1 or more.")


def schedule(
    alignment_steps: Steps, user_steps: Steps, user: int | None = None, steps: int | None = None
) -> Schedule:
    """The schedule of a run.

    Args:
        alignment_steps: K1, or "auto".
        user_steps: K2, or "auto".
        user: U, the user's steps in all.
        steps: the steps of both states, in the place of ``user``.
    """
    if AUTO not in (alignment_steps, user_steps):
        return Schedule(int(alignment_steps), int(user_steps), steps=steps)
    if steps is None:
        assert user is not None
        k1, k2 = _turn(alignment_steps, user_steps, user)
        return Schedule(k1, k2, k1, _all(k1, k2, user))
    for count in range(steps, 0, -1):
        k1, k2 = _turn(alignment_steps, user_steps, count)
        spare = steps - _all(k1, k2, count)
        if spare >= 0:
            return Schedule(k1, k2, k1 + spare if k1 else 0, steps)
    return Schedule(1, 1, 0, steps) if steps == 2 else Schedule(0, 1, 0, steps)


def _turn(alignment_steps: Steps, user_steps: Steps, user: int) -> tuple[int, int]:
    turns = max(min(_TURNS, user), math.ceil(user / PAPER[1]))
    k2 = max(1, math.ceil(user / turns)) if user_steps == AUTO else int(user_steps)
    few = min(_FEW, math.ceil(k2 / 2))
    k1 = max(round(k2 * PAPER[0] / PAPER[1]), few) if alignment_steps == AUTO else alignment_steps
    return int(k1), k2


def _all(k1: int, k2: int, user: int) -> int:
    """All steps of a run that ends aligned."""
    return user + k1 * (math.ceil(user / k2) + 1)


def all_steps(alignment_steps: Steps, user_steps: Steps, user: int) -> int:
    """The steps of both states in a run with so many steps of the user's."""
    found = schedule(alignment_steps, user_steps, user)
    if found.steps is not None:
        return found.steps
    return user + found.alignment_steps * math.ceil(user / found.user_steps)


def all_steps_of(
    alignment_steps: Steps, user_steps: Steps, user_rows: str, user: int
) -> tuple[int, int]:
    """All steps of a run whose user's epochs have so many, and how many of them are alignment's."""
    if user_rows != SWAPPED:
        total = all_steps(alignment_steps, user_steps, user)
        return total, total - user
    states = schedule(alignment_steps, user_steps, steps=user).states(user)
    return user, sum(state == "alignment" for state in states)


def doubtful(
    alignment_steps: Steps,
    user_steps: Steps,
    user: int,
    steps: int | None = None,
    user_rows: str = "seen",
) -> str | None:
    """One sentence on settings that hardly make Lisa of this job; None where they do.

    Args:
        alignment_steps: K1 as it was given; 0, no alignment, is taken for meant.
        user_steps: K2 as it was given.
        user: the user's steps in all.
        steps: the steps of both states, where they are given.
        user_rows: whether the user's rows are swapped out, which is then taken for meant.
    """
    if alignment_steps == 0 or user_steps == 0:
        return None
    if user_rows == SWAPPED:
        steps = steps or user
    if AUTO in (alignment_steps, user_steps):
        if steps is None or schedule(alignment_steps, user_steps, steps=steps).closing:
            return None
        return f"Lisa needs three steps or more to end aligned, and max_steps is {steps}."
    total = steps or all_steps(alignment_steps, user_steps, user)
    states = list(schedule(alignment_steps, user_steps, user).states(total))
    switches = sum(one != other for one, other in pairwise(states))
    what = []
    if switches < 2:
        what.append("never comes back to its alignment state" if switches else "has one state only")
    if total > 2 * user and user_rows != SWAPPED:
        what.append(f"takes {total:,} steps for {user:,} of the user's")
    if not what:
        return None
    auto = schedule(AUTO, AUTO, user, steps)
    return (
        f"Lisa with alignment_steps={alignment_steps} and user_steps={user_steps} "
        f"{' and '.join(what)} here; auto would be {auto.alignment_steps} and {auto.user_steps}."
    )


class LisaPlan(Plan):
    """Alignment steps beside the user's, and the anchor."""

    def __init__(self):
        super().__init__(copies=1.0)

    def check(self, settings: Settings) -> tuple[str, str] | None:
        """See `check_turns`."""
        try:
            check_turns(*(settings[k] for k in ("alignment_steps", "user_steps", "user_rows")))
        except UserError as error:
            return "user_steps", str(error)
        return None

    def doubt(self, settings: Settings, user: int, steps: int | None) -> str | None:
        """See `doubtful`."""
        turns = settings["alignment_steps"], settings["user_steps"]
        return doubtful(*turns, user, steps, settings["user_rows"])

    def decisive(self, settings: Settings) -> dict[str, Any]:
        """All but ``user_rows`` where it is what it always was before it could be chosen."""
        seen = settings.get("user_rows") == "seen"
        return {k: v for k, v in settings.items() if not (seen and k == "user_rows")}

    def steps(self, settings: Settings, plain: int) -> tuple[int, int]:
        """See `all_steps_of`."""
        turns = settings["alignment_steps"], settings["user_steps"]
        return all_steps_of(*turns, settings.get("user_rows", "seen"), plain)
