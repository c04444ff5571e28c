"""A stage's settings, resolved and checked without loading a model."""

from collections.abc import Mapping
from functools import cache
from typing import Any

from holdfast.attacks import check_attack, training_settings
from holdfast.errors import UserError
from holdfast.models.accelerator import automatic_dtype
from holdfast.models.gguf import base_file
from holdfast.models.stack import Stack
from holdfast.models.templates import check_template
from holdfast.registry import METHODS, entry_of, plan_of
from holdfast.settings import REQUIRED, Expression, Field, at, check, fields_of, merge, nearest
from holdfast.stages.defaults import TRAINING, defaults
from holdfast.stages.elsewhere import ELSEWHERE
from holdfast.stages.evaluation.settings import resolve_evaluation
from holdfast.stages.methods import Method, method_of
from holdfast.stages.settings import (
    REAL_TASKS,
    SETTINGS,
    is_transformers,
    method_fields,
    own_fields,
    stage_fields,
)

_NONE = Field("method", "str", "", "")


def resolve(
    kind: str, given: Mapping[str, Any], stack: Stack, where: str = "the settings"
) -> dict[str, Any]:
    """All settings of a stage, with the recipe's and the fields' defaults under the given ones.

    Args:
        kind: one of `KINDS`.
        given: what the user set.
        stack: the model that the stage starts from.
        where: where the settings are from, for messages.

    Raises:
        UserError: an unknown method or setting, or a value of the wrong type or out of its range.
    """
    method = given.get("method", fields_of(SETTINGS[kind]).get("method", _NONE).default)
    try:
        own, extra = stage_fields(kind), method_fields(kind, str(method))
    except UserError as error:
        raise UserError(f"{at(where, 'method')}: {error}") from None
    for key in given:
        if key in ELSEWHERE and extra:
            raise UserError(f"{at(where, key)}: '{key}' is no setting here: {ELSEWHERE[key]}.")
        if key not in own and key not in extra:
            _check_other_methods(kind, str(method), key, where)
    checked = check(given, {**own, **extra}, where)
    # A stage's recipe holds for all of its methods; one that lacks a setting goes without it.
    recipe = defaults(kind, str(method), stack.is_organism)
    if checked.get("attack") is not None:
        check_attack(checked["attack"], stack.is_organism, where)
    if kind == "finetune":
        recipe = merge(recipe, training_settings(checked.get("attack"), stack.is_organism))
    recipe = {key: value for key, value in recipe.items() if key in own or key in extra}
    resolved = dict(_field_defaults(kind, str(method)))
    resolved |= {k: v for k, v in {**recipe, **checked}.items() if k != "lora"}
    if "lora" in own:
        base = {name: f.default for name, f in own["lora"].items()}
        resolved["lora"] = {**base, **recipe.get("lora", {}), **checked.get("lora", {})}
        if not resolved["lora"]["target_modules"]:
            raise UserError(
                f"{at(where, 'lora', 'target_modules')}: lora.target_modules names no module; "
                "write all-linear, or a list of names such as [q_proj, v_proj]."
            )
    if kind == "evaluate":
        resolved |= resolve_evaluation(resolved, stack.is_organism, where)
    if resolved["dtype"] == "auto":
        resolved["dtype"] = "float32" if stack.is_organism else automatic_dtype()
        if resolved["dtype"] == "float16" and "fp16" in resolved:
            # Gradients are too small for float16 unless the loss is scaled, which fp16 does; and
            # it wants the weights that are trained in float32.
            resolved |= {"fp16": True, "bf16": False}
            if resolved["adapter"] == "full":
                resolved["dtype"] = "float32"
    if resolved["quantization"] and resolved.get("adapter") == "full":
        raise UserError(
            f"{at(where, 'quantization')}: "
            f"quantization is {resolved['quantization']} and adapter is full, but "
            "quantized weights cannot be trained: train an adapter, or leave quantization out."
        )
    _check_gguf(resolved, stack, where)
    _check_processes(resolved, where)
    if kind != "evaluate":
        _check_method(kind, str(method), resolved, where)
    check_template(resolved["template"], where)
    for name, one in extra.items():
        if one.default is REQUIRED and name not in resolved:
            raise UserError(
                f"{at(where, 'method')}: {name} is not given, and method={method} has no default."
            )
    if kind == "finetune" and not stack.is_organism and not resolved["data"] and resolved["task"]:
        resolved["data"] = _task_rows(resolved["task"], where)
    return resolved


