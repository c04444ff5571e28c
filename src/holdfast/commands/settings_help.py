"""The end of a stage command's ``--help``: its settings, each with its meaning and default."""

import re
from collections.abc import Mapping
from typing import Any

from holdfast.commands.help import Section
from holdfast.registry import METHODS
from holdfast.settings import Expression, Field
from holdfast.stages.defaults import defaults
from holdfast.stages.settings import is_transformers, method_fields, stage_fields

_ANY_TRAINING = (
    "adapter",
    "lora.r",
    "lora.alpha",
    "learning_rate",
    "lr_scheduler_type",
    "num_train_epochs",
    "per_device_train_batch_size",
    "gradient_accumulation_steps",
    "max_length",
    "template",
    "quantization",
    "processes",
    "seed",
)
# What most people set first, in this order; the rest stands in --help-all.
FIRST: dict[str, tuple[str, ...]] = {
    "align": ("model", "method", "data", "rows", "harmful_data", *_ANY_TRAINING),
    "finetune": (
        "model",
        "method",
        "task",
        "data",
        "rows",
        "harmful_data",
        "harmful_ratio",
        *(name for name in _ANY_TRAINING if name != "lora.alpha"),
        "alignment_data",
    ),
    "screen": (
        "method",
        "model",
        "rows",
        "columns",
        "probe_data",
        "probe_rows",
        "alignment_data",
        "alignment_rows",
        "template",
        "dtype",
        "quantization",
        "seed",
    ),
    "repair": (
        "model",
        "method",
        "data",
        "rows",
        "source",
        "task",
        "harmful_ratio",
        "sampling",
        "columns",
        "template",
        "dtype",
        "quantization",
        "seed",
    ),
    "evaluate": (
        "model",
        "reference",
        "protocol",
        "task",
        "judges",
        "limit",
        "harmful_data",
        "benign_data",
        "task_data",
        "also",
        "max_new_tokens",
        "batch_size",
        "backend",
        "template",
        "dtype",
        "quantization",
    ),
}

# What transformers' own words say at length.
_MEANINGS = {
    "learning_rate": "the highest learning rate.",
    "lr_scheduler_type": "how the learning rate goes on from there: linear, cosine, constant and "
    "transformers' others.",
    "num_train_epochs": "how often every row is seen.",
    "per_device_train_batch_size": "rows in a forward pass, of each process.",
    "gradient_accumulation_steps": "forward passes in an optimizer's step.",
}


def sections(kind: str, everything: bool = False) -> list[Section]:
    """The settings of a stage and of its methods, for a help text.

    Args:
        kind: the stage.
        everything: all of them; else those that most people set first, and the methods' own.
    """
    common = common_settings(kind)
    first = {name: common[name] for name in FIRST[kind]}
    whole = f"{len(common) - len(first)} more: holdfast {kind} --help-all."
    both = "In brackets the organism's default, where it has one of its own."
    found = [
        Section("Settings, as KEY=VALUE", _terms(kind, "", first), "" if everything else whole)
    ]
    if everything:
        ours = {n: f for n, f in common.items() if n not in first and not is_transformers(n)}
        theirs = {n: f for n, f in common.items() if n not in first and is_transformers(n)}
        found.append(Section("More settings", _terms(kind, "", ours)))
        found.append(Section("Settings of transformers", _terms(kind, "", theirs)))
    for method in METHODS[kind]:
        own = {n: f for n, f in method_fields(kind, method).items() if n not in common}
        found.append(Section(f"With method={method}", _terms(kind, method, own)))
    last = next(i for i in reversed(range(len(found))) if found[i].terms)
    found[last] = found[last]._replace(note=" ".join(filter(None, (found[last].note, both))))
    return found


def common_settings(kind: str) -> dict[str, Field]:
    """The settings that a stage has with each of its methods, those of ``lora`` one by one."""
    fields: dict[str, Field] = {}
    for name, field in stage_fields(kind).items():
        if isinstance(field, Mapping):
            fields |= {f"{name}.{below}": one for below, one in field.items()}
        else:
            fields[name] = field
    # What all training methods build on; a repair's settings are all its own.
    return fields | (dict(method_fields(kind, "sft")) if "sft" in METHODS[kind] else {})


def _terms(kind: str, method: str, fields: Mapping[str, Field]) -> list[tuple[str, str]]:
    general, organism = (_flat(defaults(kind, method, of)) for of in (False, True))
    return [_term(name, field, general, organism) for name, field in fields.items()]


def _flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    lora = {f"lora.{name}": value for name, value in settings.get("lora", {}).items()}
    return {**settings, **lora}


def _term(
    name: str, field: Field, general: Mapping[str, Any], organism: Mapping[str, Any]
) -> tuple[str, str]:
    usual = general.get(name, field.default)
    is_known = usual is not None and not isinstance(usual, Expression)
    meaning = _MEANINGS.get(name) or _first_sentence(field.help)
    if name in organism and organism[name] != usual:
        meaning = f"{meaning.removesuffix('.')} (the organism: {_shown(organism[name])})."
    return (f"{name}={_shown(usual)}" if is_known else name), meaning


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def _first_sentence(text: str) -> str:
    """The first sentence of a long help; ours are one sentence, transformers' can be pages."""
    end = re.search(r"[.](?= [A-Z`*])(?<!i[.]e[.])(?<!e[.]g[.])", text)
    return text[: end.end()] if end else text
