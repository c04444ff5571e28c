"""A model is a base plus a stack of adapters.

On disk the outcome of a stage is a folder that plain ``peft`` loads: ``adapter_model.safetensors``
in it is the whole stack as one adapter on the base. Where the stack has more than one entry, the
single ones lie beside it in ``stack/0``, ``stack/1`` …, for what needs them (a repair changes the
last one, single LoRA trains it on). A fully fine-tuned model is a base without adapters.

A user names a model as ``organism``, ``smollm2``, a folder, a ``.gguf`` file, ``owner/name`` or
``owner/name@revision`` of the Hub (a model or an adapter), or several of these in turn,
``BASE+ADAPTER+ADAPTER``; the base may be left out where the first adapter names it.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from holdfast import organism
from holdfast.errors import UserError
from holdfast.models import gguf, hub
from holdfast.models.fingerprint import folder_fingerprint, has_weights, weights_fingerprint
from holdfast.models.foreign import (
    check_adapter_config,
    check_model_config,
    door,
    read_object,
    told,
)
from holdfast.models.hub import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from holdfast.registry import METHODS
from holdfast.settings import nearest

STAGE_CONFIG = "config.yaml"
ENTRIES = "stack"
ORGANISM = "organism"
# What config.yaml says of a stage's model beside the stage's own settings.
ABOUT = ("base", "base_revision", "base_weights", "organism")


@dataclass(frozen=True)
class Stack:
    """A base model and the adapters on it, lowest first.

    Args:
        base: "organism", "smollm2", a local folder in Hugging Face's format, a ``.gguf`` file, or
            a model id on the Hub.
        entries: folders in PEFT's format, one an adapter.
        revision: the commit of a base on the Hub.
        tokenizer: the folder with the topmost tokenizer; None for the base's own.
        source: what named it, with the commit of whatever is on the Hub.
    """

    base: str
    entries: tuple[Path, ...] = ()
    revision: str | None = None
    tokenizer: Path | None = field(default=None, compare=False)
    source: str = field(default="", compare=False)

    @property
    def is_organism(self) -> bool:
        """Whether the base is the built-in model organism, or a descendant of its own weights."""
        return self.base == ORGANISM or stage_config(Path(self.base)).get("organism", False)

    def base_folder(self) -> Path | None:
        """The base's folder or ``.gguf`` file; None for a model of the Hub."""
        return None if self.revision else _folder_of(self.base)

    def about(self) -> dict[str, Any]:
        """What a stage's config.yaml says of it; see `ABOUT`."""
        folder = self.base_folder()
        local = folder is not None and self.base != ORGANISM
        return {
            "base": self.base,
            **({"base_revision": self.revision} if self.revision else {}),
            **({"base_weights": weights_fingerprint(folder)} if folder and local else {}),
            "organism": self.is_organism,
        }


@door("the model {}")
def resolve(reference: str | Path) -> Stack:
    """What a user names as a model, as a base and its adapters; reads no weights.

    An adapter of the Hub is downloaded, a base is not. A folder whose name holds "+" or "@" is
    taken as that folder where it is there.

    Args:
        reference: see the module; the folder of a stage names the stage's whole stack.

    Raises:
        UserError: a path that is not there, a folder that holds no model, an adapter of another
            base, or what `hub.look_up` says of a model on the Hub.
    """
    parts = [str(reference)]
    if "+" in parts[0] and not Path(parts[0]).expanduser().exists():
        parts = parts[0].split("+")
    stack = _single(parts[0])
    for part in parts[1:]:
        stack = _with(stack, part)
    return stack


@door("the model {}")
def check_name(reference: str) -> None:
    """Check what can be known of a model's name without the Hub.

    Raises:
        UserError: it can be neither a folder that is there nor a model of the Hub; a folder holds
            no model; or what a ``.gguf`` file or ``smollm2`` is read with is not installed.
    """
    is_one = "+" not in reference or Path(reference).expanduser().exists()
    parts = [reference] if is_one else reference.split("+")
    known = (ORGANISM, gguf.SMOLLM2)
    named = [p for p in parts if p not in known and not Path(p).expanduser().exists()]
    for part in named:
        _check_hub_name(part, part.partition("@")[0])
    if not named:
        resolve(reference)
    elif gguf.SMOLLM2 in parts:
        _smollm2()


