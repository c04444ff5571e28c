"""A study of real models, run small on the built-in model organism.

What the study asks is kept: its methods, its harmful ratios, its seeds and its axes. What belongs
to the size of its models is the organism's own recipe instead: rows, epochs, learning rate,
adapter, data, protocol. A number that the study varies around a value of its own (a learning
rate from 1e-7 to 1e-3 around 1e-4) becomes the same multiple of the organism's value (see
`holdfast.studies.scaling`); a zero stays zero, and shares (harmful ratio, dense ratio) stay as they
are. The tasks become the organism's counterparts. A chat model is aligned already: where a study of
chat models has no alignment, the organism has its plain one.

Points of the grid carry the organism's numbers, since that is what runs. A published entry keeps
the paper's beside them: ``{align.rho: 22.0, paper: {align.rho: 2}, HS: 49.0}``.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from holdfast import organism, protocols
from holdfast.errors import UserError
from holdfast.models.stack import ORGANISM
from holdfast.stages.settings import mechanism_settings, method_fields, stage_fields
from holdfast.studies.scaling import SHARES, Scaling
from holdfast.studies.study import Study
from holdfast.studies.variants import METHOD_KINDS

TASKS = {"sst2": "sentiment", "agnews": "topic", "gsm8k": "sums"}
# Names of aligned models: Llama-2-7b-chat-hf, Meta-Llama-3-8B-Instruct, gemma-1.1-7b-it.
_CHAT = re.compile(r"\b(chat|instruct|it)\b", re.IGNORECASE)
# What makes a method what it is; everything else of a stage belongs to the models' size.
_KEPT = ("method", "name", "adapter", "source")
# What a screen knows of a world; the organism's has its own judge and words.
_OF_A_WORLD = ("judge", "words", "words_file")


def on_organism(study: Study) -> tuple[Study, list[str]]:
    """The study for the organism, and sentences on what is different or could not be kept.

    Raises:
        UserError: nothing of the study is left, since no task of it has a counterpart.
    """
    notes = [
        "On the organism rows, epochs, learning rates, adapters, data and protocol are its own; "
        "methods, harmful ratios, dense ratios and seeds are the study's."
    ]
    protocol = study.settings.get("evaluate", {}).get("protocol")
    if protocol:
        notes.append(f"The paper's protocol is {protocol}: {protocols.get(protocol).description}")
    shared = {k: v for k, v in study.shared.items() if k not in ("model", "dtype")}
    if isinstance(study.shared.get("model"), list):
        count = len(study.shared["model"])
        notes.append(f"The study compares {count} models; the organism stands for all of them.")
    if of_chat_models(study):
        notes.append("Chat models are aligned already; the organism is aligned first here.")
    if "task" in shared:
        shared["task"], told = _tasks(shared["task"], study.where)
        notes += told
    scaling = Scaling(study)
    variants = {name: _variant(study, stages, scaling) for name, stages in study.variants.items()}
    axes = {axis: _axis(study, axis, values, scaling) for axis, values in study.vary.items()}
    emptied, told = _emptied(study)
    notes += told
    small = replace(
        study,
        shared={"model": ORGANISM, **shared},
        settings={},
        variants=variants,
        vary={axis: list(dict.fromkeys(new.values())) for axis, new in axes.items() if new},
        when=_conditions(study),
        exclude=(*(entry for entry in study.exclude if "model" not in entry), *emptied),
        published=tuple(_published(entry, axes) for entry in study.published),
        search={},
        attacker={},
    )
    if study.search:
        notes.append("Settings are not searched: the organism's own were chosen before.")
    if study.attacker:
        notes.append("No attacker searches: the space is of the real model's settings.")
    return small, [*notes, *scaling.notes(lost=[axis for axis, new in axes.items() if not new])]


def of_chat_models(study: Study) -> bool:
    """Whether all models of a study are chat models by their names."""
    models = study.shared.get("model", ORGANISM)
    models = models if isinstance(models, list) else [models]
    return all(_CHAT.search(str(model)) for model in models)


def _tasks(given: Any, where: str) -> tuple[Any, list[str]]:
    """The organism's tasks in the place of a study's, and sentences on them."""
    tasks = given if isinstance(given, list) else [given]
    known = {task: TASKS.get(task, task) for task in tasks}
    known = {task: ours for task, ours in known.items() if ours in organism.TASKS}
    if not known:
        raise UserError(
            f"{where}: the task {', '.join(map(str, tasks))} has no counterpart on the organism; "
            f"those that have one are {', '.join(TASKS)}."
        )
    moved = [f"{task} is {ours}" for task, ours in known.items() if task != ours]
    notes = [f"The task {', '.join(moved)} here."] if moved else []
    notes += [f"The task {t} has no counterpart: left out." for t in tasks if t not in known]
    ours = list(known.values())
    return (ours if isinstance(given, list) else ours[0]), notes


def _emptied(study: Study) -> tuple[list[dict[str, Any]], list[str]]:
    """What is left out, since an exact judge leaves nothing of it, and a sentence on it."""
    ratios = study.shared.get("harmful_ratio")
    judged = [
        name
        for name, stages in study.variants.items()
        if stages.get("screen") and _method_of(stages["screen"]) == "judge"
    ]
    if not judged or 1 not in (ratios if isinstance(ratios, list) else [ratios]):
        return [], []
    note = f"The organism's judge is exact, so nothing is left of p = 1: {', '.join(judged)}."
    return [{"variant": judged, "harmful_ratio": 1}], [note]


def _method_of(value: Any) -> Any:
    return value.get("method") if isinstance(value, Mapping) else value


def _variant(study: Study, stages: Mapping[str, Any], scaling: Scaling) -> dict[str, Any]:
    found: dict[str, Any] = {k: v for k, v in stages.items() if k not in METHOD_KINDS}
    found.pop("evaluate", None)
    found.pop("model", None)
    if "task" in found:
        found["task"] = _tasks(found["task"], study.where)[0]
    for kind in METHOD_KINDS:
        if kind not in stages:
            continue
        value = stages[kind]
        if value is None and kind == "align" and of_chat_models(study):
            value = "sft"
        own = {"method": value} if isinstance(value, str) else value
        found[kind] = None if own is None else _stage(study, kind, own, scaling)
    return found


def _stage(study: Study, kind: str, own: Mapping[str, Any], scaling: Scaling) -> dict[str, Any]:
    """A variant's settings of one stage: what makes the method, and numbers as multiples."""
    method = str(own.get("method", getattr(stage_fields(kind)["method"], "default", "")))
    written = {**study.settings.get(kind, {}), **study.settings.get(f"{kind}.{method}", {}), **own}
    kept: dict[str, Any] = {}
    for key, value in written.items():
        if key in _OF_A_WORLD:
            continue
        choice = isinstance(value, str | bool) and key in mechanism_settings(kind, method)
        if key in _KEPT or choice:
            kept[key] = value
        elif key == "rho" and key in own and own.get("norm") == "element":
            kept[key] = value  # a variance, and the organism's recipe has none to compare with
        elif key in own or key in SHARES:
            values = value if isinstance(value, list) else [value]
            here = [scaling.scaled(kind, method, key, one) for one in values]
            if None not in here:
                kept[key] = list(dict.fromkeys(here)) if isinstance(value, list) else here[0]
    return kept


