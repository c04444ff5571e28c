"""Random: the control of every screen. It flags as many rows, whichever they are.

    score(row) = a number from 0 to 1 that follows from the seed and the row's content

so that `share` of all rows are flagged by chance. What a screen is worth is its difference to this.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from holdfast.data.keys import fingerprint
from holdfast.errors import UserError
from holdfast.screen.base import Row, Scored, ScreenConfig


@dataclass
class RandomScreenConfig(ScreenConfig):
    """Settings of the screen ``random``.

    Args:
        threshold: a row is flagged whose number is at least this, in the place of a share.
        seed: decides which rows are flagged.
    """

    seed: int = field(default=0, metadata={"range": "[0, 4294967295]"})

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            UserError: one is out of its range, or there is nothing to flag by.
        """
        super().__post_init__()
        if self.share is None and self.threshold is None:
            raise UserError("the screen 'random' drops a share of the rows: set share=0.1, say.")


class RandomScreen:
    """Flags by chance."""

    def __init__(self, config: RandomScreenConfig):
        self._seed = config.seed

    def score(self, rows: Sequence[Row]) -> list[Scored]:
        """One score for each row."""
        return [Scored(self._number(row), "by chance") for row in rows]

    def _number(self, row: Row) -> float:
        drawn = fingerprint([{"seed": self._seed}, row])
        return int(drawn[:16], 16) / 2**64
