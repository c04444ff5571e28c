"""A study's pipelines: its variants times its axes."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any

from holdfast.errors import UserError
from holdfast.settings import Place, merge
from holdfast.stages.making import make_pipeline
from holdfast.stages.methods import knows
from holdfast.stages.pipeline import Pipeline, Stage
from holdfast.stages.settings import KINDS, method_fields, stage_fields
from holdfast.studies.study import Study
from holdfast.studies.variants import METHOD_KINDS

_MOST_PIPELINES = 100_000
_OF_ROWS = ("harmful_ratio", "attack")  # axes of whom is fine-tuned alone


@dataclass(frozen=True)
class Point:
    """One point of a study's grid, before its pipeline is made.

    Args:
        coords: its place: "variant", and the value of every axis that it has.
        seed: its seed.
        spec: what `make_pipeline` takes.
    """

    coords: dict[str, Any]
    seed: int
    spec: dict[str, Any]


def expand(
    study: Study, by_name: bool = False, known: dict[str, Stage] | None = None
) -> list[Pipeline]:
    """The pipelines of a study, seed by seed within each place of the grid.

    Args:
        study: the study.
        by_name: identify models and data by their names alone, for a plan: nothing is read or
            downloaded, and the identities are not those of a run.
        known: the stages that were made before, see `make_pipeline`.

    Raises:
        UserError: an axis that no method has, or whatever is wrong with a pipeline.
    """
    # Equal stages are resolved and hashed once: a grid has far fewer stages than pipelines.
    known = {} if known is None else known
    found = points(study)
    alone = len(study.variants) == 1
    return [
        make_pipeline(
            point.spec,
            _place(study, point, alone),
            coords=point.coords,
            known=known,
            by_name=by_name,
        )
        for point in found
    ]


def _place(study: Study, point: Point, alone: bool) -> Place:
    """Where the settings of a pipeline are from: what counts first, first."""
    variant = str(point.coords["variant"])
    holding = [
        ("when", number, "then")
        for number, (condition, _) in enumerate(study.when)
        if _matches({**point.spec, **point.coords}, condition)
    ]
    roots = [("over",), ("vary",), *reversed(holding), ("variants", variant), ("settings",), ()]
    return study.where.part("" if alone else variant, *roots)


def check_conditions(study: Study) -> None:
    """Check that every value in ``when`` and ``exclude`` is one that the study has.

    Those of a file that it extends may be for others that extend it; and words of the command line
    may narrow an axis, so this is for a study as its file says it.

    Raises:
        UserError: an axis, or a value of it, that is nowhere in the study.
    """
    entries = [("when", number, entry) for number, (entry, _) in enumerate(study.when)]
    entries += [("exclude", number, entry) for number, entry in enumerate(study.exclude)]
    for part, number, entry in entries:
        roots = ((part, number, "if"), (part, number))
        place = study.where.part(f"{part}, entry {number + 1}", *roots)
        if study.where.lines.get((part, number), (study.where.file, 0))[0] != study.where.file:
            continue
        for key, wanted in entry.items():
            there = _values(study, key)
            for value in wanted if isinstance(wanted, list) else [wanted]:
                if value not in there:
                    has = f"has {', '.join(map(str, there))}" if there else f"has no axis '{key}'"
                    raise UserError(
                        f"{place.at(key)}: there is no pipeline whose {key} is {value!r:.60}; the "
                        f"study {has}."
                    )


def _values(study: Study, key: str) -> list[Any]:
    """The values of an axis, or of a setting of whole pipelines, in all variants."""
    if key == "variant":
        return list(study.variants)
    found: list[Any] = []
    for stages in study.variants.values():
        axes = _axes(study, stages)
        shared = {**study.shared, **{k: v for k, v in stages.items() if k not in KINDS}}
        own = axes.get(key, [shared[key]] if key in shared else [])
        found += [value for value in own if value not in found]
    return found


def points(study: Study) -> list[Point]:
    """Every point of the grid, in the order of the file.

    Raises:
        UserError: an axis that no variant has; nothing is left after ``exclude``.
    """
    _check_count(study)
    found = []
    for variant, stages in study.variants.items():
        axes = _axes(study, stages)
        for values in product(*axes.values()):
            coords = {"variant": variant, **dict(zip(axes, values, strict=True))}
            if any(_matches(coords, entry) for entry in study.exclude):
                continue
            spec = _spec(study, stages, coords)
            found += [Point(coords, seed, {**spec, "seed": seed}) for seed in study.seeds]
    asked = [*study.vary, *(f"{kind}.{key}" for kind, own in study.over.items() for key in own)]
    for axis in asked:
        kind, _, name = axis.partition(".")
        if not any(_has(kind, stages, name) for stages in study.variants.values()):
            place = study.where.part("", ("over",), ("vary",)).at(*axis.split("."))
            raise UserError(f"{place}: no method of the study has a setting '{axis}'.")
    if not found:
        raise UserError(f"{study.where.at('exclude')}: exclude leaves nothing of the study.")
    return found


def _check_count(study: Study) -> None:
    """Refuse a grid that nobody could run, before it is built."""
    counts = [
        prod(map(len, _axes(study, stages).values())) * len(study.seeds)
        for stages in study.variants.values()
    ]
    if sum(counts) > _MOST_PIPELINES:
        raise UserError(
            f"{study.where.file}: the study has {sum(counts):,} pipelines, and a run takes at most "
            f"{_MOST_PIPELINES:,}: give fewer seeds or values, or make several studies of it."
        )


def point_at(study: Study, variant: str, at: Mapping[str, Any], seed: int) -> Point:
    """The point of a variant at those of the given values that its axes have, else their first."""
    stages = study.variants[variant]
    coords: dict[str, Any] = {"variant": variant}
    for axis, values in axes_of(study, variant).items():
        coords[axis] = at[axis] if axis in at and at[axis] in values else values[0]
    return Point(coords, seed, {**_spec(study, stages, coords), "seed": seed})


def axes_of(study: Study, variant: str) -> dict[str, list[Any]]:
    """The axes of a variant with their values."""
    return _axes(study, study.variants[variant])


def _axes(study: Study, stages: Mapping[str, Any]) -> dict[str, list[Any]]:
    """The axes of a variant: shared lists, ``vary`` where its methods have it, lists of its own."""
    shared = {**study.shared, **{k: v for k, v in stages.items() if k not in KINDS}}
    axes = {key: value for key, value in shared.items() if isinstance(value, list)}
    if not stages.get("finetune"):
        axes = {key: value for key, value in axes.items() if key not in _OF_ROWS}
    for key, values in study.vary.items():
        kind, _, name = key.partition(".")
        if _has(kind, stages, name):
            axes[key] = values
    for kind, key, value in _settings_of(study, stages):
        if isinstance(value, list) and not _takes_list(kind, _method(stages, kind), key):
            axes[f"{kind}.{key}"] = value
    return axes


def _settings_of(study: Study, stages: Mapping[str, Any]) -> Iterator[tuple[str, str, Any]]:
    for kind in KINDS:
        if kind == "evaluate" or stages.get(kind) is not None:
            for key, value in _given(study, stages, kind).items():
                yield kind, key, value


def _given(study: Study, stages: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """A stage's settings in the file: those of all methods, of its method, of the variant."""
    value = stages.get(kind)
    if not isinstance(value, str | Mapping | None):
        return {"method": value}  # told where the stage is made
    own = dict(value) if isinstance(value, Mapping) else {}
    if isinstance(value, str):
        own = {"method": value}
    below = study.settings.get(kind, {})
    method = own.get("method", below.get("method"))
    return merge(merge(below, study.settings.get(f"{kind}.{method}", {})), own)


