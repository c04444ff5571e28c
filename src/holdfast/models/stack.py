"""A model is a base plus a stack of adapters.

On disk the outcome of a stage is a folder that plain ``peft`` loads: ``adapter_model.safetensors``
in it is the whole stack as one adapter on the base. Where the stack has more than one entry, the
single ones lie beside it in ``stack/0``, ``stack/1`` …, for what needs them (a repair changes the
last one, single LoRA trains it on). A fully fine-tuned model is a base without adapters.
"""

import json
from dataclasses import dataclass, field, replace
from pathlib import Path

import yaml

from holdfast import align, finetune, organism, repair
from holdfast.errors import UserError
from holdfast.settings import nearest

ADAPTER_WEIGHTS = "adapter_model.safetensors"
ADAPTER_CONFIG = "adapter_config.json"
STAGE_CONFIG = "config.yaml"
ENTRIES = "stack"
ORGANISM = "organism"


@dataclass(frozen=True)
class Stack:
    """A base model and the adapters on it, lowest first.

    Args:
        base: "organism", a local folder in Hugging Face's format, or a model id on the Hub.
        entries: folders in PEFT's format, one an adapter.
        source: what named it.
    """

    base: str
    entries: tuple[Path, ...] = ()
    source: str = field(default="", compare=False)

    @property
    def is_organism(self) -> bool:
        """Whether the base is the built-in model organism, or a descendant of its own weights."""
        return self.base == ORGANISM or _stage_config(Path(self.base)).get("organism", False)


def resolve(reference: str | Path) -> Stack:
    """What a user names as a model, as a base and its adapters; reads no weights.

    Args:
        reference: "organism"; a folder that a stage or ``peft`` wrote; a local folder in Hugging
            Face's format; or a model id on the Hub.

    Raises:
        UserError: a path that is not there, or a folder that holds no model.
    """
    return replace(_resolve(reference), source=str(reference))


def _resolve(reference: str | Path) -> Stack:
    if str(reference) == ORGANISM:
        return Stack(ORGANISM)
    folder = Path(reference).expanduser()
    if not folder.exists():
        return Stack(_hub_id(str(reference)))
    if (folder / ADAPTER_CONFIG).is_file():
        return _adapter_stack(folder)
    if (folder / "config.json").is_file():
        return Stack(str(folder.resolve()))
    if (folder / "provenance.json").is_file():
        raise UserError(f"{folder} is a stage's folder without a model in it, an evaluation's say.")
    raise UserError(
        f"{folder} holds no model: it needs {ADAPTER_CONFIG} (an adapter) or config.json (a model)."
    )


def _adapter_stack(folder: Path) -> Stack:
    if not (folder / ADAPTER_WEIGHTS).is_file():
        raise UserError(
            f"{folder} has {ADAPTER_CONFIG} but no {ADAPTER_WEIGHTS}: holdfast reads safetensors "
            "only."
        )
    base = _stage_config(folder).get("base") or _peft_base(folder)
    singles = sorted((folder / ENTRIES).glob("[0-9]*"), key=lambda path: int(path.name))
    entries = tuple(path.resolve() for path in (singles or [folder]))
    below = resolve(base) if base != ORGANISM else Stack(ORGANISM)
    return Stack(below.base, below.entries + entries)


def _peft_base(folder: Path) -> str:
    try:
        base = json.loads((folder / ADAPTER_CONFIG).read_text(encoding="utf-8")).get(
            "base_model_name_or_path"
        )
    except ValueError as error:
        raise UserError(f"{folder / ADAPTER_CONFIG} is not valid JSON: {error}.") from error
    if not base:
        raise UserError(
            f"{folder / ADAPTER_CONFIG} does not say which model the adapter belongs to: set "
            "base_model_name_or_path in it."
        )
    # The organism's own folder lies elsewhere on every machine.
    return ORGANISM if Path(base).resolve() == organism.folder().resolve() else base


def _stage_config(folder: Path) -> dict:
    path = folder / STAGE_CONFIG
    if not path.is_file():
        return {}
    loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
    return loaded if isinstance(loaded, dict) else {}


def _hint(reference: str) -> str:
    for kind, methods in (("align", align), ("finetune", finetune), ("repair", repair)):
        if reference in methods.METHODS:
            return f" (for the {kind} method write method={reference})"
    return f" (did you mean '{ORGANISM}'?)" if nearest(reference, [ORGANISM]) else ""


def _hub_id(reference: str) -> str:
    looks_local = reference.startswith((".", "/", "~")) or reference.count("/") > 1
    if looks_local or _hint(reference):
        raise UserError(
            f"there is no model '{reference}'{_hint(reference)}: name 'organism', a "
            "folder that exists, or a model of the Hub as owner/name."
        )
    return reference
