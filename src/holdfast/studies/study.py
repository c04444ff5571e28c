"""A study file: pipelines as a grid of variants and axes, in one YAML file.

    title: What it asks
    model: organism
    settings:                            # under every method of a stage, or of one method
      finetune: {rows: 500}
      finetune.lisa: {alignment_steps: 5}
    variants:                            # named rows …
      SFT: {align: sft, finetune: sft}
      Vaccine: {align: {method: vaccine, rho: 2}, finetune: sft}
    harmful_ratio: [0, 0.1]              # … times the axes: model, task, harmful_ratio, dtype
    vary: {align.rho: [1, 2, 5]}         # any other setting, for the methods that have it
    when: [{if: {task: topic}, then: {finetune: {rows: 300}}}]
    seeds: 5                             # or a list
    search: {…}                          # see `holdfast.studies.search`
    attacker: {…}                        # see `holdfast.studies.attacker`

In the place of ``variants``, ``align``, ``finetune`` and ``repair`` may be lists, whose product is
taken. ``exclude`` leaves out what matches one of its entries, ``include`` adds pipelines to the
grid, ``extends`` names a file to start from. A file of one pipeline is the smallest study.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from holdfast.errors import UserError
from holdfast.settings import Place, at, lines_of, load_yaml, merge, nearest, words_lines
from holdfast.settings.places import Lines
from holdfast.stages.settings import KINDS
from holdfast.studies.variants import (
    AXES,
    check_axis,
    check_stages,
    label_of,
    settings_of,
    variants_of,
)

_KEYS = (
    *("title", "paper", "source", "note", "extends"),
    *(*AXES, "seed", "seeds"),
    *("settings", "variants", "vary", "when", "include", "exclude", "published", "slurm"),
    *("search", "attacker"),
    *KINDS,
)


@dataclass(frozen=True)
class Study:
    """A study file, read and checked in its outline.

    Args:
        where: the file and the lines of its keys, for messages.
        title: what it asks, or the file's name.
        about: ``paper``, ``source`` and ``note``, where they are given.
        shared: the settings of whole pipelines, a list where it is an axis.
        seeds: the seeds.
        settings: settings by stage ("finetune") or by stage and method ("finetune.lisa").
        variants: the specs of the pipelines by their name.
        vary: axes by "STAGE.SETTING".
        when: conditions on the axes, and the settings where they hold.
        exclude: what is left out: values by axis.
        published: the published numbers that belong to it.
        over: settings by stage over all others: the command line's.
        slurm: what a job asks of a cluster, see `holdfast.engine.slurm.SlurmSettings`.
        search: how settings are searched, see `holdfast.studies.search`; empty for no search.
        attacker: how an attacker searches, see `holdfast.studies.attacker`; likewise.
        chosen: by variant the settings, by "STAGE.SETTING", that a search has chosen.
    """

    where: Place
    title: str
    about: dict[str, str] = field(default_factory=dict)
    shared: dict[str, Any] = field(default_factory=dict)
    seeds: tuple[int, ...] = (0,)
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    variants: dict[str, dict[str, Any]] = field(default_factory=dict)
    vary: dict[str, list[Any]] = field(default_factory=dict)
    when: tuple[tuple[dict[str, Any], dict[str, Any]], ...] = ()
    exclude: tuple[dict[str, Any], ...] = ()
    published: tuple[dict[str, Any], ...] = ()
    over: dict[str, dict[str, Any]] = field(default_factory=dict)
    slurm: dict[str, Any] = field(default_factory=dict)
    search: dict[str, Any] = field(default_factory=dict)
    attacker: dict[str, Any] = field(default_factory=dict)
    chosen: dict[str, dict[str, Any]] = field(default_factory=dict)


def read_study(path: Path, where: str | None = None) -> Study:
    """The study in a file.

    Raises:
        UserError: the file cannot be read or is empty, an unknown key, a part of the wrong kind.
    """
    name = where or str(path)
    spec, lines = _extended(path, name)
    if not spec:
        raise UserError(
            f"{name} is empty; a study names its methods, such as align: sft and finetune: lisa, "
            "or at least the model that it measures."
        )
    return make_study(spec, Place(name, lines), path.stem)


def make_study(spec: Mapping[str, Any], where: str, name: str = "study") -> Study:
    """A study from its description, as a file would hold it.

    Raises:
        UserError: an unknown key, or a part of the wrong kind.
    """
    where = where if isinstance(where, Place) else Place(where)
    for key in spec:
        if key not in _KEYS:
            close = nearest(key, _KEYS)
            hint = f"; did you mean '{close}'?" if close else f"; known are {', '.join(_KEYS)}"
            raise UserError(f"{where.at(key)}: there is no setting '{key}'{hint}")
    if spec.get("evaluate", {}) is None:
        raise UserError(
            f"{where.at('evaluate')}: evaluate is null; a pipeline ends with an evaluation."
        )
    shared = {key: spec[key] for key in AXES if key in spec}
    for key, value in shared.items():
        if isinstance(value, list):
            check_axis(value, f"{where.at(key)}: {key}")
    variants, where = variants_of(spec, where)
    for number, extra in enumerate(_list(spec, "include", where), start=1):
        place = where.part(f"include, entry {number}", ("include", number - 1))
        check_stages(extra, place)
        label = str(extra.get("name") or label_of(extra))
        if label in variants:
            raise UserError(
                f"{place.at('name')}: there is a variant '{label}' already; give it a name."
            )
        where = where.with_copies({("variants", label): ("include", number - 1)})
        variants[label] = {k: v for k, v in extra.items() if k != "name"}
    exclude = tuple(_list(spec, "exclude", where))
    when = tuple(_condition(c, n, where) for n, c in enumerate(_list(spec, "when", where), 1))
    _check_names("exclude", exclude, variants, where)
    _check_names("when", [condition for condition, _ in when], variants, where)
    return Study(
        where=where,
        title=str(spec.get("title", name)),
        about={key: str(spec[key]) for key in ("paper", "source", "note") if key in spec},
        shared=shared,
        seeds=_seeds(spec, where),
        settings=settings_of(spec, where),
        variants=variants,
        vary=_vary(spec, where),
        when=when,
        exclude=exclude,
        published=tuple(_list(spec, "published", where)),
        slurm=_mapping(spec, "slurm", where),
        search=_search(spec, "search", where),
        attacker=_search(spec, "attacker", where),
    )


def with_words(study: Study, words: Mapping[str, Any], where: str) -> Study:
    """The study with settings of the command line in the place of its own.

    ``model``, ``task`` and the like replace the study's, lists as axes; ``seed`` and ``seeds`` its
    seeds; ``STAGE.SETTING`` what every method that has it is given, an axis of that name included;
    ``STAGE=METHOD`` the method of every pipeline; ``search=null`` leaves its search
    out, ``attacker=null`` its attacker.

    Raises:
        UserError: an unknown key.
    """
    shared, variants = dict(study.shared), dict(study.variants)
    over: dict[str, dict[str, Any]] = {}
    for key, value in words.items():
        if key in AXES:
            if isinstance(value, list):
                check_axis(value, f"{where}: {key}")
            shared[key] = value
            variants = {n: {k: v for k, v in s.items() if k != key} for n, s in variants.items()}
        elif key in KINDS:
            given = {"method": value} if isinstance(value, str) else value
            if value is None:
                variants = {name: {**stages, key: None} for name, stages in variants.items()}
            elif not isinstance(given, Mapping):
                raise UserError(
                    f"{where}: {key} must name a method or hold settings ({key}.rows=9)."
                )
            else:
                over[key] = dict(given)
        elif key not in (own := ("seed", "seeds", "slurm", "search", "attacker")):
            close = nearest(key, [*KINDS, *AXES, *own])
            hint = f"; did you mean '{close}'?" if close else ""
            raise UserError(f"{where}: there is no setting '{key}'{hint}")
    for kind, given in over.items():
        if "method" in given:  # also where the file has no such stage
            variants = {
                name: {**stages, kind: _with_method(stages.get(kind), given["method"])}
                for name, stages in variants.items()
            }
    gone = {f"{kind}.{key}" for kind, given in over.items() for key in given}
    vary = {axis: values for axis, values in study.vary.items() if axis not in gone}
    seeds = _seeds(words, where) if {"seed", "seeds"} & set(words) else study.seeds
    slurm = merge(study.slurm, _mapping(words, "slurm", where))
    searches = {}
    for key in ("search", "attacker"):
        said = _search(words, key, where)
        searches[key] = merge(getattr(study, key), said) if said or key not in words else {}
    return replace(
        study,
        where=study.where.over(words_lines(words, where, ("over",))),
        shared=shared,
        variants=variants,
        vary=vary,
        seeds=seeds,
        over=over,
        slurm=slurm,
        **searches,
    )


def _with_method(stage: Any, method: Any) -> Any:
    """A stage with another method; its settings stay, as a mistake in them is told later."""
    return {**stage, "method": method} if isinstance(stage, Mapping) else {"method": method}


def _extended(path: Path, name: str, seen: tuple[Path, ...] = ()) -> tuple[dict[str, Any], Lines]:
    """A file's content over that of the file that it extends, and the lines of both."""
    path = path.resolve() if seen else path
    spec = load_yaml(path)
    place = Place(name, lines_of(path, name))
    base = spec.pop("extends", None)
    if base is None:
        return spec, place.lines
    below = (path.parent / str(base)).with_suffix(".yaml")
    where = place.at("extends")
    if below.resolve() in (*seen, path.resolve()):
        raise UserError(
            f"{where}: extends leads back to {below.name}: a file cannot extend itself."
        )
    if not below.is_file():
        raise UserError(f"{where}: extends names '{base}', and there is no file {below}.")
    under, lines = _extended(below, str(below), (*seen, path.resolve()))
    return merge(under, spec), {**lines, **place.lines}