def _method(stages: Mapping[str, Any], kind: str) -> str:
    value = stages.get(kind)
    if isinstance(value, Mapping):
        default = getattr(stage_fields(kind).get("method"), "default", "")
        return str(value.get("method", default))
    return str(value)


def _has(kind: str, stages: Mapping[str, Any], setting: str) -> bool:
    """Whether the method of a stage has a setting, which may be nested (lora.r)."""
    if kind in METHOD_KINDS and stages.get(kind) is None:
        return False
    method = _method(stages, kind)
    if kind in METHOD_KINDS and not knows(kind, method):
        return False  # told where the stage is made
    name = setting.split(".")[0]
    return name in stage_fields(kind) or name in method_fields(kind, method)


def _takes_list(kind: str, method: str, setting: str) -> bool:
    fields = dict(stage_fields(kind))
    if kind in METHOD_KINDS and knows(kind, method):
        fields |= method_fields(kind, method)
    kind_of = getattr(fields.get(setting), "type", "")
    return any(word in kind_of for word in ("list", "tuple", "set", "Sequence", "dict"))


def _matches(coords: Mapping[str, Any], entry: Mapping[str, Any]) -> bool:
    return all(
        key in coords
        and (coords[key] in value if isinstance(value, list) else coords[key] == value)
        for key, value in entry.items()
    )


def _spec(study: Study, stages: Mapping[str, Any], coords: Mapping[str, Any]) -> dict[str, Any]:
    shared = {**study.shared, **{k: v for k, v in stages.items() if k not in KINDS}}
    spec: dict[str, Any] = {k: coords.get(k, v) for k, v in shared.items()}
    for key in _OF_ROWS:
        if isinstance(spec.get(key), list):
            del spec[key]  # an axis that this variant does not have
    for kind in KINDS:
        if kind == "evaluate" or stages.get(kind) is not None:
            spec[kind] = _given(study, stages, kind)
    fixed = {**study.chosen.get(coords["variant"], {}), **coords}
    for key, value in fixed.items():
        kind, dot, name = key.partition(".")
        if dot and kind in spec:
            spec[kind] = _with(spec[kind], name.split("."), value)
    for condition, settings in study.when:
        if _matches({**spec, **coords}, condition):
            for kind, values in settings.items():
                if kind not in KINDS:
                    spec[kind] = values
                elif kind in spec:
                    # What an axis or a search sets is not for a condition to change.
                    swept = {k.partition(".")[2] for k in fixed if k.startswith(f"{kind}.")}
                    allowed = {k: v for k, v in values.items() if k not in swept}
                    spec[kind] = merge(spec[kind], allowed)
    for kind, values in study.over.items():
        if kind in spec:
            known = {key: v for key, v in values.items() if _has(kind, stages, key)}
            spec[kind] = merge(spec[kind], known)
    return spec


def _with(settings: Mapping[str, Any], names: list[str], value: Any) -> dict[str, Any]:
    """The settings with one of them, perhaps nested, set."""
    first, *rest = names
    inner = _with(settings.get(first) or {}, rest, value) if rest else value
    return {**settings, first: inner}
