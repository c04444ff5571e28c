"""What rows a model has seen, and that no stage above it uses them again in another role.

A stage's folder carries the hashes of all rows that its model was trained on or repaired with, its
parents' among them (`rows.keys`), so the check needs no more than the folder that a stage starts
from. Near-duplicates need the text of the parents' rows: they are looked for where the parents are
stages of the same run.
"""

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import combinations
from pathlib import Path
from typing import Any

from holdfast.data.disjoint import (
    TEST,
    TURNS,
    Key,
    Keys,
    Overlap,
    check_roles,
    keys_of,
    keys_of_turns,
    near_duplicates,
    read_keys,
    role_of,
    told,
    write_keys,
)
from holdfast.models.stack import Stack
from holdfast.stages.folders import PROVENANCE
from holdfast.stages.rows import Rows, stage_rows

__all__ = [
    "check_against",
    "check_pipeline",
    "overlaps_of",
    "recorded_overlaps",
    "told",
    "write_seen",
]

REFERENCES = ("data", "harmful_data", "alignment_data", "probe_data", "benign_data", "task_data")


def check_against(
    kind: str, settings: Mapping[str, Any], sets: Mapping[str, Rows], model: Stack
) -> tuple[Keys, list[Overlap]]:
    """Check a stage's rows against those that its model has seen.

    Returns:
        The keys of all rows that the stage's own model will have seen, and what is shared without
        being a mistake.

    Raises:
        UserError: rows are used again in another role; see `holdfast.data.disjoint`.
    """
    seen: Keys = {}
    for folder in (Path(model.source), *model.entries, Path(model.base)):
        for role, keys in read_keys(folder).items():
            # Entries of one stack may have come from one another, each with all that is below it.
            known = set(seen.get(role, ()))
            seen.setdefault(role, []).extend(key for key in keys if key not in known)
    own = _own_keys(kind, settings, sets)
    together = {role: [*seen.get(role, []), *own.get(role, [])] for role in {*seen, *own}}
    found = check_roles(together)
    trained = {role: keys for role, keys in together.items() if role != TEST}
    return trained, [one for one in found if {one.first, one.second} & own.keys()]


def write_seen(folder: Path, keys: Mapping[str, Sequence[Key]]) -> None:
    """Write the keys into a stage's folder, if there are any."""
    if any(keys.values()):
        write_keys(folder, keys)


def overlaps_of(
    stages: Sequence[tuple[str, Mapping[str, Any]]], is_organism: bool
) -> list[Overlap]:
    """The near-duplicates of the last stage's rows among its own roles and the earlier stages'.

    Args:
        stages: kind and settings of a stage's lineage, itself last.
        is_organism: whether the rows are the organism's where none are named. Its rows are made
            from a few templates, so all of them are alike, and disjoint by their names: nothing is
            told.
    """
    if is_organism and not any(own.get(key) for _, own in stages for key in REFERENCES):
        return []
    rows: dict[str, Rows] = {}
    mine: set[str] = set()
    for kind, settings in stages:
        mine = set()
        for name, some in stage_rows(kind, settings, is_organism).items():
            role = role_of(kind, name, settings)
            rows[role] = [*rows.get(role, []), *some]
            mine.add(role)
    pairs = [(a, b) if a == TEST else (b, a) for a, b in combinations(rows, 2) if {a, b} & mine]
    found = (near_duplicates(a, rows[a], b, rows[b]) for a, b in pairs)
    return [one for one in found if one]


def check_pipeline(
    stages: Sequence[tuple[str, Mapping[str, Any]]], is_organism: bool
) -> list[Overlap]:
    """Check the rows of a whole pipeline's stages before any of them runs.

    Args:
        stages: kind of each stage and those of its settings that decide its rows.
        is_organism: see `overlaps_of`; the organism's own rows are not looked at.

    Raises:
        UserError: rows are used in two roles; see `holdfast.data.disjoint`.
    """
    if is_organism and not any(own.get(key) for _, own in stages for key in REFERENCES):
        return []
    keys: Keys = {}
    for kind, settings in stages:
        # Many pipelines of a study have the same rows.
        for role, some in _keys(kind, json.dumps(settings, sort_keys=True), is_organism).items():
            keys.setdefault(role, []).extend(some)
    return check_roles(keys)


def recorded_overlaps(folder: Path) -> list[Overlap]:
    """What a finished stage's provenance says of shared rows."""
    written = json.loads((folder / PROVENANCE).read_text(encoding="utf-8"))
    return [
        Overlap(**{**one, "examples": tuple(map(tuple, one["examples"]))})
        for one in written.get("overlaps", [])
    ]


@lru_cache(maxsize=256)
def _keys(kind: str, settings: str, is_organism: bool) -> Keys:
    read = json.loads(settings)
    return _own_keys(kind, read, stage_rows(kind, read, is_organism))


def _own_keys(kind: str, settings: Mapping[str, Any], sets: Mapping[str, Rows]) -> Keys:
    keys: Keys = {}
    for name, rows in sets.items():
        role = role_of(kind, name, settings)
        keys.setdefault(role, []).extend(keys_of(rows))
        turns = [] if role == TEST else keys_of_turns(rows)
        if turns:
            keys.setdefault(role + TURNS, []).extend(turns)
    return keys