def _single(reference: str) -> Stack:
    """The stack that a reference without "+" names."""
    if reference == ORGANISM:
        return Stack(ORGANISM, source=ORGANISM)
    if reference == gguf.SMOLLM2:
        return _smollm2()
    folder, source = _local(reference)
    if folder is None:
        name, _, revision = source.partition("@")
        return Stack(name, revision=revision, source=source)
    if (folder / ADAPTER_CONFIG).is_file():
        return replace(_adapter_stack(folder), source=source)
    return Stack(str(_model_in(folder).resolve()), source=source)


def _smollm2() -> Stack:
    if Path(gguf.SMOLLM2).exists():  # somebody's own; neither may be taken for the other
        raise UserError(
            f"there is a folder '{gguf.SMOLLM2}' here: write ./{gguf.SMOLLM2} for it, or go to "
            f"another folder for the model that '{gguf.SMOLLM2}' names."
        )
    gguf.check(gguf.smollm2_file())
    return Stack(gguf.SMOLLM2, source=gguf.SMOLLM2)


def _with(below: Stack, reference: str) -> Stack:
    """``below`` with the adapter that ``reference`` names on it."""
    folder, source = _local(reference)
    if folder is None or not (folder / ADAPTER_CONFIG).is_file():
        raise UserError(
            f"{reference} is a whole model and no adapter: in a stack only the first can be one, "
            "and the others are adapters on it."
        )
    entries = _entries(folder)
    _check_base(below, folder)
    contents = [folder_fingerprint(entry) for entry in entries[: len(below.entries)]]
    if len(entries) > 1 and contents == [folder_fingerprint(entry) for entry in below.entries]:
        entries = entries[len(below.entries) :]  # a stage's folder holds what it was trained on
    return replace(
        below,
        entries=below.entries + entries,
        tokenizer=_tokenizer_in(folder) or below.tokenizer,
        source=f"{below.source}+{source}",
    )


def _local(reference: str) -> tuple[Path | None, str]:
    """The folder of a reference and its exact form; no folder for a base model of the Hub."""
    folder = Path(reference).expanduser()
    if folder.exists():
        return folder, reference
    name, _, revision = reference.partition("@")
    _check_hub_name(reference, name)
    repository = hub.look_up(name, revision or None)
    source = f"{name}@{repository.commit}"
    return (hub.adapter_folder(repository) if repository.is_adapter else None), source


def _adapter_stack(folder: Path) -> Stack:
    entries = _entries(folder)
    base, revision = _declared_base(folder)
    if base is None:
        raise UserError(
            f"{folder / ADAPTER_CONFIG} does not say which model the adapter belongs to: set "
            f"base_model_name_or_path in it, or name the model as BASE+{folder}."
        )
    if revision and not Path(base).exists():
        below = Stack(base, revision=revision) if _is_own(folder) else _single(f"{base}@{revision}")
    elif Path(base).is_absolute() and not Path(base).exists():
        raise UserError(
            f"the adapter {folder} belongs to the model {base}, which is not there: name the model "
            f"where it is now, as BASE+{folder}."
        )
    else:
        below = _single(base)
    tokenizer = _tokenizer_in(folder) or below.tokenizer
    return replace(below, entries=below.entries + entries, tokenizer=tokenizer)


def _entries(folder: Path) -> tuple[Path, ...]:
    """The adapters in a folder, lowest first: a stage's single ones, or the folder itself."""
    if not (folder / ADAPTER_WEIGHTS).is_file():
        raise UserError(
            f"{folder} has {ADAPTER_CONFIG} but no {ADAPTER_WEIGHTS}: {hub.SAFETENSORS_ONLY}."
        )
    check_adapter_config(folder / ADAPTER_CONFIG)
    singles = sorted((folder / ENTRIES).glob("[0-9]*"), key=lambda path: int(path.name))
    return tuple(path.resolve() for path in (singles or [folder]))


