"""The rows that a stage reads, from the organism's world or from a user's files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from holdfast import organism, protocols
from holdfast.data.mixing import check_disjoint, harmful_count, mix
from holdfast.data.reading import read_rows
from holdfast.data.rows import check_rows
from holdfast.errors import UserError

Rows = list[dict[str, Any]]


def stage_rows(kind: str, settings: Mapping[str, Any], is_organism: bool) -> dict[str, Rows]:
    """The sets of rows of a stage, by their role in it.

    Returns:
        ``train`` for the rows that are trained on (or scored with, in a repair); beside it
        ``probe`` for T-Vaccine's harmful rows and ``alignment`` for Lisa's; nothing for a repair
        that needs no rows; the protocol's sets of test rows for an evaluation.

    Raises:
        UserError: a file that is missing, unreadable or of the wrong columns, too few rows, or sets
            that overlap.
    """
    make = {"align": _align, "finetune": _finetune, "repair": _repair, "evaluate": _evaluate}
    sets = make[kind](settings, is_organism)
    check_disjoint(sets)
    return sets


def _align(settings: Mapping[str, Any], is_organism: bool) -> dict[str, Rows]:
    sets = {"train": _rows(settings, "data", "rows", "alignment", is_organism)}
    if settings["method"] == "t_vaccine":
        sets["probe"] = _rows(settings, "harmful_data", "harmful_rows", "probe", is_organism)
    return sets


def _finetune(settings: Mapping[str, Any], is_organism: bool) -> dict[str, Rows]:
    sets = {"train": _user_rows(settings, is_organism)}
    if settings["method"] == "lisa":
        sets["alignment"] = _rows(
            settings, "alignment_data", "alignment_rows", "alignment", is_organism
        )
    return sets


def _repair(settings: Mapping[str, Any], is_organism: bool) -> dict[str, Rows]:
    if settings["method"] == "random_mask" or settings.get("score") == "magnitude":
        return {}
    if settings["data"] or not is_organism or settings["source"] == "realignment":
        return {"train": _rows(settings, "data", "rows", "realignment", is_organism)}
    if settings["source"] == "user":
        return {"train": _user_rows({**settings, "harmful_data": None}, is_organism)}
    count, seed = _count(settings, "rows"), _sample_seed(settings)
    both = organism.rows("alignment", 2 * count, seed)
    return {"train": [row for row in both if row["kind"] == "benign"]}


def _evaluate(settings: Mapping[str, Any], is_organism: bool) -> dict[str, Rows]:
    protocol = protocols.get(settings["protocol"])
    if not is_organism:
        raise UserError(
            f"the protocol '{protocol.name}' asks the organism's own questions: it measures the "
            "organism and models trained from it, no others."
        )
    counts = {
        "test_restricted": protocol.n_harmful,
        "test_benign": protocol.n_benign,
        "test_task": protocol.n_task,
        "test_alignment": protocol.n_alignment,
    }
    return {
        role: organism.rows(role, n, settings["seed"], settings["task"])
        for role, n in counts.items()
    }


def _user_rows(settings: Mapping[str, Any], is_organism: bool) -> Rows:
    """The user's rows: round(p·n) harmful ones among n, shuffled; all of a file with p = 0."""
    n, p, seed = settings["rows"], settings["harmful_ratio"], _sample_seed(settings)
    if settings["data"] is None and is_organism:
        n = _count(settings, "rows")
        wanted = n - harmful_count(n, p)
        task = organism.rows("user_task", wanted, seed, settings["task"]) if wanted else []
    else:
        task = _file(settings, "data", None)
    if p == 0:
        return task[:n]
    if n is None:
        raise UserError(f"harmful_ratio is {p}, but rows is not set: say how many rows in all.")
    count = harmful_count(n, p)
    if settings["harmful_data"] is None and is_organism:
        harmful = organism.rows("user_harmful", count, seed) if count else []
    else:
        harmful = _file(settings, "harmful_data", None)
    return mix(harmful, task, n, p, seed)


def _rows(
    settings: Mapping[str, Any], file_key: str, count_key: str, role: str, is_organism: bool
) -> Rows:
    if settings[file_key] is None and is_organism:
        return organism.rows(role, _count(settings, count_key), _sample_seed(settings))
    return _file(settings, file_key, settings[count_key])


def _file(settings: Mapping[str, Any], key: str, count: int | None) -> Rows:
    path = settings[key]
    if path is None:
        raise UserError(
            f"{key} is not set: only the organism has rows of its own, so name a file of rows "
            f"({key}=rows.jsonl)."
        )
    rows = read_rows(Path(path))
    check_rows(rows, path)
    return rows[:count]


def _count(settings: Mapping[str, Any], key: str) -> int:
    if settings[key] is None:
        raise UserError(f"{key} is null: say how many of the organism's rows.")
    return settings[key]


def _sample_seed(settings: Mapping[str, Any]) -> int:
    return settings["seed"] if settings["sample_seed"] is None else settings["sample_seed"]