def _check_names(
    part: str, entries: Iterable[Mapping[str, Any]], variants: Mapping[str, Any], where: Place
) -> None:
    """Check that ``exclude`` and ``when`` name axes, and variants that are there."""
    known = ("variant", *AXES)
    for number, entry in enumerate(entries):
        place = where.part(f"{part}, entry {number + 1}", (part, number), (part, number, "if"))
        for key, value in entry.items():
            if key not in known and not ("." in key and key.partition(".")[0] in KINDS):
                close = nearest(key, known)
                hint = f"; did you mean '{close}'?" if close else ""
                raise UserError(f"{place.at(key)}: there is no axis '{key}'{hint}")
            for name in value if isinstance(value, list) else [value]:
                if key == "variant" and name not in variants:
                    close = nearest(str(name), variants)
                    hint = f"; did you mean '{close}'?" if close else ""
                    raise UserError(f"{place.at(key)}: there is no variant '{name}'{hint}")


def _vary(spec: Mapping[str, Any], where: Place) -> dict[str, list[Any]]:
    given = spec.get("vary", {})
    if not isinstance(given, Mapping):
        raise UserError(f"{where.at('vary')}: vary must hold axes, such as align.rho: [1, 2].")
    for key, values in given.items():
        kind, dot, _ = str(key).partition(".")
        place = where.at("vary", key)
        if kind not in KINDS or not dot:
            raise UserError(
                f"{place}: vary: '{key}' must be written STAGE.SETTING, such as align.rho; the "
                f"stages are {', '.join(KINDS)}."
            )
        if not isinstance(values, list):
            raise UserError(f"{place}: vary: {key} must be a list of values, and is {values!r:.40}")
        check_axis(values, f"{place}: vary: {key}")
    return {str(key): list(values) for key, values in given.items()}


