"""The variants of a study: their stages, labels and settings, and the axes that a study has."""

from collections.abc import Mapping
from typing import Any

from holdfast.errors import UserError
from holdfast.registry import METHODS
from holdfast.settings import Place, nearest
from holdfast.settings.places import Keys
from holdfast.stages.making import SHARED
from holdfast.stages.methods import is_own, method_of
from holdfast.stages.settings import KINDS, METHOD_KINDS

# Settings of a whole pipeline that may be lists; seeds are told apart, for they are averaged over.
AXES = tuple(key for key in SHARED if key != "seed")


def variants_of(spec: Mapping[str, Any], where: Place) -> tuple[dict[str, dict[str, Any]], Place]:
    """The variants, and where they are: those of a product are in the lists."""
    given = spec.get("variants")
    lists = {kind: spec[kind] for kind in METHOD_KINDS if kind in spec}
    if given is None:
        return _product(lists, spec.get("evaluate"), where)
    if lists:
        first = next(iter(lists))
        raise UserError(
            f"{where.at(first)}: both 'variants' and '{first}' are given: name the pipelines in "
            "'variants', or let them be the product of align, finetune and repair."
        )
    if not isinstance(given, Mapping) or not given:
        raise UserError(
            f"{where.at('variants')}: variants must hold named pipelines, such as "
            "SFT: {align: sft}"
        )
    found = {}
    for name, stages in given.items():
        place = where.part(f"variants: {name}", ("variants", str(name)))
        if not isinstance(stages, Mapping):
            raise UserError(
                f"{place.at()} must hold stages, such as {{align: sft, finetune: lisa}}."
            )
        check_stages(stages, place)
        found[str(name)] = dict(stages)
        if "evaluate" in spec:
            found[str(name)].setdefault("evaluate", spec["evaluate"])
    return found, where


def _product(
    lists: Mapping[str, Any], evaluate: Any, where: Place
) -> tuple[dict[str, dict[str, Any]], Place]:
    combined: list[tuple[dict[str, Any], dict[str, Keys]]] = [
        ({} if evaluate is None else {"evaluate": evaluate}, {})
    ]
    for kind, value in lists.items():
        choices = value if isinstance(value, list) else [value]
        check_axis(choices, f"{where.at(kind)}: {kind}")
        places = [(kind, i) if isinstance(value, list) else (kind,) for i in range(len(choices))]
        combined = [
            ({**one, kind: choice}, {**found, kind: place})
            for one, found in combined
            for choice, place in zip(choices, places, strict=True)
        ]
    variants: dict[str, dict[str, Any]] = {}
    copies: dict[Keys, Keys] = {}
    for stages, places in combined:
        label = label_of(stages)
        if label in variants:
            last = list(lists)[-1]
            raise UserError(
                f"{where.at(*places[last])}: two pipelines are called '{label}'; give one of them "
                "a name, such as finetune: [{method: lisa, rho: 1, name: strong Lisa}]."
            )
        variants[label] = {kind: _without_name(value) for kind, value in stages.items()}
        copies |= {("variants", label, kind): place for kind, place in places.items()}
    return variants, where.with_copies(copies)


def label_of(stages: Mapping[str, Any]) -> str:
    """What to call a pipeline: its methods but plain SFT, joined by +."""
    from holdfast.report.results import display_name

    words = []
    for kind in METHOD_KINDS:
        value = stages.get(kind)
        if isinstance(value, Mapping) and "name" in value:
            words.append(str(value["name"]))
            continue
        method = value.get("method", "sft") if isinstance(value, Mapping) else value
        if kind == "align" and method is None and kind in stages and stages.get("finetune"):
            words.append("no alignment")
        elif method not in (None, "sft"):
            words.append(display_name(str(method)))
    if words:
        return " + ".join(words)
    return "SFT" if any(stages.get(kind) for kind in METHOD_KINDS) else "base model"


def _without_name(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: inner for key, inner in value.items() if key != "name"}
    return value


def check_stages(stages: Mapping[str, Any], where: Place) -> None:
    """Check that a variant has no stage that there is none of."""
    known = (*KINDS, *AXES, "name")
    for key in stages:
        if key not in known:
            close = nearest(key, known)
            hint = f"; did you mean '{close}'?" if close else ""
            raise UserError(f"{where.at(key)}: there is no stage '{key}'{hint}")


def settings_of(spec: Mapping[str, Any], where: Place) -> dict[str, dict[str, Any]]:
    """The settings that a study gives each stage, by kind."""
    given = spec.get("settings", {})
    if not isinstance(given, Mapping):
        raise UserError(
            f"{where.at('settings')}: settings must hold stages, such as finetune: {{rows: 500}}."
        )
    for key, values in given.items():
        kind, _, method = str(key).partition(".")
        if kind in METHOD_KINDS and is_own(method):
            try:
                method_of(kind, method)
            except UserError as error:
                raise UserError(f"{where.at('settings', key)}: settings: {error}") from None
        elif kind not in KINDS or (method and method not in METHODS[kind]):
            names = [*KINDS, *(f"{k}.{m}" for k in METHOD_KINDS for m in METHODS[k])]
            close = nearest(str(key), names)
            hint = f"; did you mean '{close}'?" if close else ""
            raise UserError(
                f"{where.at('settings', key)}: settings: there is no stage or method '{key}'{hint}"
            )
        if not isinstance(values, Mapping):
            raise UserError(
                f"{where.at('settings', key)}: settings: {key} must hold settings, such as "
                "rows: 500."
            )
    return {str(key): dict(values) for key, values in given.items()}


def check_axis(values: list[Any], where: str) -> None:
    """Check that an axis has values, none of them twice."""
    if not values:
        raise UserError(f"{where} is an empty list; an axis needs at least one value.")
    if any(values[i] in values[:i] for i in range(len(values))):
        raise UserError(f"{where} holds a value twice.")
