"""Run one stage, whatever its kind, and write its folder, complete or not at all."""

import contextlib
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from holdfast.errors import DivergedError, Stopped, UserError
from holdfast.models.stack import Stack
from holdfast.models.system_prompt import in_folder
from holdfast.stages.checkpoints import last_checkpoint
from holdfast.stages.disk import disk_errors, write_config, write_json, write_text
from holdfast.stages.folders import (
    CHECKPOINTS,
    ELAPSED,
    PROGRESS,
    PROVENANCE,
    begin,
    discard,
    finish,
    holds_results,
    stage_lock,
    working_folder,
)
from holdfast.stages.machine import (
    one_thread,
    peak_memory,
    quiet_libraries,
    reset_peak_memory,
    versions,
)
from holdfast.stages.memory import stage_memory
from holdfast.stages.methods import method_of
from holdfast.stages.pipeline import Stage
from holdfast.stages.seen import write_seen
from holdfast.stages.train import run_training
from holdfast.stages.whole import is_complete, is_finished, written_files
from holdfast.stages.work import Progress, Work


def execute(
    stage: Stage,
    folder: Path,
    model: Stack,
    reference: Stack | None = None,
    progress: Progress = lambda share, note: None,
    stopping: Callable[[], bool] = lambda: False,
) -> Path:
    """Run ``stage`` into ``folder``, or find it there already.

    Args:
        stage: what to run.
        folder: where its result goes, complete or not at all.
        model: the model that it starts from.
        reference: the aligned model of an evaluation.
        progress: told now and then how far the stage is.
        stopping: asked after every training step; True saves a checkpoint and stops.

    Raises:
        UserError: whatever is wrong with what the user asked for, or of the disk.
        BusyError: another process runs the same stage.
        Stopped: ``stopping`` said so; run the same stage again to go on.
    """
    with disk_errors(folder), stage_lock(folder):
        if is_finished(folder, stage.identity):
            return folder
        if is_complete(partial := working_folder(folder), stage.identity):
            finish(partial, folder)
        else:
            _execute(stage, folder, model, reference, progress, stopping)
    return folder


def _execute(
    stage: Stage,
    folder: Path,
    model: Stack,
    reference: Stack | None,
    progress: Progress,
    stopping: Callable[[], bool],
) -> None:
    quiet_libraries()
    _check_version(stage)
    started, clock = datetime.now(UTC), time.perf_counter()
    reset_peak_memory()
    with one_thread(model.is_organism):
        partial = begin(folder, stage.identity)
        with _nothing_half_written(partial), _timed(partial, clock) as seconds_before:
            work = Work(stage, partial, model, reference, progress, stopping)
            with stage_memory(stage.kind, stage.settings, model.is_organism):
                budget = _run(work)
        sources = {"model": model.source}
        if reference is not None:
            sources["reference"] = reference.source
        if stage.kind not in ("screen", "evaluate"):
            write_seen(partial, work.seen)
        # What the model must be asked with, and was asked with in an evaluation.
        asked = work.system if stage.kind == "evaluate" else in_folder(partial)
        write_config(partial, {**stage.settings, **sources}, **_about(stage, model))
        write_json(
            partial / PROVENANCE,
            {
                "identity": stage.identity,
                "kind": stage.kind,
                "parent": stage.parent.identity if stage.parent else None,
                "model": work.model_identity,
                "base": model.base,
                "base_revision": model.revision,
                "started": started.isoformat(timespec="seconds"),
                "seconds": round(seconds_before + time.perf_counter() - clock, 3),
                "peak_memory_bytes": max(peak_memory(), work.peak_memory),
                "seed": stage.settings["seed"],
                **({"method_version": stage.version} if stage.version else {}),
                **({"template": dict(stage.template)} if stage.template else {}),
                **({"system_prompt": asked.record()} if asked else {}),
                "data": work.data,
                "overlaps": [overlap.record() for overlap in work.overlaps],
                "budget": budget,
                "versions": versions(),
                **written_files(partial),
            },
        )
        finish(partial, folder)


def _check_version(stage: Stage) -> None:
    """A run whose method's code was edited meanwhile must not take the new one's result for it."""
    if stage.version:
        now = method_of(stage.kind, stage.settings["method"]).version
        if now != stage.version:
            raise UserError(
                f"the code of {stage.settings['method']} has changed since the run began: run the "
                "same command again."
            )


def _run(work: Work) -> dict[str, Any]:
    """Do the work of the stage; gives its budget."""
    # Imported here, for a training needs none of what the others import.
    if work.kind == "repair":
        from holdfast.stages.repair import run_repair

        return run_repair(work)
    if work.kind == "screen":
        from holdfast.stages.screening.run import run_screen

        return run_screen(work)
    if work.kind == "evaluate":
        from holdfast.stages.evaluation.run import run_evaluation

        return run_evaluation(work)
    return run_training(work)


@contextmanager
def stop_on_interrupt() -> Iterator[Callable[[], bool]]:
    """The first Ctrl-C asks for a stop after the step under way, a second one stops at once."""
    asked = False

    def ask(_signal: int, _frame: Any) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield lambda: asked
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _nothing_half_written(partial: Path) -> Iterator[None]:
    """After an error only a state to go on from stays."""
    try:
        yield
    except Exception as error:
        kept = last_checkpoint(partial / CHECKPOINTS) or holds_results(partial)
        lost = isinstance(error, DivergedError) or not kept
        if lost:
            discard(partial)
        (partial / PROGRESS).unlink(missing_ok=True)
        raise


@contextmanager
def _timed(partial: Path, clock: float) -> Iterator[float]:
    """Gives the seconds of the interrupted runs that this one goes on from, and keeps its own."""
    file = partial / ELAPSED
    before = 0.0
    with contextlib.suppress(OSError, ValueError):  # not there, or damaged
        before = float(file.read_text(encoding="utf-8"))
    try:
        yield before
    except Stopped:
        if partial.exists():
            write_text(file, str(before + time.perf_counter() - clock))
        raise


def _about(stage: Stage, model: Stack) -> dict[str, Any]:
    return {"stage": stage.kind, **model.about()}