def _declared_base(folder: Path) -> tuple[str | None, str | None]:
    """The base that an adapter's folder says it belongs to, and its revision."""
    stage = stage_config(folder)
    if stage.get("base"):
        return stage["base"], stage.get("base_revision")
    path = folder / ADAPTER_CONFIG
    config = read_object(path)
    base = config.get("base_model_name_or_path")
    if base and (not isinstance(base, str) or "\0" in base):
        raise UserError(f"{path}: base_model_name_or_path is {base!r:.80}; it must name a model.")
    if base and Path(base).resolve() == folder.resolve():
        raise UserError(f"{path} says that the adapter is its own base: name BASE+{folder}.")
    revision = config.get("revision")
    if revision is not None and not isinstance(revision, str):
        raise UserError(f"{path}: revision is {revision!r:.80}; it must be text.")
    # The organism's own folder lies elsewhere on every machine.
    if base and Path(base).resolve() == organism.folder().resolve():
        return ORGANISM, None
    return base or None, revision


def _check_base(below: Stack, folder: Path) -> None:
    """Refuse an adapter that says that it belongs to another base than ``below``'s.

    Names of two models on the Hub are compared as names: equal shapes do not make them the same
    model (a chat model has those of its base). Two folders are compared by their weights, also one
    that has moved since, where a stage of ours recorded them. Between a name and a folder nothing
    is known here; the weights' shapes decide when the adapter is loaded.
    """
    declared, _ = _declared_base(folder)
    if declared is None:
        return
    here, there = below.base_folder(), _folder_of(declared)
    recorded = stage_config(folder).get("base_weights")
    if here is not None and (recorded or there is not None):
        other = not has_weights(here, recorded or weights_fingerprint(there or here))
    elif here is None and there is None and hub.is_name(declared):
        other = declared.lower() != below.base.lower()
    else:
        other = False
    if other:
        raise UserError(
            f"the adapter {folder} belongs to the base model {declared}, and this one is "
            f"{below.base}: name its own base, or, if both hold the same weights, set "
            f"base_model_name_or_path in its {ADAPTER_CONFIG}."
        )


def _folder_of(base: str) -> Path | None:
    if base == ORGANISM:
        return organism.folder()
    file = gguf.base_file(base)
    if file is not None:
        return file if file.is_file() else None
    return Path(base) if Path(base).is_dir() else None


def _is_own(folder: Path) -> bool:
    """Whether a stage of ours wrote the folder: its base is a whole model at a known commit."""
    return "base" in stage_config(folder)


def _tokenizer_in(folder: Path) -> Path | None:
    return folder.resolve() if (folder / "tokenizer_config.json").is_file() else None


def _model_in(folder: Path) -> Path:
    """The folder of a model, or the GGUF file that it is or that is the model in it."""
    file = folder if folder.is_file() and gguf.base_file(folder.name) else gguf.file_in(folder)
    if file is not None:
        gguf.check(file)
        return file
    if (folder / "config.json").is_file():
        if not any(folder.glob("*.safetensors")):
            raise UserError(hub.no_safetensors(str(folder)))
        check_model_config(folder)
        return folder
    if (folder / "provenance.json").is_file():
        raise UserError(f"{folder} is a stage's folder without a model in it, an evaluation's say.")
    raise UserError(
        f"{folder} holds no model: it needs {ADAPTER_CONFIG} (an adapter), config.json (a model) "
        "or a .gguf file."
    )


def stage_config(folder: Path) -> dict[str, Any]:
    """What a stage's folder says of the stage that made it; nothing of any other folder."""
    path = folder / STAGE_CONFIG
    if not path.is_file():
        return {}
    with told(str(path)):
        loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
    return loaded if isinstance(loaded, dict) else {}


def _hint(reference: str) -> str:
    for kind, methods in METHODS.items():
        if reference in methods:
            return f" (for the {kind} method write method={reference})"
    close = nearest(reference, [ORGANISM, gguf.SMOLLM2])
    return f" (did you mean '{close}'?)" if close else ""


def _check_hub_name(reference: str, name: str) -> None:
    looks_local = reference.startswith((".", "/", "~")) or not hub.is_name(name)
    if looks_local or _hint(reference):
        raise UserError(
            f"there is no model '{reference}'{_hint(reference)}: name 'organism', 'smollm2', a "
            "folder or .gguf file that exists, a model of the Hub as owner/name or "
            "owner/name@revision, or a stack of adapters as BASE+ADAPTER."
        )
