"""Make stages and pipelines of what a user asks for: resolved, checked and identified."""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from holdfast.data.chat_templates import has_marks
from holdfast.data.keys import fingerprint
from holdfast.data.prompts import is_conversation, shape
from holdfast.data.tool_calls import null_arguments
from holdfast.errors import UserError
from holdfast.models.stack import Stack, check_name
from holdfast.models.stack import resolve as resolve_model
from holdfast.models.templates import template_marks, template_text
from holdfast.settings import at, check, inside, nearest
from holdfast.stages.aligned import adapter_of_alignment, check_comparable
from holdfast.stages.evaluation.settings import check_judged_rows, measured_by
from holdfast.stages.folders import recorded_identity
from holdfast.stages.identity import known_attack, model_identity, stage_identity
from holdfast.stages.lengths import check_lengths, setting_of
from holdfast.stages.methods import method_of
from holdfast.stages.optimizing import check_optimizer
from holdfast.stages.pipeline import Pipeline, Stage
from holdfast.stages.remembered import remembered
from holdfast.stages.rendered import attack_below, check_asked, check_rendering, prompt_asked, used
from holdfast.stages.resolve import resolve
from holdfast.stages.rows import check_files, stage_rows
from holdfast.stages.seen import check_pipeline
from holdfast.stages.settings import KINDS, stage_fields
from holdfast.stages.whole import check_whole

SHARED = (
    "model",
    "task",
    "harmful_ratio",
    "attack",
    "seed",
    "sample_seed",
    "dtype",
    "attn_implementation",
    "device_map",
    "quantization",
    "processes",
    "parallel",
    "template",
)
_FILES = ("data", "harmful_data", "alignment_data", "probe_data", "benign_data", "task_data")
_DECIDE_ROWS = [
    "protocol",
    "benign_data",
    "task_data",
    "limit",
    "method",
    "score",
    "layers",
    "source",
    "task",
    "harmful_ratio",
    "attack",
    "rows",
    "alignment_rows",
    "harmful_rows",
    "seed",
    "sample_seed",
    "sampling",
    "columns",
    "data",
    "harmful_data",
    "alignment_data",
    "probe_data",
    "probe_rows",
]


def make_stage(
    kind: str,
    given: Mapping[str, Any],
    parent: Stage | None = None,
    reference: Stage | None = None,
    where: str = "the settings",
    by_name: bool = False,
) -> Stage:
    """Resolve, check and identify one stage; loads no model, but reads its rows.

    Args:
        kind: one of `KINDS`.
        given: what the user set.
        parent: the stage whose model it starts from.
        reference: for an evaluation the stage whose model is the aligned one.
        where: where the settings are from, for messages.
        by_name: identify models and data by their names alone, for a plan: nothing is downloaded;
            of what is on this machine it is checked that it is there, and a file's rows are.

    Raises:
        UserError: whatever is wrong with its settings, its model's name or its rows.
    """
    model = str(given.get("model", "organism"))
    if parent:
        stack = parent.stack
    elif by_name:
        check_name(model)
        stack = resolve_model(model) if Path(model).expanduser().exists() else Stack(model)
    else:
        stack = resolve_model(model)
    if kind == "finetune":
        given = {**adapter_of_alignment(given, parent, stack, where), **given}
    settings = resolve(kind, given, stack, where)
    if kind in ("align", "finetune"):
        check_optimizer(settings, where)
    if kind == "evaluate" and settings["attack"] is None:
        settings["attack"] = attack_below(parent, stack, by_name)
    others = [key for key in ("reference", "base_model") if settings.get(key)]
    for key in others if by_name else ():
        check_name(settings[key])
    if not by_name:
        # With the commit of a model on the Hub: the run then loads what was planned.
        settings["model"] = stack.source if not parent else settings["model"]
        for key in others:
            settings[key] = resolve_model(settings[key]).source
    if "base_model" in settings:
        check_comparable(kind, settings, parent, stack, where, by_name)
    identify = _named if by_name else given_identity
    text = "" if by_name else template_text(stack, _template(settings, parent))
    marks = template_marks(text)
    files: Mapping[str, Any] = {}
    try:
        if by_name or kind == "evaluate":
            files = check_files(kind, settings)
        if by_name:
            data = _names_of_rows(settings)
        else:
            data = _fingerprints(kind, settings, stack.is_organism, text)
        if kind == "evaluate":
            check_judged_rows(settings, at_hand=by_name)
    except UserError as error:  # it names the rows' own file; of a study's file the line, too
        place = at(where)
        raise UserError(str(error) if place == where else f"{place}: {error}") from None
    template = _template(settings, parent)
    asked = prompt_asked(kind, settings, parent, stack, by_name)
    check_asked(kind, asked, stack, template, where)
    system = asked if kind in ("repair", "evaluate") else None  # a training's rows are as they are
    check_rendering(kind, settings, used(kind, settings, files), stack, template, where, system)
    if kind == "evaluate":
        data = {**data, **measured_by(settings, identify)}
    elif not by_name and any(settings.get(key) for key in _FILES):
        _check_drawn(kind, settings, stack, template, where, system)
    parents = {"model": parent.identity if parent else identify(str(settings["model"]))}
    if reference is not None:
        parents["reference"] = reference.identity
    elif settings.get("reference"):
        parents["reference"] = identify(str(settings["reference"]))
    if settings.get("base_model"):
        parents["base_model"] = identify(str(settings["base_model"]))
    identity = stage_identity(kind, settings, parents, {**data, **marks})
    version = "" if kind == "evaluate" else method_of(kind, settings["method"]).version
    inputs = {**data, **parents}
    return Stage(kind, settings, identity, parent, reference, stack, version, marks, inputs)


