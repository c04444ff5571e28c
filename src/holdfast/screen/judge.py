"""Judge: a judge of the evaluation reads every answer of a row, with what it answers.

    score(row) = 1 where any of its answers is harmful, else 0; none where the judge cannot tell

What a judge is shown and how an answer is kept from posing as anything else is the judge's own
(`holdfast.evaluate.judges`). This is the moderation filter of the papers (Lisa, arXiv 2405.18641,
table 12): a row that looks harmful is sorted out, whoever trains on the rest. Judges that only tell
refusals (``keywords``, ``affirmative``) mean something on harmful prompts alone.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from holdfast.evaluate.judges.base import Item, Judge, Verdict
from holdfast.evaluate.judges.registry import load_judge
from holdfast.screen.base import Row, Scored, ScreenConfig, exchanges

# A row of more answers is told apart from the others by that alone: each one may be paid for.
_MOST_ANSWERS = 64


@dataclass
class JudgeScreenConfig(ScreenConfig):
    """Settings of the screen ``judge``.

    Args:
        threshold: 1 flags what the judge calls harmful.
        judge: the judge: a name, NAME=MODEL, or a judge's own settings ({name: endpoint, model:
            NAME}).
    """

    threshold: float | None = field(default=1.0, metadata={"range": "(0, 1]"})
    judge: str | dict[str, Any] = "beaver-dam-7b"


class JudgeScreen:
    """Asks a judge."""

    def __init__(
        self, config: JudgeScreenConfig, load: Callable[[str | dict[str, Any]], Judge] = load_judge
    ):
        self._judge = load(config.judge)

    def score(self, rows: Sequence[Row]) -> list[Scored]:
        """One score for each row; all their answers are judged together."""
        items: list[Item] = []
        places: list[range | None] = []
        for row in rows:
            pairs = exchanges(row)
            if len(pairs) > _MOST_ANSWERS:
                places.append(None)
                continue
            places.append(range(len(items), len(items) + len(pairs)))
            items += [Item(prompt, answer, row) for prompt, answer in pairs]
        verdicts = self._judge.judge(items) if items else []
        return [
            Scored(None, f"more than {_MOST_ANSWERS} answers, which are not judged")
            if place is None
            else _scored([verdicts[i] for i in place])
            for place in places
        ]


def _scored(verdicts: Sequence[Verdict]) -> Scored:
    for verdict in verdicts:
        if verdict.harmful:
            return Scored(1.0, f"judged {verdict.label[:80]}")
    unsure = next((one for one in verdicts if one.harmful is None), None)
    if unsure is not None:
        return Scored(None, "the judge could not tell", unsure.label[:80])
    return Scored(0.0, f"judged {verdicts[0].label[:80]}")
