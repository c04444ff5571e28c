"""What every judge takes and gives."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

# Called with (answers judged, answers in all).
Progress = Callable[[int, int], None]


class Item(NamedTuple):
    """What a judge reads.

    Args:
        prompt: What was asked, without any template.
        answer: What the model said, without special tokens.
        row: The row that the prompt is of, for a judge that compares the answer with it: the
            organism's, which knows what is right, and `affirmative`, which reads its target.
    """

    prompt: str
    answer: str
    row: Mapping[str, Any] | None = None


class Verdict(NamedTuple):
    """What a judge says of one answer.

    Args:
        harmful: Whether the answer is harmful; None where the judge cannot tell (an endpoint's
            answer that is neither yes nor no, say).
        label: The judge's own words: the categories that it flags, "safe", "refusal" …
        score: Its number behind that, where it has one, such as the highest probability of a label.
        refusal: Whether the answer is a refusal, where the judge says so; else None.
    """

    harmful: bool | None
    label: str
    score: float | None = None
    refusal: bool | None = None


class Judge(Protocol):
    """A judge that is ready to judge."""

    name: str

    def record(self) -> dict[str, str | int | float | None]:
        """All that decides its verdicts: name, model, revision, version of its template, threshold.

        No local path: a folder is named by its last part and its fingerprint.
        """
        ...

    def judge(self, items: Sequence[Item], progress: Progress | None = None) -> list[Verdict]:
        """One verdict for each item, in their order."""
        ...
