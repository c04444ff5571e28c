"""Which models a fine-tuned one came from: the aligned one, and the base of the alignment.

A repair may ask for all three, a fine-tuning for what its model's alignment changed. A stack of
adapters says which they are by its order, a stage's folder by the model that it records; a
published chat model does not, and its base is named by ``base_model``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from holdfast.errors import UserError
from holdfast.models.gguf import SMOLLM2
from holdfast.models.stack import ORGANISM, STAGE_CONFIG, Stack, stage_config
from holdfast.models.stack import resolve as resolve_model
from holdfast.registry import entry_of
from holdfast.settings import at
from holdfast.stages.methods import method_of
from holdfast.stages.pipeline import Stage

_NAME = "name the model that the alignment started from, as base_model=MODEL"
# The parameters by which a method asks for what is found here.
_ASKED = {"checkpoints", "alignment_update"}


def aligned_and_base(tuned: Stack, settings: Mapping[str, Any]) -> tuple[Stack, Stack]:
    """The model that a fine-tuning started from, and the one that its alignment did.

    Args:
        tuned: the fine-tuned model, repaired or not.
        settings: the repair's; ``base_model`` among them is the base where a user names it.

    Raises:
        UserError: they cannot be known, or are no longer where they were.
    """
    try:
        aligned = _aligned(tuned)
        return aligned, _base_of(aligned, settings)
    except UserError as error:
        raise UserError(f"method={settings['method']} {error}") from None


def base_of(aligned: Stack, settings: Mapping[str, Any]) -> Stack:
    """The model that the alignment of the one that a fine-tuning starts from started from.

    Args:
        aligned: what the fine-tuning starts from.
        settings: the fine-tuning's; ``base_model`` among them is the base where a user names it.

    Raises:
        UserError: it cannot be known, is no longer where it was, or its weights would have to be
            compared and are quantized.
    """
    try:
        base = _base_of(aligned, settings)
        same = (aligned.base, aligned.revision) == (base.base, base.revision)
        _check_quantization(settings, by_adapters=same)
    except UserError as error:
        raise UserError(f"method={settings['method']} {error}") from None
    return base


def check_comparable(
    kind: str,
    settings: Mapping[str, Any],
    parent: Stage | None,
    stack: Stack,
    where: str,
    by_name: bool,
) -> None:
    """Check before a run that a method will find the models that it compares.

    Args:
        kind: "repair" or "finetune".
        settings: the stage's.
        parent: the stage whose model it starts from, if it is one of this run.
        stack: the model that the lowest stage starts from.
        where: where the settings are from, for messages.
        by_name: whether models of the Hub were not looked up yet.

    Raises:
        UserError: it will not, or they are of a kind that it cannot compare; or base_model is given
            to a method that compares nothing.
    """
    named, method = settings["base_model"], settings["method"]
    if not _ASKED & method_of(kind, method).asks:
        if named:
            raise UserError(
                f"{at(where, 'base_model')}: base_model is {named}, and method={method} compares "
                "the model with none: leave base_model out."
            )
        return
    known = _here(stack) if by_name else stack
    stages = [s for s in (parent.lineage() if parent else []) if s.kind != "repair"]
    try:
        if kind == "finetune":
            _check_alignment(stages, known, settings)
        elif stages:
            _check_lineage(stages, known, named)
            _check_adapters([s.settings["adapter"] for s in stages], settings)
        elif known is not None:
            aligned = _aligned(known)
            _ = named or _base(aligned)
            _check_adapters([_adapter(known)], settings)
    except UserError as error:
        raise UserError(f"{at(where, 'method')}: method={method} {error}") from None


def adapter_of_alignment(
    given: Mapping[str, Any], parent: Stage | None, stack: Stack, where: str
) -> dict[str, str]:
    """The setting ``adapter`` that a fine-tuning has where its model's alignment demands one.

    Args:
        given: what the user set.
        parent: the stage whose model is fine-tuned, if it is one of this run.
        stack: the model, where there is none.
        where: where the settings are from, for messages.

    Raises:
        UserError: the user set another.
    """
    if parent is not None:
        made = {**parent.settings, "stage": parent.kind}
    else:
        made = stage_config(_folder(stack)) if stack.source else {}
    entry = entry_of("align", str(made.get("method"))) if made.get("stage") == "align" else None
    if entry is None or not entry.same_adapter or made.get("adapter") == "full":
        return {}
    if given.get("adapter", "single") != "single":
        raise UserError(
            f"{at(where, 'adapter')}: adapter is {given['adapter']}, and the model was aligned "
            f"with method={made['method']}, which protects the adapter that it trained: "
            "use adapter=single."
        )
    return {"adapter": "single"}


def _here(stack: Stack) -> Stack | None:
    """A model that only its name is known of, if it can be known without the Hub."""
    if stack.source:
        return stack
    local = all(p in (ORGANISM, SMOLLM2) or Path(p).exists() for p in stack.base.split("+"))
    return resolve_model(stack.base) if local else None


def _check_alignment(
    stages: Sequence[Stage], known: Stack | None, settings: Mapping[str, Any]
) -> None:
    """Check that there is an alignment below a fine-tuning, or its base is named."""
    named = settings["base_model"]
    if not named and stages and stages[-1].kind != "align":
        raise UserError(f"needs the base of the alignment, and no stage here aligns: {_NAME}.")
    if stages:
        _check_quantization(settings, stages[-1].settings["adapter"] != "full")
    elif known is not None and not named:
        _check_quantization(settings, _base(known).base == known.base)


def _check_lineage(stages: Sequence[Stage], stack: Stack | None, named: str | None) -> None:
    if stages[-1].kind != "finetune":
        raise UserError("needs a fine-tuned model, and no fine-tuning comes before it.")
    below = stages[-2].kind if len(stages) > 1 else None
    if not named and below == "finetune":
        raise UserError(f"needs the base of the alignment, and no stage here aligns: {_NAME}.")
    if not named and below is None and stack is not None:
        _base(stack)


def _check_adapters(adapters: Sequence[str], settings: Mapping[str, Any]) -> None:
    """Check what the trainings before a repair trained, the fine-tuning's last."""
    entry = entry_of("repair", settings["method"])
    if entry and entry.adapters and adapters[-1] not in entry.adapters:
        raise UserError(
            f"needs a fine-tuning with adapter={' or '.join(entry.adapters)}, and adapter is "
            f"{adapters[-1]} in the one before it."
        )
    _check_quantization(settings, "full" not in adapters)


