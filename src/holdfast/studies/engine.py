"""Run the stages of a plan, each once, in the order that they need each other.

Finished stages lie in ``ROOT/stages`` under their identity and are found there again. With several
workers, stages that do not need each other run side by side, each in a process of its own.
"""

import gc
import multiprocessing
import signal
import sys
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from holdfast.errors import Stopped, UserError
from holdfast.models.stack import resolve as resolve_model
from holdfast.studies.folders import is_finished
from holdfast.studies.plan import Stage

if TYPE_CHECKING:
    from multiprocessing.synchronize import Event


class Watcher(Protocol):
    """Is told what happens to the stages; `holdfast.studies.display` shows it."""

    def begun(self, stage: Stage) -> None:
        """A stage starts."""

    def moved(self, stage: Stage, share: float, note: str) -> None:
        """A stage has done this share of its work."""

    def ended(self, stage: Stage, outcome: str) -> None:
        """A stage is over: done, cached, failed or skipped."""


@dataclass
class Outcome:
    """How a run ended.

    Args:
        folders: the finished stages' folders, by identity.
        failures: what went wrong, by the identity of the stage.
        skipped: the stages that needed a failed one.
    """

    folders: dict[str, Path] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    skipped: list[Stage] = field(default_factory=list)


def stage_folder(root: Path, stage: Stage) -> Path:
    """Where a stage's result lies."""
    return root / "stages" / stage.name


def run_stages(stages: Iterable[Stage], root: Path, watcher: Watcher, workers: int = 1) -> Outcome:
    """Run what is missing of the stages.

    Args:
        stages: the stages, parents before children.
        root: the folder of the run.
        watcher: is told what happens.
        workers: how many stages run side by side.

    Raises:
        UserError: what is wrong with the user's request, from the first stage that finds it.
        KeyboardInterrupt: Ctrl-C; every stage under way has saved a state to go on from.
    """
    outcome = Outcome()
    waiting = []
    for stage in stages:
        folder = stage_folder(root, stage)
        if is_finished(folder, stage.identity):
            outcome.folders[stage.identity] = folder
            watcher.ended(stage, "cached")
        else:
            waiting.append(stage)
    if waiting:
        workers = min(workers, len(waiting))
        with _pool(workers) as pool:
            _schedule(waiting, root, watcher, pool, outcome)
    return outcome


def _schedule(
    waiting: list[Stage], root: Path, watcher: Watcher, pool: "_Pool", outcome: Outcome
) -> None:
    while waiting or pool.busy:
        for stage in list(waiting):
            needs = [s for s in (stage.parent, stage.reference) if s is not None]
            if any(_is_lost(need, outcome) for need in needs):
                waiting.remove(stage)
                outcome.skipped.append(stage)
                watcher.ended(stage, "skipped")
            elif pool.idle and all(need.identity in outcome.folders for need in needs):
                waiting.remove(stage)
                pool.start(stage, root, outcome.folders)
                watcher.begun(stage)
        for stage, event, *rest in pool.events():
            if event == "moved":
                watcher.moved(stage, *rest)
            elif event == "done":
                outcome.folders[stage.identity] = stage_folder(root, stage)
                watcher.ended(stage, "done")
            elif event == "mistake":
                raise UserError(rest[0])
            elif event == "failed":
                outcome.failures[stage.identity] = rest[0]
                watcher.ended(stage, "failed")


def _is_lost(stage: Stage, outcome: Outcome) -> bool:
    skipped = {other.identity for other in outcome.skipped}
    return stage.identity in outcome.failures.keys() | skipped


def _models(stage: Stage, folders: dict[str, Path]) -> tuple[Any, Any]:
    """The stacks that a stage starts from and is compared with."""
    parent, reference = stage.parent, stage.reference
    model = resolve_model(folders[parent.identity] if parent else stage.settings["model"])
    if reference is not None:
        return model, resolve_model(folders[reference.identity])
    named = stage.settings.get("reference")
    return model, resolve_model(named) if named else None


class _Pool:
    """Worker processes, each with one stage at a time."""

    def __init__(self, context: Any, size: int):
        self.stop: Event = context.Event()
        self.idle: list[_Worker] = [_Worker(context, self.stop) for _ in range(size)]
        self.busy: dict[Connection, tuple[_Worker, Stage]] = {}

    def start(self, stage: Stage, root: Path, folders: dict[str, Path]) -> None:
        """Give a stage to an idle worker."""
        worker = self.idle.pop(0)
        worker.connection.send((stage, stage_folder(root, stage), *_models(stage, folders)))
        self.busy[worker.connection] = (worker, stage)

    def events(self) -> Iterator[tuple[Any, ...]]:
        """What the busy workers report next; waits for it."""
        for connection in wait(list(self.busy)):
            worker, stage = self.busy[connection]  # pyright: ignore[reportArgumentType]
            try:
                event = worker.connection.recv()
            except EOFError:
                worker.process.join(10)
                del self.busy[worker.connection]
                code = worker.process.exitcode
                yield stage, "failed", f"its process ended unexpectedly (exit code {code})"
                if not self.idle and not self.busy:
                    raise RuntimeError("every worker process has ended") from None
                continue
            if event[0] != "moved":
                del self.busy[worker.connection]
                self.idle.append(worker)
            yield stage, *event

    def close(self) -> None:
        """Ask stages under way to save their state, and wait for the workers to end."""
        self.stop.set()
        for worker in [*self.idle, *(worker for worker, _ in self.busy.values())]:
            worker.close()


class _Worker:
    def __init__(self, context: Any, stop: "Event"):
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs, stop), daemon=True)
        self.process.start()
        theirs.close()

    def close(self) -> None:
        try:
            self.connection.send(None)
            while self.process.is_alive():  # drain, so that a last report does not block it
                if self.connection.poll(0.1):
                    self.connection.recv()
        except (OSError, EOFError):
            pass
        self.process.join()


@contextmanager
def _pool(size: int) -> Iterator[_Pool]:
    # Workers that are forked from a server with everything imported share that memory and start at
    # once. Elsewhere than on Linux, forking after imports of system libraries is not safe.
    method = "forkserver" if sys.platform == "linux" else "spawn"
    context = multiprocessing.get_context(method)
    if method == "forkserver":
        context.set_forkserver_preload(["holdfast.studies.preload"])
    pool = _Pool(context, size)
    try:
        yield pool
    finally:
        pool.close()


def _work(connection: Connection, stop: "Event") -> None:
    """A worker's life: run stage after stage until told to end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides; it sets `stop`
    from holdfast.studies.execute import execute

    gc.collect()
    gc.freeze()  # what the imports made stays: each collection after a stage would look through it
    while (task := connection.recv()) is not None:
        stage, folder, model, reference = task
        try:
            execute(
                stage,
                folder,
                model,
                reference,
                progress=lambda share, note: connection.send(("moved", share, note)),
                stopping=stop.is_set,
            )
            connection.send(("done",))
        except Stopped:
            connection.send(("stopped",))
        except UserError as error:
            connection.send(("mistake", str(error)))
        except Exception:
            connection.send(("failed", traceback.format_exc()))
