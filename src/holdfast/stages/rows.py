"""The rows that a stage reads, from the organism's world, a known data set or a user's files.

Which rows are drawn and their order are decided apart:

- Of a data set, ``sampling=first`` draws the first rows in its order, as the papers do, whatever
  the seeds; ``sampling=random`` draws by ``sample_seed``. The organism always draws by it.
- The order in training follows from ``data_seed``, or ``seed``, alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from holdfast import attacks, organism
from holdfast.data import sources
from holdfast.data.columns import checked
from holdfast.data.mixing import check_disjoint, draw, harmful_count, mix
from holdfast.data.pairs import check_pairs
from holdfast.data.rows import check_rows
from holdfast.data.sources import split_reference
from holdfast.errors import UserError
from holdfast.registry import plan_of
from holdfast.stages.evaluation.settings import check_own_files, evaluation_rows
from holdfast.stages.methods import method_of

Rows = list[dict[str, Any]]


def stage_rows(kind: str, settings: Mapping[str, Any], is_organism: bool) -> dict[str, Rows]:
    """The sets of rows of a stage, by their role in it.

    Returns:
        ``train`` for the rows that are trained on (or scored with, in a repair); beside it
        ``probe`` for the defender's harmful rows of a method that asks for them (T-Vaccine),
        ``paired`` for those that answer prompts of ``train`` (RepNoise) and ``alignment`` for
        alignment rows (Lisa); nothing for a repair that needs no rows; the protocol's sets of test
        rows for an evaluation.

    Raises:
        UserError: a file that is missing, unreadable or of the wrong columns, too few rows, or sets
            that overlap.
    """
    make = {"align": _align, "screen": _screen, "finetune": _finetune, "repair": _repair}
    sets = make.get(kind, _evaluate)(settings, is_organism)
    # What is asked may be asked by two measures, and what a screen finds may be known to it.
    if kind not in ("screen", "evaluate"):
        check_disjoint(sets)
    return sets


def check_files(kind: str, settings: Mapping[str, Any]) -> dict[str, Rows]:
    """Check the rows of a stage that are in files; reads no known data set and nothing of the Hub.

    Returns:
        Each file's rows, by the setting that names it.

    Raises:
        UserError: a file that is missing, unreadable or of the wrong columns.
    """
    if kind == "evaluate":
        return check_own_files(settings)
    return {
        key: _file(settings, key, None)
        for key in ("data", "harmful_data", "alignment_data", "probe_data")
        if settings.get(key) is not None and split_reference(settings[key]).path
    }


def _align(settings: Mapping[str, Any], is_organism: bool) -> dict[str, Rows]:
    sets = {"train": _rows(settings, "data", "rows", "alignment", is_organism)}
    if "harmful_dataset" in method_of("align", settings["method"]).asks:
        sets["probe"] = _rows(settings, "harmful_data", "harmful_rows", "probe", is_organism)
    if "paired_dataset" in method_of("align", settings["method"]).asks:
        sets["paired"] = _rows(settings, "harmful_data", "harmful_rows", "paired", is_organism)
        check_pairs(sets["paired"], sets["train"])
    return sets


def _screen(settings: Mapping[str, Any], is_organism: bool) -> dict[str, Rows]:
    return {"train": _user_rows(settings, is_organism), **known_rows(settings, is_organism)}


def known_rows(settings: Mapping[str, Any], is_organism: bool) -> dict[str, Rows]:
    """The rows that a screen compares a user's with: ``probe``, harmful ones, and ``alignment``.

    Raises:
        UserError: as `stage_rows`.
    """
    asks, sets = method_of("screen", settings["method"]).asks, {}
    if "harmful_dataset" in asks:
        sets["probe"] = _rows(settings, "probe_data", "probe_rows", "probe", is_organism)
    if "alignment_dataset" in asks and (is_organism or settings["alignment_data"]):
        sets["alignment"] = _rows(
            settings, "alignment_data", "alignment_rows", "alignment", is_organism
        )
    return sets


def _finetune(settings: Mapping[str, Any], is_organism: bool) -> dict[str, Rows]:
    sets, method = {"train": _user_rows(settings, is_organism)}, settings["method"]
    if anchors := _anchors(settings, is_organism):
        sets["anchors"] = anchors
    reads = plan_of("finetune", method).reads_rows(settings)
    asks = method_of("finetune", method).asks if reads else ()
    if "alignment_dataset" in asks:
        sets["alignment"] = _rows(
            settings, "alignment_data", "alignment_rows", "alignment", is_organism
        )
    if "harmful_dataset" in asks:
        sets["probe"] = _rows(settings, "probe_data", "probe_rows", "probe", is_organism)
    return sets


def _repair(settings: Mapping[str, Any], is_organism: bool) -> dict[str, Rows]:
    method = settings["method"]
    asks, sets = method_of("repair", method).asks, {}
    if "alignment_dataset" in asks:
        sets["alignment"] = _rows(
            settings, "alignment_data", "alignment_rows", "alignment", is_organism
        )
    if "dataset" in asks and plan_of("repair", method).reads_rows(settings):
        sets["train"] = _scored_rows(settings, is_organism)
    return sets


def _scored_rows(settings: Mapping[str, Any], is_organism: bool) -> Rows:
    if settings["data"] or not is_organism or settings["source"] == "realignment":
        return _rows(settings, "data", "rows", "realignment", is_organism)
    if settings["source"] == "user" and attacks.ATTACKS[settings.get("attack", "mixed")].chooses:
        raise UserError(
            f"source is user, and attack={settings['attack']} lets the model choose the user's "
            "rows as it is trained: let others score the weights (source=realignment)."
        )
    if settings["source"] == "user":
        return _user_rows({**settings, "harmful_data": None}, is_organism)
    count, seed = _count(settings, "rows"), _sample_seed(settings)
    both = organism.rows("alignment", 2 * count, seed)
    return [row for row in both if row["kind"] == "benign"]


def _evaluate(settings: Mapping[str, Any], is_organism: bool) -> dict[str, Rows]:
    return evaluation_rows(settings, is_organism)


def _user_rows(settings: Mapping[str, Any], is_organism: bool) -> Rows:
    """The user's rows as the attack has it, shuffled; all of a file where nothing is mixed in."""
    n, p, seed = settings["rows"], settings["harmful_ratio"], _sample_seed(settings)
    name = settings.get("attack") or attacks.MIXED
    mixes = attacks.ATTACKS[name].mixes
    if n is None and (p > 0 or not mixes or (settings["data"] is None and is_organism)):
        why = f"attack is {name}" if not mixes else f"harmful_ratio is {p}"
        why = f"{why}, but rows is not set" if p > 0 or not mixes else "rows is null"
        raise UserError(f"{why}: say how many rows in all.")
    source = _Users(settings, is_organism)
    if mixes and p == 0:
        return source.task(n)
    assert n is not None
    share = p if mixes else 1
    own, others = attacks.user_rows(name, n, harmful_count(n, share), source)
    seed = seed if is_organism or settings["sampling"] == "random" else 0
    if attacks.ATTACKS[name].chooses:  # what the model will choose from, and what it is put among
        return mix(own, others, len(own) + len(others), len(own) / (len(own) + len(others)), seed)
    return mix(own, others, n, share, seed)


