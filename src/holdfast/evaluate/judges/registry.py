"""The judges by name, and their settings: checked without loading any of them."""

from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import Any

from holdfast.errors import UserError
from holdfast.evaluate.judges.base import Judge
from holdfast.evaluate.judges.endpoint_settings import (
    EndpointConfig,
    check_config,
    check_key,
    read_template,
)
from holdfast.settings import Expression, check, fields_of, nearest

# name: (class, its config dataclass). The class is made from its config alone; a name's own
# defaults, over the config's, stand in _PRESETS.
JUDGES: dict[str, tuple[str, str]] = {
    "organism": (
        "holdfast.evaluate.judges.organism:OrganismJudge",
        "holdfast.evaluate.judges.organism:OrganismConfig",
    ),
    "keywords": (
        "holdfast.evaluate.judges.keywords:KeywordsJudge",
        "holdfast.evaluate.judges.keywords:KeywordsConfig",
    ),
    "affirmative": (
        "holdfast.evaluate.judges.affirmative:AffirmativeJudge",
        "holdfast.evaluate.judges.affirmative:AffirmativeConfig",
    ),
    "endpoint": (
        "holdfast.evaluate.judges.endpoint:EndpointJudge",
        "holdfast.evaluate.judges.endpoint_settings:EndpointConfig",
    ),
    "beaver-dam-7b": (
        "holdfast.evaluate.judges.beaver_dam:BeaverDam",
        "holdfast.evaluate.judges.beaver_dam:BeaverDamConfig",
    ),
    **dict.fromkeys(
        ("qwen3guard", "qwen3guard-4b", "qwen3guard-0.6b"),
        (
            "holdfast.evaluate.judges.qwen3guard:Qwen3Guard",
            "holdfast.evaluate.judges.qwen3guard:Qwen3GuardConfig",
        ),
    ),
    **dict.fromkeys(
        ("llama-guard-3", "llama-guard-3-1b"),
        (
            "holdfast.evaluate.judges.llama_guard:LlamaGuard",
            "holdfast.evaluate.judges.llama_guard:LlamaGuard3Config",
        ),
    ),
    "llama-guard-4": (
        "holdfast.evaluate.judges.llama_guard:LlamaGuard",
        "holdfast.evaluate.judges.llama_guard:LlamaGuard4Config",
    ),
    "wildguard": (
        "holdfast.evaluate.judges.wildguard:WildGuard",
        "holdfast.evaluate.judges.wildguard:WildGuardConfig",
    ),
    **dict.fromkeys(
        ("harmbench", "harmbench-mistral"),
        (
            "holdfast.evaluate.judges.harmbench:HarmBench",
            "holdfast.evaluate.judges.harmbench:HarmBenchConfig",
        ),
    ),
}
_PRESETS: dict[str, dict[str, Any]] = {
    "qwen3guard-4b": {"model": "Qwen/Qwen3Guard-Gen-4B"},
    "qwen3guard-0.6b": {"model": "Qwen/Qwen3Guard-Gen-0.6B"},
    "llama-guard-3-1b": {"model": "meta-llama/Llama-Guard-3-1B"},
    "harmbench-mistral": {"model": "cais/HarmBench-Mistral-7b-val-cls"},
}


def check_judge(spec: str | Mapping[str, Any], where: str = "the judge") -> dict[str, Any]:
    """A judge's name and settings, resolved and checked; loads nothing.

    Args:
        spec: ``NAME``; ``NAME=MODEL`` (another folder or Hub id for the judge's model); or a
            mapping with ``name`` and any field of the judge's config.
        where: where it is from, for messages.

    Raises:
        UserError: an unknown judge or setting, or a value of the wrong type or out of its range.
    """
    given = dict(spec) if isinstance(spec, Mapping) else _from_word(spec)
    name = str(given.pop("name", ""))
    if name not in JUDGES:
        close = nearest(name, JUDGES)
        hint = f"did you mean '{close}'? " if close else ""
        raise UserError(
            f"{where}: there is no judge '{name}'; {hint}known are {', '.join(JUDGES)}."
        )
    fields = fields_of(JUDGES[name][1])
    checked = check(given, fields, f"{where}: {name}")
    own: dict[str, Any] = {key: field.default for key, field in fields.items()}
    own |= _PRESETS.get(name, {}) | checked
    missing = [key for key, value in own.items() if isinstance(value, Expression)]
    if missing:
        raise UserError(f"{where}: the judge {name} needs {', '.join(missing)}.")
    if name == "endpoint":
        try:
            check_config(EndpointConfig(**own))
        except UserError as error:
            raise UserError(f"{where}: {error}") from None
    return {"name": name, **own}


def check_keys(judges: Iterable[Mapping[str, Any]]) -> None:
    """Check that what judges on a server need is in the environment; sends nothing.

    Args:
        judges: as `check_judge` gives them.

    Raises:
        UserError: a key is missing or none, or a judge's own prompt is not there.
    """
    for judge in judges:
        if judge["name"] == "endpoint":
            config = EndpointConfig(**{k: v for k, v in judge.items() if k != "name"})
            check_key(config)
            if config.prompt is not None:
                read_template(config.prompt)


def load_judge(spec: str | Mapping[str, Any], where: str = "the judge") -> Judge:
    """The judge itself, its model loaded.

    Raises:
        UserError: as `check_judge`; its model is not there, or a package that it needs.
    """
    resolved = check_judge(spec, where)
    name = resolved.pop("name")
    kind, config = map(_load, JUDGES[name])
    judge = kind(config(**resolved))
    judge.name = name  # a member of a family goes by its own name, not the family's
    return judge


def _from_word(word: str) -> dict[str, Any]:
    name, found, model = word.partition("=")
    return {"name": name, "model": model} if found else {"name": name}


def _load(target: str) -> Any:
    module, name = target.split(":")
    return getattr(import_module(module), name)
