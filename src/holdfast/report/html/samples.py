"""Some of the models' answers: the same question, and what every variant said.

They are the first ones of each set, not chosen by what they say. The page holds them folded, those
to harmful prompts a second time, and only so much text as keeps it small.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from markupsafe import Markup

from holdfast.report.comparison import Result, Run
from holdfast.report.html.text import shown
from holdfast.report.stage_files import read_lines
from holdfast.report.words import named, place_name

# Prompts of each set that are shown, and what the sets are called.
_SETS = {
    "harmful": (3, "Harmful prompts"),
    "attacked": (3, "Harmful prompts, asked as the attack asks"),
    "benign": (2, "Benign prompts that look like them"),
    "task": (2, "The user's task"),
    "open": (2, "Open questions"),
}
_LONGEST_VERDICT = 80
# Characters of HTML in all samples together.
MOST_TEXT = 1_500_000


@dataclass(frozen=True)
class Answer:
    """An answer, the verdict on it, and the variants that gave it."""

    variants: list[str]
    verdict: Markup | None
    text: Markup


@dataclass(frozen=True)
class Question:
    """A prompt with every variant's answer."""

    prompt: Markup
    answers: list[Answer]


@dataclass(frozen=True)
class Group:
    """A place of the shared axes: its questions by set."""

    title: str
    sets: list[tuple[str, str, list[Question]]]


@dataclass(frozen=True)
class Samples:
    """The samples of a page.

    Args:
        groups: by place of the shared axes.
        seed: the seed whose answers they are.
        left_out: places that are not shown since the page would grow too large.
    """

    groups: list[Group] = field(default_factory=list)
    seed: int = 0
    left_out: int = 0


def samples(run: Run, shared: list[str]) -> Samples:
    """The first prompts of each place and set, of the first seed."""
    seed = min(result.seed for result in run.results)
    places: dict[str, list[Result]] = {}
    for result in run.results:
        if result.seed == seed and "evaluate" in result.stages:
            place = {axis: result.axes[axis] for axis in shared if axis in result.axes}
            places.setdefault(place_name(place) or "all variants", []).append(result)
    groups: list[Group] = []
    room = MOST_TEXT
    for title, results in places.items():
        if room <= 0:
            break
        group, size = _group(title, results, run, shared)
        room -= size
        if group.sets:
            groups.append(group)
    left_out = len(places) - len(groups) if room <= 0 else 0
    return Samples(groups, seed, left_out)


def _group(title: str, results: list[Result], run: Run, shared: list[str]) -> tuple[Group, int]:
    asked: dict[str, dict[str, dict[tuple[str, str], list[str]]]] = {name: {} for name in _SETS}
    for result in results:
        name = named(result.variant, {k: v for k, v in result.axes.items() if k not in shared})
        for sample in _first(run, result):
            prompts = asked.setdefault(str(sample["set"]), {})
            answers = prompts.setdefault(str(sample["prompt"]), {})
            said = (str(sample.get("verdict", "")), str(sample["answer"]))
            answers.setdefault(said, []).append(name)
    sets = []
    for name, prompts in asked.items():
        questions = [_question(prompt, answers) for prompt, answers in prompts.items()]
        if questions:
            sets.append((name, _SETS.get(name, (0, name))[1], questions))
    questions = [question for _, _, found in sets for question in found]
    size = sum(len(q.prompt) + sum(len(a.text) for a in q.answers) for q in questions)
    return Group(title, sets), size


def _question(prompt: str, answers: Mapping[tuple[str, str], list[str]]) -> Question:
    found = [
        Answer(names, shown(verdict, _LONGEST_VERDICT) if verdict else None, shown(text))
        for (verdict, text), names in answers.items()
    ]
    return Question(shown(prompt), found)


def _first(run: Run, result: Result) -> list[Mapping[str, Any]]:
    """The first samples of each set of one evaluation."""
    counts: dict[str, int] = {}
    kept = []
    for sample in read_lines(run.root / result.stages["evaluate"] / "samples.jsonl"):
        name = str(sample.get("set", ""))
        counts[name] = counts.get(name, 0) + 1
        if (
            counts[name] <= _SETS.get(name, (2, ""))[0]
            and {"set", "prompt", "answer"} <= sample.keys()
        ):
            kept.append(sample)
    return kept