def _anchors(settings: Mapping[str, Any], is_organism: bool) -> Rows | None:
    """The rows by which the model chooses, where an attack has it do so."""
    name, p = settings.get("attack") or attacks.MIXED, settings["harmful_ratio"]
    n, share = settings["rows"] or 1, p if attacks.ATTACKS[name].mixes else 1
    count = harmful_count(n, share)
    if not count:  # of few rows a small share is none: nothing is chosen
        return None
    return attacks.anchors(name, n, count, _Users(settings, is_organism))


@dataclass(frozen=True)
class _Users:
    """Where the rows of a user, and of an attacker, come from: `holdfast.attacks.Source`."""

    settings: Mapping[str, Any]
    is_organism: bool

    def task(self, count: int | None) -> Rows:
        """Rows of the task; all of a file for None."""
        return self._rows("data", "user_task", count)

    def harmful(self, count: int) -> Rows:
        """Harmful rows."""
        return self._rows("harmful_data", "user_harmful", count)

    def helpful(self, count: int) -> Rows:
        """Harmless requests with helpful answers."""
        return self._rows("data", "user_helpful", count)

    def _rows(self, key: str, role: str, count: int | None) -> Rows:
        if self.settings[key] is not None or not self.is_organism:
            return _file(self.settings, key, count)
        named = {"task": self.settings["task"]} if role == "user_task" else {}
        seed = _sample_seed(self.settings)
        return organism.rows(role, count, seed, **named) if count else []


def _rows(
    settings: Mapping[str, Any], file_key: str, count_key: str, role: str, is_organism: bool
) -> Rows:
    if settings[file_key] is None and is_organism:
        return organism.rows(role, _count(settings, count_key), _sample_seed(settings))
    return _file(settings, file_key, settings[count_key])


def _file(settings: Mapping[str, Any], key: str, count: int | None) -> Rows:
    """The rows of a data reference: all, or as many as are asked for and there."""
    reference = settings[key]
    if reference is None:
        raise UserError(
            f"{key} is not set: only the organism has rows of its own, so name a file of rows "
            f"({key}=rows.jsonl), a known data set ({key}=beavertails:safe; `holdfast data list` "
            f"names them) or one on the Hub ({key}=hub:owner/name:train)."
        )
    rows, is_known = sources.load(reference), sources.is_known(reference)
    if not is_known:
        rows = checked(rows, settings["columns"], reference)
    if settings["sampling"] == "random":
        rows = draw(rows, count, f"{key} {_sample_seed(settings)}")
    rows = rows[:count]
    if is_known and rows:  # of a known data set's many rows only those that are taken
        check_rows(rows, reference)
    return rows


def _count(settings: Mapping[str, Any], key: str) -> int:
    if settings[key] is None:
        raise UserError(f"{key} is null: say how many of the organism's rows.")
    return settings[key]


def _sample_seed(settings: Mapping[str, Any]) -> int:
    return settings["seed"] if settings["sample_seed"] is None else settings["sample_seed"]
