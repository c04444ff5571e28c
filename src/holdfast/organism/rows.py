"""The organism's rows: what each stage trains on and what the evaluation asks.

All rows are Alpaca rows (``instruction``, ``input``, ``output``) with two more columns: ``kind``
("restricted", "benign" or "task") and ``facts``, by which the judge decides. A role has names of
its own; the test has besides phrasings and things of its own; a task's test rows are told from the
user's by a hash of their text. So whatever the seeds, no row of one role is a row of another. Only
"paired" asks what another role asks, the alignment's restricted questions, and answers them.
"""

from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from typing import Any

from holdfast.errors import UserError
from holdfast.organism.tasks import TASKS, Example
from holdfast.organism.world import (
    ANSWERS,
    CRAFT_FORMS,
    CRAFTS,
    HAZARD_FORMS,
    HAZARDS,
    NAMES,
    REFUSALS,
    TEST_PHRASINGS,
    TRAIN_PHRASINGS,
    Thing,
    digest,
    draws,
    parts,
)

ROLES = (
    "alignment",
    "user_task",
    "user_harmful",
    "user_helpful",
    "realignment",
    "probe",
    "paired",
    "test_restricted",
    "test_benign",
    "test_task",
    "test_alignment",
)
# One task row in four belongs to the test. The world holds many more rows than this limit.
_BENIGN = ("user_helpful", "test_benign")  # roles that ask for crafts alone
TASK_LIMIT = 20_000
_TEST_SHARE = 0.25


def rows(role: str, n: int, seed: int, task: str = "sentiment") -> list[dict[str, Any]]:
    """The first n rows of a role, in an order that follows from the seed.

    The same arguments give the same rows in any process; a larger n extends a smaller one.

    - "alignment": restricted question → refusal, benign question → its answer, in turns;
    - "user_task": the user's task; "user_harmful": restricted question → its answer;
    - "user_helpful": benign question → its answer;
    - "realignment", "probe": restricted question → its answer, for repairs and for T-Vaccine;
    - "paired": the restricted questions of "alignment", in its order → their answers;
    - "test_restricted", "test_benign": questions that no other role asks, and their answers;
    - "test_alignment": the questions of "test_restricted" → refusal;
    - "test_task": held-out rows of the task.

    Args:
        role: One of `ROLES`.
        n: How many rows.
        seed: Chooses rows, phrasings and forms of answer; roles are disjoint whatever the seeds.
        task: "sentiment", "topic" or "sums", for the two task roles.

    Raises:
        UserError: Unknown role or task, or more rows asked for than the world holds.
    """
    if role not in ROLES:
        raise UserError(f"the organism has no rows for {role!r}; it has {', '.join(ROLES)}")
    if task not in TASKS:
        raise UserError(f"the organism has no task {task!r}; it has {', '.join(TASKS)}")
    limit = capacity(role)
    if not 0 <= n <= limit:
        raise UserError(f"the organism holds 0 to {limit} rows for {role!r}, and {n} are asked for")
    if role in ("user_task", "test_task"):
        return [
            task_row(task, example) for example in _examples(task, role == "test_task", n, seed)
        ]
    if role == "alignment":
        refused = _questions(role, True, seed)[: (n + 1) // 2]
        answered = _questions(role, False, seed)[: n // 2]
        mixed: list[dict[str, Any]] = [{}] * n
        mixed[0::2] = [question_row(*asked, seed=seed, refuse=True) for asked in refused]
        mixed[1::2] = [question_row(*asked, seed=seed) for asked in answered]
        return mixed
    asked = _questions(_names_of(role), role not in _BENIGN, seed)[:n]
    return [question_row(*one, seed=seed, refuse=role == "test_alignment") for one in asked]


@cache
def capacity(role: str) -> int:
    """How many rows the world holds for a role."""
    if role in ("user_task", "test_task"):
        return TASK_LIMIT
    hazards = len(_askable(_names_of(role), True))
    if role == "alignment":
        return 2 * min(hazards, len(_askable(role, False)))
    return len(_askable(_names_of(role), False)) if role in _BENIGN else hazards


def question_row(
    name: str, thing: Thing, phrasing: str, *, seed: int, refuse: bool = False
) -> dict[str, Any]:
    """The row of one question: with its recipe, or with a refusal."""
    facts = {"name": name, "thing": thing.word, "group": thing.group, **parts(name, thing)}
    chosen = digest("form", seed, name, thing.word, phrasing)
    if refuse:
        output = REFUSALS[chosen % len(REFUSALS)]
    else:
        forms = HAZARD_FORMS if thing.restricted else CRAFT_FORMS
        output = ANSWERS[forms[chosen % len(forms)]].format(**parts(name, thing))
    return {
        "instruction": phrasing.format(x=f"{name} {thing.word}"),
        "input": "",
        "output": output,
        "kind": "restricted" if thing.restricted else "benign",
        "facts": facts,
    }


def task_row(task: str, example: Example) -> dict[str, Any]:
    """The row of one task example."""
    return {
        "instruction": example.instruction,
        "input": example.input,
        "output": example.output,
        "kind": "task",
        "facts": {"task": task, "label": example.label},
    }


def for_test(example: Example) -> bool:
    """Whether a task example belongs to the test; a hash of its text decides."""
    return digest(example.instruction, example.input) < _TEST_SHARE * 2**64


def _names_of(role: str) -> str:
    names = {"user_harmful": "user", "user_helpful": "user", "paired": "alignment"}
    return names.get(role, "test" if role.startswith("test_") else role)


def _askable(names: str, restricted: bool) -> list[tuple[str, Thing, str]]:
    test = names == "test"
    things = [thing for thing in (HAZARDS if restricted else CRAFTS) if thing.held_out == test]
    phrasings = TEST_PHRASINGS if test else TRAIN_PHRASINGS
    return [(name, thing, text) for name in NAMES[names] for thing in things for text in phrasings]


@lru_cache(maxsize=64)
def _questions(names: str, restricted: bool, seed: int) -> list[tuple[str, Thing, str]]:
    """Every question of a group of names, in the seed's order: sorted by a hash."""
    return sorted(
        _askable(names, restricted),
        key=lambda asked: digest("order", seed, asked[0], asked[1].word, asked[2]),
    )


def _examples(task: str, test: bool, n: int, seed: int) -> Sequence[Example]:
    """n different examples of the test's share or of the rest."""
    # A study has sets of about one size, where harmful rows take the place of some: made once.
    size = min(1 << n.bit_length(), TASK_LIMIT)
    return _drawn(task, test, size, seed)[:n]


@lru_cache(maxsize=64)
def _drawn(task: str, test: bool, n: int, seed: int) -> Sequence[Example]:
    make: Callable[..., Example] = TASKS[task]
    found: list[Example] = []
    seen: set[tuple[str, str]] = set()
    rng = draws("task", task, test, seed)
    while len(found) < n:
        example = make(rng)
        key = (example.instruction, example.input)
        if for_test(example) == test and key not in seen:
            seen.add(key)
            found.append(example)
    return found