def _template(settings: Mapping[str, Any], parent: Stage | None) -> str | None:
    """The setting that decides a stage's chat template: its own, else the last one before it."""
    while settings["template"] is None and parent is not None:
        settings, parent = parent.settings, parent.parent
    return settings["template"]


def make_pipeline(
    spec: Mapping[str, Any],
    where: str = "the pipeline",
    variant: str = "",
    coords: Mapping[str, Any] | None = None,
    known: dict[str, Stage] | None = None,
    by_name: bool = False,
) -> Pipeline:
    """A pipeline from its description.

    ``spec`` has ``align``, ``finetune``, ``repair`` and ``evaluate``, each a method's name, a
    mapping of settings (``method`` among them), or null for none (not ``evaluate``); beside them
    any setting that several stages have (``model``, ``seed``, ``task`` …), for all of them.

    Args:
        spec: the description.
        where: where it is from, for messages.
        variant: see `Pipeline`.
        coords: see `Pipeline`.
        known: the stages that were made before, which this adds to: equal ones are made once.
        by_name: see `make_stage`.

    Raises:
        UserError: an unknown key, or whatever is wrong with a stage.
    """
    known = {} if known is None else known
    shared = {key: value for key, value in spec.items() if key not in KINDS}
    _check_shared(shared, where)
    stages: dict[str, Stage] = {}
    below: Stage | None = None
    for kind in KINDS:
        given = _stage_spec(spec, kind, where)
        if given is None:
            continue
        own = stage_fields(kind)
        inherited = {key: value for key, value in shared.items() if key in own}
        reference = stages.get("align") if kind == "evaluate" else None
        merged = {**inherited, **given}
        key = _same(kind, merged, below, reference)
        if key not in known:
            place = inside(where, kind, str(given.get("method", "")))
            known[key] = make_stage(kind, merged, below, reference, place, by_name)
        stages[kind] = known[key]
        if kind != "evaluate":
            below = stages[kind]
    if not by_name:
        _check_rows(stages, where)
    return Pipeline(variant, stages, coords or {})


def _check_rows(stages: Mapping[str, Stage], where: str) -> None:
    """Check that no row of the stages has two roles."""
    own = [(kind, _deciding_rows(stage.settings)) for kind, stage in stages.items()]
    try:
        check_pipeline(own, stages["evaluate"].stack.is_organism)
    except UserError as error:
        raise UserError(f"{at(where)}: {error}") from None


def _same(
    kind: str, given: Mapping[str, Any], parent: Stage | None, reference: Stage | None
) -> str:
    """Equal for stages that are made from the same."""
    needs = [stage.identity if stage else None for stage in (parent, reference)]
    return json.dumps([kind, given, needs], sort_keys=True, default=str)


