"""Run the stages of a plan, each once, in the order that they need each other.

Finished stages lie in ``ROOT/stages`` under their identity and are found there again; a damaged
one is set aside and made again. A stage that another run is at work on is waited for. A stage whose
process died is tried again, twice; one that fails is recorded in ``ROOT/failures``, what needs it
is skipped, and the rest goes on.
"""

import json
import time
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

from holdfast.errors import BusyError, UserError
from holdfast.models.stack import Stack
from holdfast.models.stack import resolve as resolve_model
from holdfast.stages.disk import disk_errors, write_json
from holdfast.stages.folders import PROVENANCE, is_locked, recorded_identity, set_aside, stage_lock
from holdfast.stages.pipeline import Stage, stage_folder
from holdfast.stages.whole import damaged_file

FAILURES = "failures"
_TRIES = 3
_WAIT = 1.0  # seconds between two looks at a stage that another run is at work on


class Watcher(Protocol):
    """Is told what happens to the stages; `holdfast.engine.display` shows it."""

    def begun(self, stage: Stage) -> None:
        """A stage starts."""

    def moved(self, stage: Stage, share: float, note: str) -> None:
        """A stage has done this share of its work."""

    def ended(self, stage: Stage, outcome: str) -> None:
        """A stage is over: done, cached, failed or skipped."""

    def told(self, note: str) -> None:
        """Something that the user should know."""


class Task(NamedTuple):
    """What a worker needs to run a stage.

    Args:
        stage: the stage.
        folder: where its result goes.
        log: the file that takes what it prints.
        model: the model that it starts from.
        reference: the aligned model of an evaluation.
    """

    stage: Stage
    folder: Path
    log: Path
    model: Stack
    reference: Stack | None


class Event(NamedTuple):
    """What a worker reports of a stage.

    Args:
        stage: the stage.
        kind: "moved"; "done"; "busy" (another run is at work on it); "stopped"; "mistake" (a
            sentence for the user); "diverged" (the same, and another try would end there again);
            "disk" (it is full, or may not be written); "failed" (a traceback); "died" (its process
            has ended without a word).
        text: the note, the sentence or the traceback.
        share: of the work that is done, for "moved".
    """

    stage: Stage
    kind: str
    text: str = ""
    share: float = 0.0


class Pool(Protocol):
    """What runs stages: processes here, or jobs of a cluster."""

    @property
    def room(self) -> int:
        """How many more stages it takes now."""
        ...

    def start(self, task: Task) -> None:
        """Begin a stage."""
        ...

    def events(self, timeout: float | None) -> Sequence[Event]:
        """What has happened since; waits for something, at most so many seconds."""
        ...


@dataclass
class Outcome:
    """How a run ended.

    Args:
        folders: the finished stages' folders, by identity.
        failures: what went wrong, by the identity of the stage.
        mistakes: those of them that a user can mend, by the identity of the stage.
        skipped: the stages that needed a failed one.
    """

    folders: dict[str, Path] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    mistakes: dict[str, str] = field(default_factory=dict)
    skipped: list[Stage] = field(default_factory=list)


def log_file(root: Path, stage: Stage) -> Path:
    """Where what a stage prints is kept."""
    return root / "logs" / f"{stage.name}.log"


def missing_stages(
    stages: Iterable[Stage], root: Path, watcher: Watcher
) -> tuple[list[Stage], Outcome]:
    """The stages that are not there yet, and an outcome that holds those that are."""
    outcome, missing = Outcome(), []
    for stage in stages:
        if _is_there(stage, root, watcher):
            outcome.folders[stage.identity] = stage_folder(root, stage)
            watcher.ended(stage, "cached")
        else:
            missing.append(stage)
    return missing, outcome


def schedule(
    missing: Sequence[Stage],
    root: Path,
    watcher: Watcher,
    pool: Pool,
    outcome: Outcome,
    retry_failed: bool = False,
) -> Outcome:
    """Run stages in a pool, parents before children.

    Args:
        missing: the stages to run, as `missing_stages` gives them.
        root: the folder of the run.
        watcher: is told what happens.
        pool: runs them.
        outcome: holds the stages that are there; this adds to it.
        retry_failed: try again what failed in an earlier run.

    Raises:
        UserError: the disk is full, or may not be written.
        KeyboardInterrupt: Ctrl-C; every stage under way has saved a state to go on from.
    """
    _Run(missing, root, watcher, pool, outcome, retry_failed).go()
    return outcome


