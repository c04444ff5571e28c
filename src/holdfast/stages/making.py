"""Make stages and pipelines of what a user asks for: resolved, checked and identified."""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from holdfast.errors import UserError
from holdfast.models.stack import Stack, check_name
from holdfast.models.stack import resolve as resolve_model
from holdfast.models.templates import template_marks, template_text
from holdfast.settings import at, check, inside, nearest
from holdfast.stages.aligned import adapter_of_alignment, check_comparable
from holdfast.stages.evaluation.settings import check_judged_rows, measured_by
from holdfast.stages.fingerprints import FILES, deciding_rows, names_of_rows, row_fingerprints
from holdfast.stages.folders import recorded_identity
from holdfast.stages.identity import model_identity, stage_identity
from holdfast.stages.lengths import check_lengths, setting_of
from holdfast.stages.methods import method_of
from holdfast.stages.optimizing import check_optimizer
from holdfast.stages.pipeline import Pipeline, Stage
from holdfast.stages.rendered import attack_below, check_asked, check_rendering, prompt_asked, used
from holdfast.stages.resolve import resolve
from holdfast.stages.rows import check_files, stage_rows
from holdfast.stages.screening.checks import check_screen, given_to_screen, screened_by
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


def make_stage(
    kind: str,
    given: Mapping[str, Any],
    parent: Stage | None = None,
    reference: Stage | None = None,
    where: str = "the settings",
    by_name: bool = False,
    screened: Stage | None = None,
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
        screened: for a fine-tuning the stage that has screened its rows.

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
    if kind == "screen":
        check_screen(settings, stack.is_organism, where)
    identify = _named if by_name else given_identity
    text = "" if by_name else template_text(stack, _template(settings, parent))
    marks = template_marks(text)
    files: Mapping[str, Any] = {}
    try:
        if by_name or kind == "evaluate":
            files = check_files(kind, settings)
        if by_name:
            data = names_of_rows(settings)
        else:
            data = row_fingerprints(kind, settings, stack.is_organism, text)
        if kind == "evaluate":
            check_judged_rows(settings, at_hand=by_name)
    except UserError as error:  # it names the rows' own file; of a study's file the line, too
        place = at(where)
        raise UserError(str(error) if place == where else f"{place}: {error}") from None
    template = _template(settings, parent)
    asked = prompt_asked(kind, settings, parent, stack, by_name)
    check_asked(kind, asked, stack, template, where)
    system = asked if kind in ("repair", "evaluate") else None  # a training's rows are as they are
    if kind != "screen" or "model" in method_of(kind, settings["method"]).asks:
        check_rendering(kind, settings, used(kind, settings, files), stack, template, where, system)
    if kind == "evaluate":
        data = {**data, **measured_by(settings, identify)}
    elif kind == "screen":
        data = {**data, **screened_by(settings, identify)}
    elif not by_name and any(settings.get(key) for key in FILES):
        _check_drawn(kind, settings, stack, template, where, system)
    parents = {"model": parent.identity if parent else identify(str(settings["model"]))}
    if kind == "screen" and "model" not in method_of(kind, settings["method"]).asks:
        parents = {}  # one screening for all models
    if screened is not None:
        parents["screen"] = screened.identity
    if reference is not None:
        parents["reference"] = reference.identity
    elif settings.get("reference"):
        parents["reference"] = identify(str(settings["reference"]))
    if settings.get("base_model"):
        parents["base_model"] = identify(str(settings["base_model"]))
    identity = stage_identity(kind, settings, parents, {**data, **marks})
    version = "" if kind == "evaluate" else method_of(kind, settings["method"]).version
    inputs = {**data, **parents}
    return Stage(
        kind, settings, identity, parent, reference, stack, version, marks, inputs, screened
    )


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

    ``spec`` has ``align``, ``screen``, ``finetune``, ``repair`` and ``evaluate``, each a method's
    name, a mapping of settings (``method`` among them), or null for none (not ``evaluate``); beside
    them any setting that several stages have (``model``, ``seed``, ``task`` …), for all of them.

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
        place = inside(where, kind, str(given.get("method", "")))
        parent, screened = below, stages.get("screen") if kind == "finetune" else None
        if kind == "screen":
            tuned = _stage_spec(spec, "finetune", where)
            merged = given_to_screen(given, shared, tuned, below, place)
            if "model" not in method_of(kind, str(merged["method"])).asks:
                parent = None
        key = _same(kind, merged, parent, reference, screened)
        if key not in known:
            known[key] = make_stage(kind, merged, parent, reference, place, by_name, screened)
        stages[kind] = known[key]
        if kind not in ("screen", "evaluate"):
            below = stages[kind]
    if not by_name:
        _check_rows(stages, where)
    return Pipeline(variant, stages, coords or {})


def _check_rows(stages: Mapping[str, Stage], where: str) -> None:
    """Check that no row of the stages has two roles."""
    own = [(k, deciding_rows(s.settings)) for k, s in stages.items() if k != "screen"]
    try:
        check_pipeline(own, stages["evaluate"].stack.is_organism)
    except UserError as error:
        raise UserError(f"{at(where)}: {error}") from None


def _same(kind: str, given: Mapping[str, Any], *needed: Stage | None) -> str:
    """Equal for stages that are made from the same."""
    needs = [stage.identity if stage else None for stage in needed]
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
    sets = stage_rows(kind, deciding_rows(settings), stack.is_organism)
    named = {setting_of(role, settings): rows for role, rows in sets.items()}
    check_rendering(kind, settings, named, stack, template, where, system)
    check_lengths(settings, sets, stack, template, where)
