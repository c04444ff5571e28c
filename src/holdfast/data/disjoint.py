"""Alignment, probe, user, realignment and test rows of one pipeline are disjoint.

Rows are known by hashes of their content, so that a stage's folder can carry those of all rows that
its model has seen (`rows.keys`), and a chain of single commands is checked as a pipeline is. What
is an error and what is told:

- The same row (prompt and answer) in two of the training roles is an error.
- The same prompt with another answer in two training roles is told: BeaverTails answers a question
  several times, and the same question refused in alignment and answered by a user is the attack.
- A test prompt that was trained on, whatever its answer, is an error; but where both rows are of
  different splits of one known data set it is told: that data set was published so, and nobody but
  its authors can mend it without leaving the protocol.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

from holdfast.data.keys import prompt_key, row_key, turn_keys
from holdfast.data.near import SIMILAR, NearPair, asked, near_pairs
from holdfast.data.prompts import Row, parts, plain, shape
from holdfast.data.sources.reference import SOURCES
from holdfast.errors import UserError

KEYS_FILE = "rows.keys"
TEST = "test"
# The roles whose rows train or steer a model, in the order of the stages.
TRAINING_ROLES = ("alignment", "probe", "user", "realignment")
# Beside a role's rows: what their conversations ask and answer before the last answer.
TURNS = " turns"
_DIGITS = 16  # of a hash in hexadecimal: 8 bytes, so 10⁵ rows collide by chance once in 10⁹ runs

_ORIGINS = {
    f"{source.name}/{part.split}" for source in SOURCES.values() for part in source.parts.values()
}


class Key(NamedTuple):
    """A row's content: hashes of the whole row and of its prompt, and the split that it is from.

    Args:
        row: Of prompt and answer.
        prompt: Of the prompt.
        origin: "source/split" of a known data set, else "".
    """

    row: str
    prompt: str
    origin: str


Keys = dict[str, list[Key]]


@dataclass(frozen=True)
class Overlap:
    """What two sets of rows share, without being a mistake.

    Args:
        kind: "same prompt", or "near duplicate".
        first: The first set's role.
        second: The second's.
        count: How many rows of the first have such a row in the second.
        of: How many rows the first has.
        examples: Up to three pairs of row numbers, from 1, in the first and the second set; of a
            role that several stages have rows of, in all of them one after the other.
    """

    kind: str
    first: str
    second: str
    count: int
    of: int
    examples: tuple[tuple[int, int], ...] = ()

    def record(self) -> dict[str, Any]:
        """The entry of provenance.json."""
        return asdict(self)


def role_of(kind: str, name: str, settings: Mapping[str, Any]) -> str:
    """Return the role of a stage's set of rows.

    Args:
        kind: The kind of stage; all sets of an evaluation are test rows.
        name: The set's name in the stage: "train", "probe", "paired", "alignment" or "anchors".
        settings: The stage's settings; a repair's `source` says whose rows score the weights, and
            a user's own or benign ones may be rows that were trained on.
    """
    if kind == "evaluate":
        return TEST
    if kind == "repair" and name == "train":
        return {"user": "user", "benign": "alignment"}.get(settings["source"], "realignment")
    if name == "train":
        return "alignment" if kind == "align" else "user"
    return {"paired": "probe", "anchors": "user"}.get(name, name)


def keys_of(rows: Sequence[Row]) -> list[Key]:
    """Return the keys of rows; of a row without an answer both hashes are the prompt's."""
    return [_key(row) for row in rows]


def keys_of_turns(rows: Sequence[Row]) -> list[Key]:
    """Return the keys of the answers that rows train before their last; of most rows there is none.

    A conversation trains every question in it, so none of them may be a test prompt.
    """
    return [
        Key(whole[:_DIGITS], prompt[:_DIGITS], _origin(row))
        for row in rows
        for whole, prompt in turn_keys(row)
    ]


def check_roles(keys: Mapping[str, Sequence[Key]]) -> list[Overlap]:
    """Check that sets of rows are disjoint by role, and tell what they share without harm.

    Args:
        keys: The keys of each role's rows.

    Raises:
        UserError: Two roles share rows that they must not; it names the roles and the counts.
    """
    told = []
    for first, second in combinations([role for role in TRAINING_ROLES if keys.get(role)], 2):
        ours, theirs = keys[first], keys[second]
        rows = {key.row for key in theirs}
        same = sum(key.row in rows for key in ours)
        if same:
            raise UserError(
                f"{same} of {len(ours)} {first} rows are among the {len(theirs)} {second} rows "
                "too; they must be disjoint: leave those rows out of one of the two"
            )
        told += _same_prompts(first, ours, second, theirs)
    for role in TRAINING_ROLES:
        if keys.get(role) and keys.get(TEST):
            told += _test_prompts(keys[TEST], role, keys[role], keys.get(role + TURNS, ()))
    return told


