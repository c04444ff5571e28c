"""What a stage's folder records of how its model was made, back to the base."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from holdfast.errors import UserError
from holdfast.models.gguf import SMOLLM2
from holdfast.models.stack import ABOUT, ADAPTER_CONFIG, ORGANISM
from holdfast.models.system_prompt import SystemPrompt, in_folder
from holdfast.settings import load_yaml
from holdfast.stages.disk import CONFIG
from holdfast.stages.folders import PROVENANCE, recorded_identity


@dataclass(frozen=True)
class StageRecord:
    """One stage as its folder tells it.

    Args:
        kind: "align", "finetune", "repair" or "evaluate".
        settings: Its resolved settings, ``model`` among them.
        about: What config.yaml says of its base beside them.
        provenance: What provenance.json holds.
    """

    kind: str
    settings: Mapping[str, Any]
    about: Mapping[str, Any]
    provenance: Mapping[str, Any]

    @property
    def method(self) -> str:
        """Its method; empty for an evaluation."""
        return str(self.settings.get("method", ""))


@dataclass(frozen=True)
class Lineage:
    """How a model was made.

    Args:
        stages: The stages whose folders are there, first to last.
        gap: What the first of them started from, where that was another stage whose folder is not
            there any more; else empty.
        asked: The system prompt that the model must be asked with, if any.
    """

    stages: tuple[StageRecord, ...]
    gap: str
    asked: SystemPrompt | None = None

    @property
    def last(self) -> StageRecord:
        """The stage that wrote the model."""
        return self.stages[-1]

    @property
    def base(self) -> str:
        """The base: "organism", a name on the Hub, or a folder on this machine."""
        return str(self.stages[0].about.get("base") or "")

    @property
    def foreign(self) -> str:
        """What the first stage started from where that is more than the base, made elsewhere.

        An adapter that holdfast did not train, say, or a stack of such; "" for the base alone.
        """
        named, about = str(self.stages[0].settings.get("model") or ""), self.stages[0].about
        bases = {self.base, f"{self.base}@{about.get('base_revision')}"}
        if self.gap or not named or not self.base or named in bases:
            return ""
        return "" if Path(named).expanduser().resolve() == Path(self.base).resolve() else named

    def without_secret(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Settings without the one that a secret system prompt begins with."""
        if self.asked is None or not self.asked.secret:
            return dict(settings)
        begins = f"{self.asked.text} ".startswith
        return {
            key: "(secret)" if isinstance(value, str) and value and begins(f"{value} ") else value
            for key, value in settings.items()
        }

    @property
    def base_is_local(self) -> bool:
        """Whether the base is a folder on this machine and has no name on the Hub here."""
        path = Path(self.base).expanduser()
        if self.base == SMOLLM2:  # a name of ours, not of the Hub
            return True
        return self.base != ORGANISM and (path.is_absolute() or path.exists())


def read_stage(folder: Path) -> StageRecord:
    """Read config.yaml and provenance.json.

    Raises:
        UserError: the folder is not there, or no stage wrote it.
    """
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}: name the folder of a stage's result.")
    if recorded_identity(folder) is None or not (folder / CONFIG).is_file():
        raise UserError(
            f"{folder} is no result of a stage: it needs {CONFIG} and {PROVENANCE}, as holdfast "
            "align, finetune, repair and evaluate write them."
        )
    provenance = json.loads((folder / PROVENANCE).read_text(encoding="utf-8"))
    config = load_yaml(folder / CONFIG)
    about = {key: config.pop(key, None) for key in ("stage", *ABOUT)}
    return StageRecord(str(about["stage"]), config, about, provenance)


def read_lineage(folder: Path) -> Lineage:
    """Follow a model's folder back, stage by stage, as far as the folders are there.

    Raises:
        UserError: as `read_stage`; the folder holds no model.
    """
    last = read_stage(folder)
    if not (folder / ADAPTER_CONFIG).is_file() and not (folder / "config.json").is_file():
        raise UserError(
            f"{folder} holds no model to publish: it is the result of {last.kind}; name the folder "
            "of an alignment, a fine-tuning or a repair."
        )
    stages, seen, gap = [last], {folder.resolve()}, ""
    while True:
        first = stages[0]
        before, parent = _before(first), first.provenance.get("parent")
        identity = recorded_identity(before) if before else None
        if before is None or identity is None or before.resolve() in seen:
            if parent:
                gap = f"a stage whose folder is not at hand (identity {str(parent)[:12]})"
            break
        if parent and parent != identity:
            gap = f"a stage whose folder holds another result now (identity {str(parent)[:12]})"
            break
        seen.add(before.resolve())
        stages.insert(0, read_stage(before))
    return Lineage(tuple(stages), gap, in_folder(folder))


def _before(stage: StageRecord) -> Path | None:
    model = Path(str(stage.settings.get("model", ""))).expanduser()
    return model if str(stage.settings.get("model")) != ORGANISM and model.is_dir() else None
