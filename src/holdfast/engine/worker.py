"""What a process does with a stage, on this machine or in a job of a cluster."""

import contextlib
import gc
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path

from holdfast.engine.schedule import Event, Task
from holdfast.errors import BusyError, DiskError, DivergedError, Stopped, UserError
from holdfast.streams import speak_utf8

Progress = Callable[[float, str], None]


def run_task(task: Task, progress: Progress, stopping: Callable[[], bool]) -> Event:
    """Run a stage and say how it ended; what it prints goes to its log."""
    from holdfast.stages.execute import execute

    stage = task.stage
    with printing_to(task.log):
        try:
            execute(stage, task.folder, task.model, task.reference, progress, stopping)
        except Stopped:
            return Event(stage, "stopped")
        except BusyError:
            return Event(stage, "busy")
        except DiskError as error:
            return Event(stage, "disk", str(error))
        except UserError as error:
            _log(f"{error}\n")
            kind = "diverged" if isinstance(error, DivergedError) else "mistake"
            return Event(stage, kind, str(error))
        except Exception:
            _log(traceback.format_exc())
            return Event(stage, "failed", traceback.format_exc())
        return Event(stage, "done")


def _log(text: str) -> None:
    with contextlib.suppress(OSError):  # a log that takes no more must not end the process
        sys.stderr.write(text)


@contextmanager
def printing_to(log: Path) -> Iterator[None]:
    """Send what this process and its libraries print to a file for a while, added at its end."""
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        file = log.open("ab", buffering=0)
    except OSError:
        yield  # a full or read-only disk is told by the stage itself
        return
    with file:
        with contextlib.suppress(OSError):
            file.write(f"--- {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC\n".encode())
        sys.stdout.flush()
        sys.stderr.flush()
        kept = [os.dup(number) for number in (1, 2)]
        try:
            for number in (1, 2):
                os.dup2(file.fileno(), number)
            yield
        finally:
            for stream in (sys.stdout, sys.stderr):
                with contextlib.suppress(OSError):
                    stream.flush()
            for number, before in zip((1, 2), kept, strict=True):
                os.dup2(before, number)
                os.close(before)


def serve(
    connection: Connection, stop: Connection, gpus: str | None = None, workers: int = 1
) -> None:
    """A worker's life: run stage after stage until told to end, or until its parent is gone.

    Args:
        connection: stages come from there, and what becomes of them goes there.
        stop: a pipe that nothing is written to; at its end the stage under way is to stop.
        gpus: CUDA_VISIBLE_DEVICES of this process, where it is not to have all.
        workers: how many there are beside one another, itself among them: each computes on its
            share of the processor's cores, unless OMP_NUM_THREADS says on how many.
    """
    if gpus is not None:  # before anything asks CUDA for its devices
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    speak_utf8()
    import torch

    import holdfast.stages.execute  # noqa: F401  (before the freeze)

    if workers > 1 and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, torch.get_num_threads() // workers))

    gc.collect()
    gc.freeze()  # what the imports made stays: each collection after a stage would look through it
    with contextlib.suppress(EOFError, OSError):
        while (task := connection.recv()) is not None:
            stage = task.stage

            def progress(share: float, note: str, stage: object = stage) -> None:
                connection.send(("moved", note, share))

            event = run_task(task, progress, stop.poll)
            connection.send((event.kind, event.text, event.share))
