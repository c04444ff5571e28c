"""``holdfast cancel``: stop the process that runs a study, and the jobs of its stages."""

import shutil
import socket
import time
from contextlib import suppress
from pathlib import Path

import psutil
from rich.console import Console

from holdfast.engine.record import read_record
from holdfast.engine.run import who_runs
from holdfast.errors import UserError

_END = 30.0  # seconds that a run has to save its stages


def cancel_run(root: Path, console: Console) -> None:
    """Stop the process that runs a study, which saves its work, and the jobs of its stages.

    Raises:
        UserError: the folder is no run's; nobody runs it, or somebody on another machine, or
            another user.
    """
    read_record(root)
    run = who_runs(root)
    if run is None:
        ended = _cancel_jobs(root)
        if not ended:
            raise UserError(f"nobody is at work on {root}: there is nothing to cancel.")
        console.print(f"{ended} jobs of the cluster are ended.")
        return
    if run["host"] != socket.gethostname():
        raise UserError(f"{root} is run on {run['host']}: cancel it there.")
    with suppress(psutil.NoSuchProcess):  # it has ended meanwhile
        _stop(psutil.Process(run["pid"]), root, console)
    _cancel_jobs(root)
    console.print("stopped; the same `holdfast run` goes on from here.")


def _stop(process: psutil.Process, root: Path, console: Console) -> None:
    try:
        # Not Ctrl-C's signal: a run that a shell started in the background or by nohup ignores it.
        process.terminate()
    except psutil.AccessDenied:
        raise UserError(
            f"process {process.pid}, which runs {root}, is another user's: have them cancel it."
        ) from None
    console.print("asked it to stop; its stages save their state …")
    until = time.monotonic() + _END
    while not _has_ended(process):
        if time.monotonic() > until:
            raise UserError(
                f"process {process.pid} has not ended in {_END:.0f} s; it may still be saving."
            )
        time.sleep(0.1)


def _has_ended(process: psutil.Process) -> bool:
    """Whether a process has ended, also where the one that started it has not asked how it did."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def _cancel_jobs(root: Path) -> int:
    """End the jobs of the run that a cluster still has; gives how many."""
    from holdfast.engine.slurm import cancel_jobs, queued_jobs

    if shutil.which("squeue") is None:
        return 0
    # submitit names a job's files by its number.
    ours = {path.name.split("_submitted")[0] for path in _submitted(root)}
    numbers = {job for job in queued_jobs() or () if job in ours or job.split("_")[0] in ours}
    cancel_jobs(sorted(numbers))
    return len(numbers)


def _submitted(root: Path) -> list[Path]:
    return list((root / "logs" / "slurm").glob("*_submitted.pkl"))
