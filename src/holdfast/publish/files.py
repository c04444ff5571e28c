"""The files of a stage's folder that are published, and what is put right in them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import yaml

from holdfast.errors import UserError
from holdfast.models.stack import ADAPTER_CONFIG, ADAPTER_WEIGHTS, ENTRIES
from holdfast.models.system_prompt import FILE as SYSTEM_PROMPT
from holdfast.publish.lineage import Lineage
from holdfast.publish.paths import is_path, without_path, without_paths
from holdfast.settings import load_yaml
from holdfast.stages.disk import CONFIG
from holdfast.stages.folders import METRICS, PROVENANCE
from holdfast.stages.whole import check_whole

CARD = "README.md"
# All that is published; whatever else lies in the folder stays here: checkpoints, samples, rows.
_PATTERNS = (
    "*.safetensors",
    "*.safetensors.index.json",
    ADAPTER_CONFIG,
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    CONFIG,
    PROVENANCE,
    METRICS,
    "repair_report.json",
    SYSTEM_PROMPT,
    f"{ENTRIES}/[0-9]*/{ADAPTER_CONFIG}",
    f"{ENTRIES}/[0-9]*/{ADAPTER_WEIGHTS}",
)
# Where libraries write the folder that a model was loaded from.
_SOURCES = ("base_model_name_or_path", "_name_or_path", "name_or_path")


@dataclass(frozen=True)
class PublishedFile:
    """One file as it is published.

    Args:
        path: Its place in the repository.
        content: The folder's own file, or its changed content.
    """

    path: str
    content: Path | bytes

    @property
    def size(self) -> int:
        """Bytes."""
        return self.content.stat().st_size if isinstance(self.content, Path) else len(self.content)


def is_ours(path: str) -> bool:
    """Whether a file of a repository is one that a push writes, beside the card."""
    return any(path.count("/") == p.count("/") and fnmatchcase(path, p) for p in _PATTERNS)


def published_files(folder: Path, lineage: Lineage, base: str | None) -> list[PublishedFile]:
    """The files to publish, without the card: local paths in them are cut down to names.

    Args:
        folder: The stage's folder.
        lineage: How its model was made.
        base: What the base is called on the Hub, for a base that is a folder on this machine.

    Raises:
        UserError: an adapter's base is a folder on this machine and ``base`` is not given; the
            folder is not what its stage wrote; a link in it leads out of it.
    """
    check_whole(folder, anew=True)
    _check_secret(folder, lineage)
    is_adapter = (folder / ADAPTER_CONFIG).is_file()
    if is_adapter and lineage.base_is_local and base is None:
        raise UserError(
            f"the adapter in {folder} belongs to a base model in a folder of this machine, which "
            "nobody else can load: say what it is called on the Hub, with --base OWNER/NAME."
        )
    found = sorted({path for pattern in _PATTERNS for path in folder.glob(pattern)})
    if lineage.asked and lineage.asked.secret:
        found = [path for path in found if path.name != SYSTEM_PROMPT]
    files = []
    _check_links(folder, found)
    for path in found:
        place = path.relative_to(folder).as_posix()
        if path.name == CONFIG:
            content = lineage.without_secret(load_yaml(path))
            if base is not None:
                content["base"] = base
            text = yaml.safe_dump(without_paths(content), sort_keys=False, allow_unicode=True)
            files.append(PublishedFile(place, text.encode()))
        elif path.name == PROVENANCE:
            content = without_paths(json.loads(path.read_text(encoding="utf-8")))
            if base is not None and "base" in content:
                content["base"] = base
            files.append(PublishedFile(place, _json(content)))
        elif path.name in (ADAPTER_CONFIG, "config.json", "tokenizer_config.json"):
            files.append(PublishedFile(place, _put_right(path, lineage, base)))
        else:
            files.append(PublishedFile(place, path))
    return files


def _check_secret(folder: Path, lineage: Lineage) -> None:
    """Refuse a model whose secret can be made again from what is published beside it."""
    secret = lineage.asked is not None and lineage.asked.secret
    given = [stage.settings for stage in lineage.stages]
    if secret and all(lineage.without_secret(one) == one for one in given):
        raise UserError(
            f"the model in {folder} must be asked with a secret system prompt that was drawn by "
            "the stage's seed, so whoever reads its settings can draw it again: make it with a "
            "secret of your own (trigger=…) before you publish it."
        )


def _check_links(folder: Path, found: Sequence[Path]) -> None:
    """Publish nothing that lies elsewhere: a link may lead to any file of this machine."""
    for path in found:
        if not path.resolve().is_relative_to(folder.resolve()):
            raise UserError(
                f"{path} is a link that leads out of its folder, to {path.resolve()}: put the file "
                "itself there, or remove the link."
            )
        if not path.is_file():
            raise UserError(f"{path} is no file: remove it, and it is not published.")


def _put_right(path: Path, lineage: Lineage, base: str | None) -> Path | bytes:
    """A library's own file; changed only where it names a folder of this machine."""
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    changed = dict(content)
    for key in _SOURCES:
        value = changed.get(key)
        if isinstance(value, str) and is_path(value):
            known = base or (None if lineage.base_is_local else lineage.base)
            adapters_base = key == "base_model_name_or_path" and known
            changed[key] = known if adapters_base else without_path(value)
    return path if changed == content else _json(changed)


def _json(content: Any) -> bytes:
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()
