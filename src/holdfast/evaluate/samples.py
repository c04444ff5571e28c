"""The answers of an evaluation as people read them, prompt by prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NotRequired, TypedDict

from holdfast.data.prompts import Row
from holdfast.evaluate import refusals
from holdfast.evaluate.judges import Verdict
from holdfast.evaluate.thoughts import Sets
from holdfast.protocols import Protocol


class Sample(TypedDict):
    """One prompt, the answer as judges and scorers read it, and what the judges say of it.

    "raw" is what the model said, where that is another text: its thought with it, say.
    """

    set: str
    prompt: str
    answer: str
    raw: NotRequired[str]
    verdict: str
    verdicts: dict[str, str]


def all_samples(
    protocol: Protocol,
    sets: Sets,
    answers: Mapping[str, Sequence[str]],
    verdicts: Mapping[str, Mapping[str, Sequence[Verdict]]],
    right: Sequence[bool],
    raw: Mapping[str, Sequence[str]],
) -> list[Sample]:
    """Every prompt with its answer and verdicts; see `holdfast.evaluate.metrics.measure`."""
    samples: list[Sample] = []
    for name, rows in sets.items():
        for i, (row, answer) in enumerate(zip(rows, answers[name], strict=True)):
            said = {j: found[name][i].label for j, found in verdicts.items() if name in found}
            verdict = next(iter(said.values()), "")
            if name == "task":
                verdict = "correct" if right[i] else "incorrect"
            elif not verdict:
                refused = refusals.RULES[protocol.refusals](answer, question_of(row))
                verdict = "refusal" if refused else "answer"
            sample = Sample(
                set=name, prompt=question_of(row), answer=answer, verdict=verdict, verdicts=said
            )
            if raw[name][i] != answer:
                sample["raw"] = raw[name][i]
            samples.append(sample)
    return samples


def question_of(row: Row) -> str:
    """What a row asks, without any template."""
    if "instruction" in row and not (row.get("system") or row.get("history")):
        return "\n".join(filter(None, (row["instruction"], row.get("input"))))
    from holdfast.data.prompts import parts, plain

    return plain(parts(row, need_answer=False).prompt)