def _condition(
    given: Mapping[str, Any], number: int, where: Place
) -> tuple[dict[str, Any], dict[str, Any]]:
    place = where.part(f"when, entry {number}", ("when", number - 1))
    if set(given) != {"if", "then"} or not all(isinstance(v, Mapping) for v in given.values()):
        raise UserError(f"{place.at()} must be {{if: {{AXIS: VALUE}}, then: {{STAGE: {{…}}}}}}.")
    check_stages(given["then"], where.part(place.within, ("when", number - 1, "then")))
    return dict(given["if"]), dict(given["then"])


_MOST_SEEDS = 10_000


def _seeds(spec: Mapping[str, Any], where: str) -> tuple[int, ...]:
    given = spec.get("seeds", spec.get("seed", 0))
    if "seeds" in spec and isinstance(given, int) and not isinstance(given, bool):
        if given < 1:
            raise UserError(
                f"{at(where, 'seeds')}: seeds is {given}; it must be 1 or more, or a list."
            )
        if given > _MOST_SEEDS:
            raise UserError(
                f"{at(where, 'seeds')}: seeds is {given}; it is how many, at most {_MOST_SEEDS:,}; "
                f"for this one seed write [{given}]."
            )
        return tuple(range(given))
    seeds = given if isinstance(given, list) else [given]
    place = at(where, "seeds" if "seeds" in spec else "seed")
    check_axis(seeds, f"{place}: seeds")
    for seed in seeds:
        if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
            raise UserError(f"{place}: {seed!r} is no seed; seeds are whole numbers from 0.")
    return tuple(seeds)


def _mapping(spec: Mapping[str, Any], key: str, where: str) -> dict[str, Any]:
    given = spec.get(key, {})
    if not isinstance(given, Mapping):
        raise UserError(f"{at(where, key)}: {key} must hold settings ({key}: {{KEY: VALUE}}).")
    return dict(given)


def _search(spec: Mapping[str, Any], key: str, where: str) -> dict[str, Any]:
    return {} if spec.get(key, {}) is None else _mapping(spec, key, where)


def _list(spec: Mapping[str, Any], key: str, where: str) -> list[dict[str, Any]]:
    given = spec.get(key, [])
    if not isinstance(given, list) or not all(isinstance(entry, Mapping) for entry in given):
        raise UserError(
            f"{at(where, key)}: {key} must be a list of mappings, such as [{{task: sums}}]."
        )
    return [dict(entry) for entry in given]