def near_duplicates(
    first: str, ours: Sequence[Row], second: str, theirs: Sequence[Row]
) -> Overlap | None:
    """Return how many rows of one role ask nearly what rows of another do, or None if none does.

    Rows whose prompts are equal are not counted: `check_roles` tells them.
    """
    prompts = {prompt_key(row) for row in theirs}
    chosen = [number for number, row in enumerate(ours) if prompt_key(row) not in prompts]
    pairs = near_pairs([asked(ours[number]) for number in chosen], [asked(row) for row in theirs])
    if not pairs:
        return None
    examples = tuple((chosen[pair.first - 1] + 1, pair.second) for pair in _most_alike(pairs))
    return Overlap("near duplicate", first, second, len(pairs), len(ours), examples)


def told(overlaps: Sequence[Overlap]) -> str:
    """Return one line on overlaps, or "" where there is none."""
    words = []
    for one in overlaps:
        how = "the same as" if one.kind == "same prompt" else f"nearly (≥ {SIMILAR:.0%}) what"
        words.append(f"{one.count} of {one.of} {one.first} rows ask {how} {one.second} rows")
    return "; ".join(words)


def write_keys(folder: Path, keys: Mapping[str, Sequence[Key]]) -> None:
    """Write the keys of all rows that a model has seen into its folder, 17 bytes a row."""
    origins = sorted({key.origin for some in keys.values() for key in some})
    number = {origin: f"{place:02x}" for place, origin in enumerate(origins)}
    content = {
        "origins": origins,
        "roles": {
            role: "".join(key.row + key.prompt + number[key.origin] for key in some)
            for role, some in keys.items()
        },
    }
    (folder / KEYS_FILE).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def read_keys(folder: Path) -> Keys:
    """Return the keys in a model's folder; none where it has no such file.

    Raises:
        UserError: The file is broken.
    """
    path = folder / KEYS_FILE
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        origins, size = content["origins"], 2 * _DIGITS + 2
        return {
            role: [
                Key(key[:_DIGITS], key[_DIGITS:-2], origins[int(key[-2:], 16)])
                for key in (text[i : i + size] for i in range(0, len(text), size))
            ]
            for role, text in content["roles"].items()
        }
    except (OSError, ValueError, AttributeError, TypeError, LookupError):
        raise UserError(
            f"{path} does not hold the keys of a model's rows: remove it, and rows are no more "
            "checked against those that the model has seen"
        ) from None


def _key(row: Row) -> Key:
    prompt = prompt_key(row)[:_DIGITS]
    answered = shape(row) == "tokenized" or plain(parts(row, need_answer=False).answer).strip()
    whole = row_key(row)[:_DIGITS] if answered else prompt
    return Key(whole, prompt, _origin(row))


def _origin(row: Row) -> str:
    origin = str(row.get("id", "")).rpartition("/")[0]
    return origin if origin in _ORIGINS else ""


def _same_prompts(
    first: str, ours: Sequence[Key], second: str, theirs: Sequence[Key]
) -> list[Overlap]:
    where: dict[str, int] = {}
    for number, key in enumerate(theirs, start=1):
        where.setdefault(key.prompt, number)
    pairs = [(n, where[key.prompt]) for n, key in enumerate(ours, start=1) if key.prompt in where]
    if not pairs:
        return []
    return [Overlap("same prompt", first, second, len(pairs), len(ours), tuple(pairs[:3]))]


def _test_prompts(
    test: Sequence[Key], role: str, trained: Sequence[Key], turns: Sequence[Key]
) -> list[Overlap]:
    origins: dict[str, set[str]] = {}
    for key in [*trained, *turns]:
        origins.setdefault(key.prompt, set()).add(key.origin)
    wrong = sum(
        any(not _published(key.origin, other) for other in origins.get(key.prompt, ()))
        for key in test
    )
    if wrong:
        raise UserError(
            f"{wrong} of {len(test)} test prompts are among the {len(trained)} {role} rows: the "
            "model would be tested on what it was trained on; leave those rows out of the training"
        )
    return _same_prompts(TEST, test, role, trained)


def _published(one: str, other: str) -> bool:
    """Whether two rows are of different splits of one known data set."""
    return bool(one) and one != other and one.split("/")[0] == other.split("/")[0]


def _most_alike(pairs: Sequence[NearPair]) -> list[NearPair]:
    return sorted(pairs, key=lambda pair: (-pair.similarity, pair.first))[:3]
