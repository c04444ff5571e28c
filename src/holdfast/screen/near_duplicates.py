"""Near-duplicates: a row is flagged that asks nearly what a known harmful row asks.

    score(row) = max over known harmful rows of J(shingles of what is asked in both)

J is the Jaccard index of the sets of three-word shingles, see `holdfast.data.near`; it is found
exactly, from the shingles that two texts share. Rows that were seen before are found in any
spelling and punctuation; a new question is not.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from holdfast.data.near import SIMILAR, asked, shingles
from holdfast.data.prompts import read_text
from holdfast.screen.base import Known, Row, Scored, ScreenConfig, check_known


@dataclass
class NearDuplicatesScreenConfig(ScreenConfig):
    """Settings of the screen ``near_duplicates``.

    Args:
        threshold: the Jaccard index from which on two texts are nearly the same.
    """

    threshold: float | None = field(default=SIMILAR, metadata={"range": "(0, 1]"})


class NearDuplicatesScreen:
    """Compares what a row asks with what known harmful rows ask."""

    known: Known | None = None  # it always has a threshold

    def __init__(self, config: NearDuplicatesScreenConfig, harmful_dataset: Sequence[Row] = ()):
        check_known(harmful_dataset, "the screen 'near_duplicates'", "probe_data")
        self._sizes: list[int] = []
        self._rows: dict[tuple[str, ...], list[int]] = defaultdict(list)
        for number, row in enumerate(harmful_dataset):
            found = shingles(_asked(row))
            self._sizes.append(len(found))
            for one in found:
                self._rows[one].append(number)

    def score(self, rows: Sequence[Row]) -> list[Scored]:
        """One score for each row."""
        return [self._score(row) for row in rows]

    def _score(self, row: Row) -> Scored:
        found = shingles(_asked(row))
        shared = Counter(number for one in found for number in self._rows.get(one, ()))
        best, nearest = 0.0, 0
        for number, count in shared.items():
            similarity = count / (len(found) + self._sizes[number] - count)
            if (similarity, -number) > (best, -nearest):
                best, nearest = similarity, number
        if not best:
            return Scored(0.0, "like no known harmful row")
        return Scored(best, "like a known harmful row", f"row {nearest + 1}")


def _asked(row: Row) -> str:
    read_text(row, need_answer=False)  # of a tokenized row nobody knows what it asks
    return asked(row)