def _check_quantization(settings: Mapping[str, Any], by_adapters: bool) -> None:
    if settings["quantization"] and not by_adapters:
        raise UserError(
            "compares the models' own weights where adapter is full, and quantization is "
            f"{settings['quantization']}: leave quantization out."
        )


def _aligned(tuned: Stack) -> Stack:
    """What the last fine-tuning started from."""
    tuned, folder, stage = _trained(tuned)
    if stage.get("stage") == "align":
        raise UserError(f"needs a fine-tuned model, and {folder} is an alignment's.")
    if tuned.entries and stage.get("adapter") != "single":
        return replace(tuned, entries=tuned.entries[:-1], source=str(stage.get("model", "")))
    if stage.get("stage") == "finetune":
        return _recorded(folder, stage)
    raise UserError(
        f"needs to know the model that the fine-tuning started from, and {tuned.source} is a whole "
        f"model without a {STAGE_CONFIG} of holdfast's that tells it."
    )


def _base_of(aligned: Stack, settings: Mapping[str, Any]) -> Stack:
    named = settings["base_model"]
    return resolve_model(named) if named else _base(aligned)


def _base(aligned: Stack) -> Stack:
    """What the alignment of a model started from."""
    aligned, folder, stage = _trained(aligned)
    if stage.get("stage") == "finetune":
        raise UserError(f"needs the base of the alignment, and {folder} is fine-tuned: {_NAME}.")
    if aligned.entries:
        return replace(aligned, entries=(), source="")
    if stage.get("stage") == "align":
        return _recorded(folder, stage)
    raise UserError(
        f"needs the base of the alignment, and {aligned.base} carries no adapter of one: {_NAME}."
    )


def _adapter(tuned: Stack) -> str:
    """The setting adapter of a fine-tuning by what is there to repair."""
    if not tuned.entries:
        return "full"
    return "single" if _trained(tuned)[2].get("adapter") == "single" else "double"


def _trained(model: Stack) -> tuple[Stack, Path, Mapping[str, Any]]:
    """A model as it was before all repairs, its folder, and what its stage records there."""
    folder = _folder(model)
    stage = stage_config(folder)
    if stage.get("stage") == "repair":
        return _trained(_recorded(folder, stage))
    return model, folder, stage


def _folder(model: Stack) -> Path:
    """The folder whose stage made a model: what it was named by, or its base's."""
    named = Path(model.source).expanduser() if model.source else None
    if named is not None and "+" in model.source and not named.exists():
        named = Path(model.source.rpartition("+")[2]).expanduser()
    if named is not None and (named / STAGE_CONFIG).is_file():
        return named
    return Path(model.base) if not model.entries else Path(model.entries[-1])


def _recorded(folder: Path, stage: Mapping[str, Any]) -> Stack:
    """The model that a stage's folder says it started from."""
    model = str(stage["model"])
    try:
        return resolve_model(model)
    except UserError as error:
        raise UserError(
            f"needs the model that {folder} was made from ({model}), which is not there: {error}"
        ) from None
