"""Stages in processes of this machine."""

import contextlib
import multiprocessing
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from typing import Any

from holdfast.engine.gpus import shared_out
from holdfast.engine.schedule import Event, Task
from holdfast.engine.worker import serve
from holdfast.models.accelerator import visible_gpus
from holdfast.stages.pipeline import Stage


@contextmanager
def local_pool(size: int) -> Iterator["LocalPool"]:
    """Processes that run one stage each at a time; at the end they save what is under way.

    The GPUs of this machine are shared out among them.

    Args:
        size: how many.
    """
    # Workers that are forked from a server with everything imported share that memory and start at
    # once. Elsewhere than on Linux, forking after imports of system libraries is not safe.
    method = "forkserver" if sys.platform == "linux" else "spawn"
    context = multiprocessing.get_context(method)
    if method == "forkserver":
        context.set_forkserver_preload(["holdfast.engine.preload"])
    pool = LocalPool(context, shared_out(visible_gpus(), size))
    try:
        yield pool
    finally:
        pool.close()


class LocalPool:
    """A pool of processes; see `holdfast.engine.schedule.Pool`."""

    def __init__(self, context: Any, gpus: Sequence[str | None]):
        self._context = context
        # The end of this pipe tells the processes to stop, also where this one was killed. Of an
        # event they would find nothing but an error where Ctrl-C came while they were starting.
        self._stop, self._told = context.Pipe(duplex=False)
        self._workers = len(gpus)
        self._idle = [_Worker(context, self._stop, own, self._workers) for own in gpus]
        self._busy: dict[Connection, tuple[_Worker, Stage]] = {}

    @property
    def room(self) -> int:
        """How many processes have nothing to do."""
        return len(self._idle)

    def start(self, task: Task) -> None:
        """Give a stage to a process."""
        worker = self._idle.pop(0)
        self._busy[worker.connection] = (worker, task.stage)
        with contextlib.suppress(OSError):  # it has died: the next look at it tells
            worker.connection.send(task)

    def events(self, timeout: float | None) -> list[Event]:
        """What the processes report; waits for the first report."""
        found = []
        for connection in wait(list(self._busy), timeout):
            worker, stage = self._busy[connection]  # pyright: ignore[reportArgumentType]
            try:
                kind, text, share = worker.connection.recv()
            except (EOFError, OSError):
                found.append(Event(stage, "died", self._replace(worker)))
                continue
            if kind != "moved":
                del self._busy[worker.connection]
                self._idle.append(worker)
            found.append(Event(stage, kind, text, share))
        return found

    def _replace(self, worker: "_Worker") -> str:
        """Put a new process in the place of one that has died; says how that ended."""
        worker.process.join(10)
        del self._busy[worker.connection]
        self._idle.append(_Worker(self._context, self._stop, worker.gpus, self._workers))
        return f"its process ended unexpectedly (exit code {worker.process.exitcode})"

    def close(self) -> None:
        """Ask stages under way to save their state, and wait for the processes to end."""
        self._told.close()
        for worker in [*self._idle, *(worker for worker, _ in self._busy.values())]:
            worker.close()


class _Worker:
    def __init__(self, context: Any, stop: Any, gpus: str | None, workers: int):
        self.connection, theirs = context.Pipe()
        self.gpus = gpus
        own = (theirs, stop, gpus, workers)
        self.process = context.Process(target=serve, args=own, daemon=True)
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