def _field_defaults(kind: str, method: str) -> Mapping[str, Any]:
    return _defaults_of(kind, None if kind == "evaluate" else method_of(kind, method))


@cache
def _defaults_of(kind: str, method: Method | None) -> Mapping[str, Any]:
    """The fields' own defaults, of the stage and of its method."""
    defaults = {n: f.default for n, f in stage_fields(kind).items() if isinstance(f, Field)}
    for name, f in (own_fields(kind, method) if method else {}).items():
        ours = name in TRAINING or not is_transformers(name)
        if ours and not isinstance(f.default, Expression):
            defaults[name] = f.default
    return defaults


def _check_gguf(settings: Mapping[str, Any], stack: Stack, where: str) -> None:
    """What cannot be had of a base in a GGUF file."""
    if base_file(stack.base) is None:
        return
    if settings["quantization"]:
        raise UserError(
            f"{at(where, 'quantization')}: quantization is {settings['quantization']}, and the "
            f"model {stack.base} is a GGUF file, which is unpacked as it is loaded: leave "
            "quantization out."
        )
    if settings.get("backend") == "vllm":
        raise UserError(
            f"{at(where, 'backend')}: backend is vllm, and the model {stack.base} is a GGUF file, "
            "which is only read by backend=transformers."
        )


def _check_processes(settings: Mapping[str, Any], where: str) -> None:
    """What several processes cannot do."""
    if settings.get("processes", 1) == 1:
        return
    if settings["device_map"]:
        raise UserError(
            f"{at(where, 'device_map')}: "
            f"device_map is {settings['device_map']}, which spreads the model over the "
            f"GPUs of one process, and processes is {settings['processes']}: leave one of them out."
        )
    if settings["parallel"] == "fsdp2" and settings["quantization"]:
        raise UserError(
            f"{at(where, 'quantization')}: "
            f"quantization is {settings['quantization']}, and parallel is fsdp2, which "
            "cannot divide quantized weights: use parallel=ddp, or leave quantization out."
        )


def _check_method(kind: str, method: str, settings: Mapping[str, Any], where: str) -> None:
    """What a method of this package cannot do, and settings of it that do not go together."""
    entry = entry_of(kind, method)
    adapter = settings.get("adapter")
    if adapter and entry and entry.adapters and adapter not in entry.adapters:
        raise UserError(
            f"{at(where, 'adapter')}: adapter is {adapter}, and method={method} needs "
            f"adapter={' or '.join(entry.adapters)}."
        )
    for what, reason in (entry.refuses if entry else {}).items():
        key, _, value = what.partition("=")
        given = settings.get(key)
        alone = settings.get("processes", 1) == 1 and key in ("parallel", "processes")
        if not alone and (str(given) == value if value else given):
            raise UserError(
                f"{at(where, key)}: {key} is {given}, and method={method} cannot do that: {reason}."
            )
    if wrong := plan_of(kind, method).check(settings):
        raise UserError(f"{at(where, wrong[0])}: {wrong[1]}")


def _task_rows(task: str, where: str) -> str:
    """The data reference of a real task's training rows."""
    if task not in REAL_TASKS:
        close = nearest(task, REAL_TASKS)
        hint = f"did you mean '{close}'? " if close else ""
        raise UserError(
            f"{at(where, 'task')}: "
            f"task '{task}' has no rows for this model; {hint}tasks with rows of their "
            f"own are {', '.join(REAL_TASKS)}: for others name the rows (data=rows.jsonl)."
        )
    return f"{task}:train"


def _check_other_methods(kind: str, method: str, key: str, where: str) -> None:
    """Tell that a setting is another method's, which a nearest name would hide."""
    owners = [m for m in METHODS[kind] if m != method and key in method_fields(kind, m)]
    if owners:
        raise UserError(
            f"{at(where, key)}: "
            f"'{key}' is no setting of method={method}; it is one of {', '.join(owners)}."
        )