def _conditions(study: Study) -> tuple[tuple[dict[str, Any], dict[str, Any]], ...]:
    """What the study sets where an axis has a value, as far as it is not of the models' size."""
    found = []
    for condition, then in study.when:
        shares = {
            kind: {key: value for key, value in values.items() if key in SHARES}
            for kind, values in then.items()
            if isinstance(values, Mapping)
        }
        shares = {kind: values for kind, values in shares.items() if values}
        if shares and "model" not in condition:
            moved = {k: TASKS.get(v, v) if k == "task" else v for k, v in condition.items()}
            found.append((moved, shares))
    return tuple(found)


def _axis(study: Study, axis: str, values: list[Any], scaling: Scaling) -> dict[Any, Any]:
    """The organism's value for every value of an axis; empty where it has nothing like it."""
    kind, _, key = axis.partition(".")
    methods = _methods(study, kind)
    method = next((m for m in methods if key in method_fields(kind, m)), next(iter(methods), ""))
    if key in _KEPT or not all(isinstance(v, int | float) for v in values):
        return {value: value for value in values}
    here = {value: scaling.scaled(kind, method, key, value) for value in values}
    return {} if None in here.values() else here


def _published(entry: Mapping[str, Any], axes: Mapping[str, Mapping[Any, Any]]) -> dict[str, Any]:
    """A published number at the organism's place in the grid, and the paper's where it differs."""
    here = {
        key: TASKS.get(value, value) if key == "task" else axes.get(key, {}).get(value, value)
        for key, value in entry.items()
    }
    theirs = {key: value for key, value in entry.items() if value != here[key]}
    return {**here, "paper": theirs} if theirs else here


def _methods(study: Study, kind: str) -> list[str]:
    found: dict[str, None] = {}
    for stages in study.variants.values():
        value = stages.get(kind)
        method = value.get("method") if isinstance(value, Mapping) else value
        if method:
            found[str(method)] = None
    return list(found)
