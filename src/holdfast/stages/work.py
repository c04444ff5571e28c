"""A stage under way: what it works on, where it writes, whom it tells."""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from holdfast.data.keys import fingerprint
from holdfast.errors import Stopped, UserError
from holdfast.models.stack import Stack
from holdfast.models.system_prompt import SystemPrompt, read_system_prompt
from holdfast.stages.disk import write_json
from holdfast.stages.evaluation.settings import measured_by
from holdfast.stages.folders import PROGRESS
from holdfast.stages.making import given_identity
from holdfast.stages.pipeline import Stage
from holdfast.stages.rows import stage_rows
from holdfast.stages.screening.kept import kept_rows
from holdfast.stages.seen import check_against, overlaps_of
from holdfast.stages.time_left import TimeLeft
from holdfast.stages.whole import check_whole

# Seconds between two lines for `holdfast status`.
_TOLD_EVERY = 2.0

_FILES = ("data", "harmful_data", "alignment_data", "probe_data", "benign_data", "task_data")

# Called with the share done (0…1) and a word on where the stage stands.
Progress = Callable[[float, str], None]


class Work:
    """One stage under way: what it is, where it writes, whom it tells.

    A stage that trains in several processes is one in each of them as well, which shares the work
    with the others; see `holdfast.stages.launched`.
    """

    alone = True  # not one of several processes
    is_main = True  # the one of them that writes
    peak_memory = 0  # bytes, of the largest of other processes

    def __init__(
        self,
        stage: Stage,
        folder: Path,
        model: Stack,
        reference: Stack | None,
        progress: Progress,
        stopping: Callable[[], bool],
    ):
        self.kind, self.settings = stage.kind, stage.settings
        self.folder, self.model, self.reference = folder, model, reference
        self.model_identity = _identity(stage.parent, stage.settings["model"], model)
        self.reference_identity = _identity(
            stage.reference, stage.settings.get("reference"), reference
        )
        # What questions to the model go with; a training may leave one that asks for another.
        self.system = _system(stage.settings, model)
        self.leaves = self.system
        self.stopping, self._progress = stopping, progress
        self._told = time.monotonic()
        self._left = TimeLeft()
        self.rows = stage_rows(stage.kind, stage.settings, model.is_organism)
        self.data: dict[str, dict[str, Any]] = {
            role: {"rows": len(rows), "fingerprint": fingerprint(rows)}
            for role, rows in self.rows.items()
        }
        _check_unchanged(
            stage, {"model": self.model_identity, "reference": self.reference_identity}
        )
        _check_unchanged(stage, {role: own["fingerprint"] for role, own in self.data.items()})
        if stage.kind == "evaluate" and stage.inputs:
            _check_unchanged(stage, measured_by(stage.settings, given_identity))
        if stage.screened is not None:
            self.rows["train"] = kept_rows(folder.parent, stage.screened, self.rows["train"])
            self.data["train"]["kept by the screen"] = len(self.rows["train"])
        if self.kind == "screen":  # which trains nothing; its fine-tuning is checked
            self.seen, self.overlaps = {}, []
            return
        self.seen, shared = check_against(self.kind, self.settings, self.rows, model)
        lineage = [(one.kind, one.settings) for one in stage.lineage()]
        self.overlaps = [*shared, *overlaps_of(lineage, model.is_organism)]

    def progress(self, share: float, note: str) -> None:
        """Tell the progress; a stage that has no checkpoints stops here if it is to stop."""
        if left := self._left.at(share):
            note = f"{note}, {left}"
        self._progress(share, note)
        if time.monotonic() - self._told >= _TOLD_EVERY:
            self._told = time.monotonic()
            write_json(self.folder / PROGRESS, {"share": share, "note": note})
        if self.kind in ("screen", "repair", "evaluate") and self.stopping():
            raise Stopped

    def agreed(self, *wishes: bool) -> Sequence[bool]:
        """Which of the wishes any of the processes has: all must go the same way."""
        return wishes


def _identity(made: Stage | None, named: str | None, model: Stack | None) -> str | None:
    """The identity of a model that a stage starts from or is compared with, which is whole."""
    if made is not None:
        if model is not None:
            check_whole(Path(model.source))
        return made.identity
    return given_identity(named) if named else None


def _system(settings: Mapping[str, Any], model: Stack) -> SystemPrompt | None:
    """The system prompt that an evaluation sets, else the one that the model carries."""
    if settings.get("system_prompt") is not None and "protocol" in settings:
        return SystemPrompt(settings["system_prompt"]) if settings["system_prompt"] else None
    return read_system_prompt(model)


def _check_unchanged(stage: Stage, found: Mapping[str, str | None]) -> None:
    """Compare what is read now with what the stage's identity says of it.

    Raises:
        UserError: a file was changed after the run had read it for its plan.
    """
    for role, mark in found.items():
        if stage.inputs.get(role, mark) != mark:
            named = [str(stage.settings[key]) for key in _FILES if stage.settings.get(key)]
            of = f" ({', '.join(named)})" if named and role not in ("model", "reference") else ""
            raise UserError(
                f"what {stage.name} reads as its {role}{of} was changed since the run began: run "
                "the same command again, which takes it as it is now."
            )
