"""A study of real models, run small on the built-in model organism.

What the study asks is kept: its methods, its harmful ratios, its seeds and its axes. What belongs
to the size of its models is the organism's own recipe instead: rows, epochs, learning rate,
adapter, data, protocol. A number that the study varies around a value of its own (a learning
rate from 1e-7 to 1e-3 around 1e-4) becomes the same multiple of the organism's value; a zero
stays zero, and shares (harmful ratio, dense ratio) stay as they are. The tasks become the
organism's counterparts.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from holdfast import organism
from holdfast.errors import UserError
from holdfast.models.stack import ORGANISM
from holdfast.settings import Expression, Field
from holdfast.studies.defaults import defaults
from holdfast.studies.stages import KINDS, is_transformers, method_fields, stage_fields
from holdfast.studies.study import METHOD_KINDS, Study

TASKS = {"sst2": "sentiment", "agnews": "topic", "gsm8k": "sums"}
# What makes a method what it is; everything else of a stage belongs to the models' size.
_KEPT = ("method", "name", "adapter", "source")
_SHARES = ("dense_ratio", "harmful_ratio", "proximal_warmup")
_LARGEST = {"layers": 6}  # the organism has no more


def on_organism(study: Study) -> tuple[Study, list[str]]:
    """The study for the organism, and sentences on what could not be kept.

    Raises:
        UserError: nothing of the study is left, since no task of it has a counterpart.
    """
    notes = []
    shared = {k: v for k, v in study.shared.items() if k not in ("model", "dtype")}
    if isinstance(study.shared.get("model"), list):
        count = len(study.shared["model"])
        notes.append(f"The study compares {count} models; the organism stands for all of them.")
    if "task" in shared:
        shared["task"], left_out = _tasks(shared["task"], study.where)
        notes += [f"The task {task} has no counterpart: left out." for task in left_out]
    variants = {name: _variant(study, stages) for name, stages in study.variants.items()}
    scaled = {axis: _axis(study, axis, values) for axis, values in study.vary.items()}
    small = replace(
        study,
        shared={"model": ORGANISM, **shared},
        settings={},
        variants=variants,
        vary={axis: list(dict.fromkeys(new.values())) for axis, new in scaled.items() if new},
        when=(),
        exclude=tuple(entry for entry in study.exclude if "model" not in entry),
        published=tuple(_published(entry, scaled) for entry in study.published),
    )
    return small, notes


def _tasks(given: Any, where: str) -> tuple[Any, list[str]]:
    tasks = given if isinstance(given, list) else [given]
    known = [TASKS.get(task, task) for task in tasks if TASKS.get(task, task) in organism.TASKS]
    left_out = [task for task in tasks if TASKS.get(task, task) not in organism.TASKS]
    if not known:
        raise UserError(
            f"{where}: the task {', '.join(map(str, tasks))} has no counterpart on the organism; "
            f"those that have one are {', '.join(TASKS)}."
        )
    return (known if isinstance(given, list) else known[0]), left_out


def _variant(study: Study, stages: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {k: v for k, v in stages.items() if k not in KINDS}
    found.pop("model", None)
    if "task" in found:
        found["task"] = _tasks(found["task"], study.where)[0]
    for kind in METHOD_KINDS:
        if kind not in stages:
            continue
        value = stages[kind]
        own = {"method": value} if isinstance(value, str) else value
        found[kind] = None if own is None else _stage(study, kind, own)
    return found


def _stage(study: Study, kind: str, own: Mapping[str, Any]) -> dict[str, Any]:
    """A variant's settings of one stage: what makes the method, and numbers as multiples."""
    method = str(own.get("method", getattr(stage_fields(kind)["method"], "default", "")))
    written = {**study.settings.get(kind, {}), **study.settings.get(f"{kind}.{method}", {}), **own}
    base = _base(study, kind, method)
    kept: dict[str, Any] = {}
    for key, value in written.items():
        choice = isinstance(value, str | bool) and key in _mechanism(kind, method)
        if key in _KEPT or choice:
            kept[key] = value
        elif key in own and isinstance(value, list):
            scaled = [_scaled(kind, method, key, one, base.get(key)) for one in value]
            kept |= {key: scaled} if None not in scaled else {}
        elif key in own:
            scaled = _scaled(kind, method, key, value, base.get(key))
            kept |= {} if scaled is None else {key: scaled}
    return kept


def _mechanism(kind: str, method: str) -> set[str]:
    """The settings of the method itself, transformers' left out."""
    return {name for name in method_fields(kind, method) if not is_transformers(name)}


def _axis(study: Study, axis: str, values: list[Any]) -> dict[Any, Any]:
    """The organism's value for every value of an axis; empty where it has nothing like it."""
    kind, _, key = axis.partition(".")
    method = next(
        (m for m in _methods(study, kind) if key in method_fields(kind, m)),
        next(iter(_methods(study, kind)), ""),
    )
    if key in _KEPT or not all(isinstance(v, int | float) for v in values):
        return {value: value for value in values}
    base = _base(study, kind, method).get(key)
    scaled = {value: _scaled(kind, method, key, value, base) for value in values}
    return {} if None in scaled.values() else scaled


def _published(entry: Mapping[str, Any], scaled: Mapping[str, dict[Any, Any]]) -> dict[str, Any]:
    """A published number at the organism's place in the grid."""
    moved = dict(entry)
    if "task" in moved:
        moved["task"] = TASKS.get(moved["task"], moved["task"])
    for axis, values in scaled.items():
        if axis in moved:
            moved[axis] = values.get(moved[axis], moved[axis])
    return moved


def _methods(study: Study, kind: str) -> list[str]:
    found: dict[str, None] = {}
    for stages in study.variants.values():
        value = stages.get(kind)
        method = value.get("method") if isinstance(value, Mapping) else value
        if method:
            found[str(method)] = None
    return list(found)


def _base(study: Study, kind: str, method: str) -> dict[str, Any]:
    """The value that the study itself starts from: its settings over the method's defaults."""
    fields: dict[str, Any] = {**stage_fields(kind), **method_fields(kind, method)}
    own = {
        name: field.default
        for name, field in fields.items()
        if isinstance(field, Field) and not isinstance(field.default, Expression)
    }
    written = {**study.settings.get(kind, {}), **study.settings.get(f"{kind}.{method}", {})}
    known = {name: value for name, value in written.items() if name in fields}
    return {**own, **known} if method else known


def _scaled(kind: str, method: str, key: str, value: Any, base: Any) -> Any:
    """A number as the same multiple of the organism's own value; None where there is none."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    fields: dict[str, Any] = {**stage_fields(kind), **method_fields(kind, method)}
    recipe = defaults(kind, method, True)
    ours = recipe.get(key, getattr(fields.get(key), "default", None))
    if value == 0 or key in _SHARES:
        return value
    if not isinstance(ours, int | float) or not isinstance(base, int | float) or not base:
        return None
    scaled = ours * value / base
    if "int" in str(getattr(fields.get(key), "type", "")).replace("Literal", ""):
        scaled = min(max(1, round(scaled)), _LARGEST.get(key, round(scaled) or 1))
    return float(f"{scaled:.6g}") if isinstance(scaled, float) else scaled