class _Run:
    def __init__(
        self,
        missing: Sequence[Stage],
        root: Path,
        watcher: Watcher,
        pool: Pool,
        outcome: Outcome,
        retry_failed: bool,
    ):
        self.root, self.watcher, self.pool, self.outcome = root, watcher, pool, outcome
        self.retry_failed = retry_failed
        self.needed: dict[str, int] = {}  # how many unfinished stages a stage waits for
        self.children: dict[str, list[Stage]] = {}
        self.ready: deque[Stage] = deque()
        self.later: list[tuple[float, Stage]] = []  # at work elsewhere: when to look again
        self.told: set[str] = set()
        self.tries: dict[str, int] = {}
        self.running = 0
        waiting = {stage.identity for stage in missing}
        for stage in missing:
            needs = [need for need in stage.needs if need.identity in waiting]
            self.needed[stage.identity] = len(needs)
            for need in needs:
                self.children.setdefault(need.identity, []).append(stage)
            if not needs:
                self.ready.append(stage)

    def go(self) -> None:
        while self.ready or self.later or self.running:
            now = time.monotonic()
            self.ready.extend(stage for at, stage in self.later if at <= now)
            self.later = [(at, stage) for at, stage in self.later if at > now]
            while self.ready and self.pool.room:
                self.start(self.ready.popleft())
            if self.running:
                for event in self.pool.events(_WAIT if self.later else None):
                    self.take(event)
            elif self.later:
                time.sleep(_WAIT)

    def start(self, stage: Stage) -> None:
        if _is_there(stage, self.root, self.watcher):  # another run has made it meanwhile
            self.end(stage, "cached")
            return
        if stage.identity in self.told and is_locked(stage_folder(self.root, stage)):
            self.later.append((time.monotonic() + _WAIT, stage))
            return
        before = None if self.retry_failed else recorded_failure(self.root, stage)
        if before is not None:
            self.fail(stage, before, "failed before")
            return
        folders = self.outcome.folders
        self.pool.start(
            Task(
                stage,
                stage_folder(self.root, stage),
                log_file(self.root, stage),
                *_models(stage, folders),
            )
        )
        self.running += 1
        self.watcher.begun(stage)

    def take(self, event: Event) -> None:
        stage = event.stage
        if event.kind == "moved":
            self.watcher.moved(stage, event.share, event.text)
            return
        self.running -= 1
        if event.kind == "done":
            self.end(stage, "done")
        elif event.kind == "busy":
            if stage.identity not in self.told:
                self.told.add(stage.identity)
                self.watcher.told(f"{stage.name}: another run is at work on it; waiting for that.")
            self.later.append((time.monotonic() + _WAIT, stage))
        elif event.kind == "disk":
            raise UserError(event.text)
        elif event.kind == "died":
            self.tries[stage.identity] = self.tries.get(stage.identity, 0) + 1
            if self.tries[stage.identity] < _TRIES:
                self.watcher.told(f"{stage.name}: {event.text}; it is tried again.")
                self.ready.append(stage)
            else:
                self.fail(stage, f"{event.text}, {_TRIES} times", "failed")
        elif event.kind in ("mistake", "diverged"):
            # A mistake is not recorded: a user who has mended it wants it tried again. Who mends
            # what diverged gives it other settings, and so makes another stage of it.
            if event.kind == "diverged":
                self.record_failure(stage, event.text)
            self.outcome.mistakes[stage.identity] = event.text
            self.fail(stage, event.text, "failed")
        elif event.kind == "failed":
            self.record_failure(stage, event.text)
            self.fail(stage, event.text, "failed")

    def end(self, stage: Stage, how: str) -> None:
        self.outcome.folders[stage.identity] = stage_folder(self.root, stage)
        with suppress(OSError):  # a finished stage counts, whatever is said of an earlier try
            failure_file(self.root, stage).unlink(missing_ok=True)
        self.watcher.ended(stage, how)
        for child in self.children.get(stage.identity, ()):
            self.needed[child.identity] -= 1
            if self.needed[child.identity] == 0:
                self.ready.append(child)

    def fail(self, stage: Stage, error: str, how: str) -> None:
        self.outcome.failures[stage.identity] = error
        self.watcher.ended(stage, how)
        lost = deque(self.children.get(stage.identity, ()))
        skipped = {one.identity for one in self.outcome.skipped}
        while lost:
            child = lost.popleft()
            if child.identity not in skipped:
                skipped.add(child.identity)
                self.outcome.skipped.append(child)
                self.watcher.ended(child, "skipped")
                lost.extend(self.children.get(child.identity, ()))

    def record_failure(self, stage: Stage, error: str) -> None:
        path = failure_file(self.root, stage)
        with disk_errors(path):
            path.parent.mkdir(exist_ok=True)
            write_json(path, {"stage": stage.name, "error": error})


def failure_file(root: Path, stage: Stage) -> Path:
    """Where a stage's failure is recorded."""
    return root / FAILURES / f"{stage.name}.json"


def recorded_failure(root: Path, stage: Stage) -> str | None:
    """The failure of a stage in an earlier run; None where there is none that can be read."""
    try:
        return str(json.loads(failure_file(root, stage).read_text(encoding="utf-8"))["error"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _is_there(stage: Stage, root: Path, watcher: Watcher) -> bool:
    """Whether a stage's result is there and whole; a damaged one is set aside."""
    folder = stage_folder(root, stage)
    damaged = _damage(folder, stage)
    if not damaged:
        return damaged is not None
    try:
        with disk_errors(folder), stage_lock(folder):
            # Another run may have set it aside and made it again since.
            damaged = _damage(folder, stage)
            if not damaged:
                return damaged is not None
            aside = set_aside(folder)
    except BusyError:
        return False
    watcher.told(
        f"{folder.name}: its file {damaged} is damaged or gone; it lies in {aside.name} now, and "
        "the stage is run again."
    )
    return False


def _damage(folder: Path, stage: Stage) -> str | None:
    """A file of a stage's folder that is not whole; "" where all are, None where nothing is."""
    if recorded_identity(folder) == stage.identity:
        return damaged_file(folder) or ""
    try:
        return PROVENANCE if any(folder.iterdir()) else None
    except FileNotFoundError:
        return None


def _models(stage: Stage, folders: dict[str, Path]) -> tuple[Stack, Stack | None]:
    """The stacks that a stage starts from and is compared with."""
    parent, reference = stage.parent, stage.reference
    model = resolve_model(folders[parent.identity] if parent else stage.settings["model"])
    if reference is not None:
        return model, resolve_model(folders[reference.identity])
    named = stage.settings.get("reference")
    return model, resolve_model(named) if named else None
