"""Score rows one after the other into a file, from which an interrupted screening goes on.

The file has a line for each row, in their order: its score, its kind, its detail. Rows are scored
in pieces of `CHUNK`, each from its beginning, so that what a screening ends in does not depend on
where it was interrupted; and what is kept in memory does not grow with the rows but for 8 bytes
each, their scores.
"""

import json
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from holdfast.errors import Stopped, UserError
from holdfast.screen.base import Row, Scored, Screen
from holdfast.screen.decide import flagged

CHUNK = 64
_MOST_KINDS = 40  # that are told apart in a report; an endpoint's may have as many as rows
_EXAMPLES = 3


def score_rows(
    screen: Screen,
    rows: Iterable[Row],
    path: Path,
    progress: Callable[[int], None] = lambda done: None,
    stopping: Callable[[], bool] = lambda: False,
) -> None:
    """Write the score of every row to a file, or of those that it does not hold yet.

    Args:
        screen: scores them.
        rows: all of them.
        path: the file.
        progress: called with the number of rows that are scored, now and then.
        stopping: asked after every piece; True stops.

    Raises:
        Stopped: ``stopping`` said so; what is scored by then stays.
    """
    done = _whole(path)
    progress(done)
    with path.open("ab") as file:
        for scored in scored_pieces(screen, islice(rows, done, None)):
            lines = "".join(json.dumps(list(one)) + "\n" for one in scored)
            file.write(lines.encode())
            file.flush()
            done += len(scored)
            progress(done)
            if stopping():
                raise Stopped


def scored_pieces(screen: Screen, rows: Iterable[Row]) -> Iterator[list[Scored]]:
    """The scores of rows in pieces of `CHUNK`, the last one shorter.

    Raises:
        UserError: the screen, one of the user's own, does not give one score for each row.
    """
    rows = iter(rows)
    while piece := list(islice(rows, CHUNK)):
        found = screen.score(piece)
        scored = list(filter(None, map(_plain, found if isinstance(found, Iterable) else ())))
        if len(scored) != len(piece):
            raise UserError(
                f"the screen {type(screen).__name__} does not give one holdfast.Scored for each "
                f"row: its score() got {len(piece)} rows."
            )
        yield scored


def _plain(one: object) -> Scored | None:
    """As JSON can say it: no number of an array's type, and none that is NaN; None is no score."""
    if not isinstance(one, Scored):
        return None
    try:
        score = math.nan if one.score is None else float(one.score)
    except (TypeError, ValueError):
        return None
    return Scored(None if math.isnan(score) else score, str(one.kind), str(one.detail))


def read_scores(path: Path) -> Iterator[Scored]:
    """The scores that a file holds."""
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            yield Scored(*json.loads(line))


@dataclass(frozen=True)
class Decisions:
    """What becomes of the rows.

    Args:
        flagged: a truth value for each row, [rows].
        threshold: the score from which on a row was flagged; None where a share was.
        kinds: how many rows of each kind were kept and flagged, with the numbers (from 1) of up to
            three flagged ones; the most frequent first.
        unsure: how many were flagged because the screen could not tell.
    """

    flagged: np.ndarray
    threshold: float | None
    kinds: dict[str, dict[str, Any]]
    unsure: int

    def record(self) -> dict[str, Any]:
        """The same for a file, with the number of rows in the place of the truth values."""
        return {
            "rows": len(self.flagged),
            "flagged": int(self.flagged.sum()),
            "unsure": self.unsure,
            "threshold": self.threshold,
            "kinds": self.kinds,
        }


def decide(
    scores: Callable[[], Iterable[Scored]], threshold: float | None, share: float | None
) -> Decisions:
    """Decide which rows are flagged.

    Args:
        scores: begins at the first row's; called twice.
        threshold: as `holdfast.screen.decide.threshold_of` gives it.
        share: how many are flagged where there is no threshold.
    """
    values = np.fromiter(
        (np.nan if one.score is None else one.score for one in scores()), dtype=np.float64
    )
    found = flagged(values, threshold, share)
    kept, dropped = Counter[str](), Counter[str]()
    examples: dict[str, list[int]] = defaultdict(list)
    for number, (one, is_flagged) in enumerate(zip(scores(), found, strict=True), start=1):
        kind = one.kind
        if kind not in kept and kind not in dropped and len(kept) + len(dropped) >= _MOST_KINDS:
            kind = "other kinds"
        (dropped if is_flagged else kept)[kind] += 1
        if is_flagged and len(examples[kind]) < _EXAMPLES:
            examples[kind].append(number)
    order = [kind for kind, _ in (dropped + kept).most_common()]
    kinds = {
        kind: {"kept": kept[kind], "flagged": dropped[kind], "examples": examples.get(kind, [])}
        for kind in order
    }
    return Decisions(found, threshold, kinds, int(np.isnan(values).sum()))


def _whole(path: Path) -> int:
    """Cut a file to its whole pieces; gives how many rows they are."""
    if not path.exists():
        return 0
    with path.open("r+b") as file:
        rows, end, kept = 0, 0, (0, 0)
        for line in file:
            if not line.endswith(b"\n"):  # killed as it was written
                break
            rows, end = rows + 1, end + len(line)
            if rows % CHUNK == 0:
                kept = rows, end
        file.truncate(kept[1])
    return kept[0]