def given_identity(model: str) -> str:
    """The identity of a model that is named; for a stage's folder the one it was made with.

    Raises:
        UserError: there is no such model, or a stage's folder is not what was written there.
    """
    folder = Path(model).expanduser()
    check_whole(folder)
    return recorded_identity(folder) or model_identity(resolve_model(model))


def _named(model: str) -> str:
    check_name(model)
    return model


def _stage_spec(spec: Mapping[str, Any], kind: str, where: str) -> dict[str, Any] | None:
    value = spec.get(kind, {} if kind == "evaluate" else None)
    if value is None and kind == "evaluate":
        raise UserError(f"{at(where, kind)}: evaluate is null; a pipeline ends with an evaluation.")
    if value is None:
        return None
    if isinstance(value, str) and kind != "evaluate":
        return {"method": value}
    if isinstance(value, Mapping):
        return dict(value)
    raise UserError(
        f"{at(where, kind)}: "
        f"{kind} is {value!r:.60}; it must be a method's name or settings such as "
        f"{{method: …}}, or null."
    )


@cache
def _shared_fields() -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for kind in KINDS:
        fields |= {k: f for k, f in stage_fields(kind).items() if k in SHARED}
    return fields


def _check_shared(shared: Mapping[str, Any], where: str) -> None:
    fields = _shared_fields()
    for key in shared:
        if key not in fields:
            close = nearest(key, [*KINDS, *SHARED])
            hint = f"; did you mean '{close}'?" if close else ""
            raise UserError(f"{at(where, key)}: there is no setting '{key}'{hint}")
    check(shared, fields, where)


def _check_drawn(
    kind: str,
    settings: Mapping[str, Any],
    stack: Stack,
    template: str | None,
    where: str,
    system: str | None,
) -> None:
    """Check that the rows that are drawn can be rendered, and that no answer is cut away whole."""
    sets = stage_rows(kind, _deciding_rows(settings), stack.is_organism)
    named = {setting_of(role, settings): rows for role, rows in sets.items()}
    check_rendering(kind, settings, named, stack, template, where, system)
    check_lengths(settings, sets, stack, template, where)


def _fingerprints(
    kind: str, settings: Mapping[str, Any], is_organism: bool, template: str
) -> dict[str, str]:
    what = _deciding_rows(settings)
    files = [settings.get(key) for key in _FILES]
    if any(files) or not is_organism:
        sets = stage_rows(kind, what, is_organism)
        conversations = _conversations(sets, settings.get("train_on", "all"), template)
        return {role: fingerprint(rows) for role, rows in sets.items()} | conversations
    # The organism's rows follow from the settings alone, and many stages read the same ones.
    version = "" if kind == "evaluate" else method_of(kind, settings["method"]).version
    key = f"{kind} {version} {json.dumps(what, sort_keys=True)}"
    return remembered(
        key,
        lambda: {role: fingerprint(rows) for role, rows in stage_rows(kind, what, True).items()},
    )


def _conversations(sets: Mapping[str, Any], train_on: str, template: str) -> dict[str, str]:
    """What stands in an identity for rows that may have several answers, or none that is trained.

    Of rows of one question and one answer nothing does, whatever `train_on` is.
    """
    rows = [row for some in sets.values() for row in some]
    found = {"conversations": train_on} if any(map(is_conversation, rows)) else {}
    if has_marks(template) and any(shape(row) != "alpaca" for row in rows):
        found["answers"] = "as the template marks them"
    elif (
        found and train_on == "all" and "loop.last" in template
    ):  # it may end a turn otherwise when others follow
        found["answers"] = "with the end that each has"
    if any(map(null_arguments, rows)):  # once they were left out
        found["null arguments"] = "kept"
    return found


def _deciding_rows(settings: Mapping[str, Any]) -> dict[str, Any]:
    settings = known_attack(settings)
    return {key: settings[key] for key in _DECIDE_ROWS if key in settings}


def _names_of_rows(settings: Mapping[str, Any]) -> dict[str, str]:
    found = _deciding_rows(settings)
    return {key: str(value) for key, value in found.items() if value is not None}
