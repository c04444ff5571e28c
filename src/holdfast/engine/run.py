"""Start a run: what is there already, who runs the rest, and a note of it for other commands."""

import json
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import psutil

from holdfast.engine.gpus import machine_notes
from holdfast.engine.schedule import Outcome, Watcher, missing_stages, schedule
from holdfast.engine.slurm import SlurmSettings
from holdfast.stages.disk import disk_errors, write_json
from holdfast.stages.pipeline import Stage

RUN = "run.json"


@dataclass(frozen=True)
class Launch:
    """Who runs the stages.

    Args:
        workers: processes of this machine; chosen by the models if not given.
        launcher: local, or slurm for jobs of a cluster.
        slurm: what a job asks of the cluster.
        retry_failed: try again what failed in an earlier run.
    """

    workers: int | None = None
    launcher: Literal["local", "slurm"] = "local"
    slurm: SlurmSettings = field(default_factory=SlurmSettings)
    retry_failed: bool = False


def run_stages(
    stages: Sequence[Stage], root: Path, watcher: Watcher, launch: Launch | None = None
) -> Outcome:
    """Run what is missing of the stages, in the folder ``root``.

    Raises:
        UserError: the disk is full, or the launcher is not there.
        KeyboardInterrupt: Ctrl-C; every stage under way has saved a state to go on from.
    """
    launch = launch or Launch()
    missing, outcome = missing_stages(stages, root, watcher)
    if missing:
        # Noted first: processes take a while to start, and can be cancelled meanwhile.
        with _noted(root, launch), _pool(missing, root, launch, watcher) as pool:
            schedule(missing, root, watcher, pool, outcome, launch.retry_failed)
    return outcome


@contextmanager
def _pool(missing: Sequence[Stage], root: Path, launch: Launch, watcher: Watcher) -> Iterator[Any]:
    organism = all(stage.stack.is_organism for stage in missing)
    processes = max(stage.settings.get("processes", 1) for stage in missing)
    if launch.launcher == "slurm":
        from holdfast.engine.slurm import slurm_pool

        with slurm_pool(root, launch.slurm, gpus=0 if organism else processes) as pool:
            yield pool
        return
    from holdfast.engine.pool import local_pool

    workers = launch.workers
    if workers is None:
        # The organism computes on the processor, one thread a stage; more than four processes would
        # gain little and take memory. Other models have the machine to themselves.
        workers = max(1, min(_cores(), 4) // processes) if organism else 1
    workers = min(workers, len(missing))
    for note in machine_notes(missing, workers):
        watcher.told(note)
    with local_pool(workers) as pool:
        yield pool


@contextmanager
def _noted(root: Path, launch: Launch) -> Iterator[None]:
    """Keep run.json while the run lasts: who to stop."""
    path = root / RUN
    root.mkdir(parents=True, exist_ok=True)
    note = {
        "pid": os.getpid(),
        "began": began(os.getpid()),
        "host": socket.gethostname(),
        "launcher": launch.launcher,
    }
    with disk_errors(path):
        write_json(path, note)
    try:
        yield
    finally:
        with suppress(OSError, ValueError):
            if json.loads(path.read_text(encoding="utf-8")) == note:  # not that of another run
                path.unlink()


def began(pid: int) -> float:
    """When a process began, on a clock that nobody sets: tells it from another of its number.

    Raises:
        psutil.Error: there is no such process.
    """
    process = psutil.Process(pid)
    with suppress(OSError, ValueError, IndexError):
        # Ticks since the machine's start. psutil adds when that was, which moves with the clock.
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        return float(stat.rpartition(")")[2].split()[19])
    return process.create_time()


def _cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def who_runs(root: Path) -> dict[str, Any] | None:
    """Who runs the study now; None for nobody, as far as this machine can tell."""
    try:
        run = json.loads((root / RUN).read_text(encoding="utf-8"))
        run = {key: run[key] for key in ("pid", "began", "host", "launcher")}
        if run["host"] != socket.gethostname():
            return run
        # A process of the same number that began at another time is another one.
        return run if began(run["pid"]) == run["began"] else None
    except (OSError, ValueError, KeyError, TypeError, psutil.Error):
        return None
