"""Stages as jobs of a Slurm cluster, through submitit.

Stages that can start at the same time go into one job array. The process that started the run asks
``squeue`` how they are (``sacct`` needs an accounting database, which not every cluster has) and
starts what has become possible. Ctrl-C and `holdfast cancel` end the jobs too; where that process
is killed, they go on, and a new run waits for them. A submission that Slurm refuses or does not
answer in time is made again after growing pauses, and running jobs go on meanwhile. A job that is
preempted or out of time asks Slurm to be queued again, and goes on from its last checkpoint.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from holdfast.engine.schedule import Event, Task
from holdfast.engine.worker import run_task
from holdfast.errors import UserError
from holdfast.settings import check, fields_of
from holdfast.stages.folders import PARTIAL, PROGRESS
from holdfast.stages.methods import import_from

_POLL = 2.0  # seconds between two questions to Slurm
# A job that Slurm does not know any more may have its result on a slow file system still.
_GRACE = 15.0
# Seconds before a submission that failed is made again: the first pause, twice as much after each
# further failure, at most. With no job at work it is given up after so many.
_FIRST_PAUSE, _LONGEST_PAUSE, _SUBMISSIONS = 5.0, 300.0, 6
# What no later submission mends, in Slurm's words.
_FOR_GOOD = re.compile(
    r"\binvalid\b|not permitted|access/permission denied|not available|can ?not be satisfied|"
    r"unrecognized option|unable to open file",
    re.IGNORECASE,
)
_ANSWER = 120  # seconds in which squeue and scancel answer, or count as not answering


@dataclass
class SlurmSettings:
    """What a stage's job asks of the cluster: `slurm:` in a study file, `slurm.KEY=VALUE` words.

    Args:
        partition: the partition; the cluster's own choice if not given.
        time: the longest time of a job, in minutes; a stage that needs more is queued again.
        gpus: GPUs of a job; if not given, one, or as many as a stage has processes, and none for
            the organism.
        cpus: cores of a job.
        memory: memory of a job, such as 64G; the cluster's own choice if not given.
        account: the account that pays.
        qos: the quality of service.
        constraint: features that a node must have.
        max_jobs: jobs at the same time.
        setup: lines of shell before each job, such as module load.
    """

    partition: str | None = None
    time: int = field(default=240, metadata={"range": "[1, inf)"})
    gpus: int | None = field(default=None, metadata={"range": "[0, inf)"})
    cpus: int = field(default=4, metadata={"range": "[1, inf)"})
    memory: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    max_jobs: int = field(default=100, metadata={"range": "[1, inf)"})
    setup: list[str] = field(default_factory=list)


def slurm_settings(given: Mapping[str, Any], where: str) -> SlurmSettings:
    """The settings as read, checked.

    Raises:
        UserError: an unknown setting, or a value of the wrong type or below 1.
    """
    checked = check(given, fields_of(f"{__name__}:SlurmSettings"), where, "slurm.")
    return SlurmSettings(**checked)


def check_cluster() -> None:
    """Check that jobs can be submitted from here.

    Raises:
        UserError: submitit or Slurm is not there.
    """
    if find_spec("submitit") is None:
        raise UserError("the launcher slurm needs submitit: run `pip install 'holdfast[slurm]'`.")
    for program in ("sbatch", "squeue", "scancel"):
        if shutil.which(program) is None:
            raise UserError(
                f"the launcher slurm needs the command {program}, which is not here: run on a "
                "login node of the cluster, or without --launcher slurm."
            )


class StageJob:
    """What a job does with its task; submitit calls `checkpoint` when Slurm is about to end it."""

    def __init__(self):
        self.paths = [path or os.getcwd() for path in sys.path]  # for a user's own method

    def __call__(self, task: Task) -> tuple[str, str]:
        """Run the stage; gives the kind of event and its text."""
        import_from(self.paths)
        event = run_task(task, lambda share, note: None, lambda: False)
        return event.kind, event.text

    def checkpoint(self, task: Task) -> Any:
        """Be queued again: the stage goes on from its last checkpoint."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, task)


@contextmanager
def slurm_pool(root: Path, settings: SlurmSettings, gpus: int) -> Iterator["SlurmPool"]:
    """A pool of jobs; on the way out by an error or Ctrl-C the jobs are cancelled.

    Args:
        root: the folder of the run, which every node must see under the same path.
        settings: what a job asks for.
        gpus: GPUs of a job where the settings do not say.

    Raises:
        UserError: submitit or Slurm is not there.
    """
    pool = SlurmPool(root, settings, gpus)
    try:
        yield pool
    finally:
        pool.close()


class SlurmPool:
    """A pool of Slurm jobs; see `holdfast.engine.schedule.Pool`."""

    def __init__(self, root: Path, settings: SlurmSettings, gpus: int):
        check_cluster()
        import submitit

        self._executor = submitit.SlurmExecutor(folder=(root / "logs" / "slurm").absolute())
        self._executor.update_parameters(**_parameters(settings, gpus))
        self._jobs: dict[str, tuple[Any, Task]] = {}
        self._waiting: list[Task] = []
        self._notes: dict[str, str] = {}
        self._gone: dict[str, float] = {}
        self._root, self._max_jobs = root, settings.max_jobs
        self._refused, self._next_try = 0, 0.0

    @property
    def room(self) -> int:
        """How many more stages it takes."""
        return self._max_jobs - len(self._jobs) - len(self._waiting)

    def start(self, task: Task) -> None:
        """Take a stage; it is submitted with those that come with it."""
        self._waiting.append(task)

    def events(self, timeout: float | None) -> list[Event]:
        """What Slurm and the jobs' files say; waits for something to happen."""
        until = None if timeout is None else time.monotonic() + timeout
        while True:
            found = [*self._submit(), *self._look()]
            if found or (until is not None and time.monotonic() >= until):
                return found
            time.sleep(_POLL)

    def close(self) -> None:
        """Cancel what has not ended."""
        if self._jobs:
            cancel_jobs(list(self._jobs))

    def _submit(self) -> list[Event]:
        """Submit the stages that wait; where Slurm takes none now, tell of it."""
        if not self._waiting or time.monotonic() < self._next_try:
            return []
        tasks = self._waiting
        try:
            jobs = self._executor.map_array(StageJob(), tasks)
        except Exception as error:
            return self._try_later(error)
        self._waiting, self._refused = [], 0
        for job, task in zip(jobs, tasks, strict=True):
            self._jobs[str(job.job_id)] = (job, task)
        return []

    def _try_later(self, error: Exception) -> list[Event]:
        """Plan the next submission; where none can help and no job is at work, end the run.

        A submission whose answer was lost may have been taken all the same. Its jobs and those of
        the next one meet at their stages' locks, and each stage runs once.
        """
        lines = str(error).strip().splitlines()
        said = lines[-1] if lines else repr(error)
        self._refused += 1
        hopeless = isinstance(error, OSError) or _FOR_GOOD.search(said)
        if not self._jobs and (hopeless or self._refused >= _SUBMISSIONS):
            raise UserError(f"Slurm takes no jobs: {said}") from error
        pause = min(_FIRST_PAUSE * 2 ** (self._refused - 1), _LONGEST_PAUSE)
        self._next_try = time.monotonic() + pause
        note = f"Slurm takes no job now ({said:.200}); asked again in {pause:.0f} s"
        return [Event(task.stage, "moved", note) for task in self._waiting]

    def _look(self) -> list[Event]:
        found: list[Event] = []
        known = queued_jobs()
        for number, (job, task) in list(self._jobs.items()):
            if job.paths.result_pickle.exists():
                del self._jobs[number]
                found.append(_result(job, task))
            elif known is not None and number not in known:
                since = self._gone.setdefault(number, time.monotonic())
                if time.monotonic() - since > _GRACE:
                    del self._jobs[number]
                    log = job.paths.stdout
                    found.append(
                        Event(
                            task.stage,
                            "died",
                            f"its Slurm job {number} ended without a result (cancelled, killed or "
                            f"a node was lost; see {log.relative_to(self._root.absolute())})",
                        )
                    )
            else:
                self._gone.pop(number, None)
                found += self._moved(task)
        return found

    def _moved(self, task: Task) -> list[Event]:
        path = task.folder.with_name(task.folder.name + PARTIAL) / PROGRESS
        try:
            text = path.read_text(encoding="utf-8")
            said = json.loads(text)
            event = Event(task.stage, "moved", str(said["note"]), float(said["share"]))
        except (OSError, ValueError, KeyError, TypeError):
            return []
        if self._notes.get(task.stage.identity) == text:
            return []
        self._notes[task.stage.identity] = text
        return [event]


def cancel_jobs(jobs: Sequence[str]) -> None:
    """Ask Slurm to end jobs; those that have ended are no error."""
    with suppress(subprocess.TimeoutExpired):
        command = ["scancel", "--quiet", *jobs]
        subprocess.run(command, check=False, capture_output=True, timeout=_ANSWER)


def _result(job: Any, task: Task) -> Event:
    try:
        kind, text = job.result()
    except Exception as error:
        return Event(task.stage, "failed", str(error))
    return Event(task.stage, kind, text)


def queued_jobs() -> set[str] | None:
    """The jobs of this user that Slurm has, waiting or running; None where it does not answer."""
    user = os.environ.get("USER") or str(os.getuid())
    command = ["squeue", "--noheader", "--array", "--user", user, "--format", "%i"]
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=_ANSWER)
    except subprocess.TimeoutExpired:
        return None
    return set(done.stdout.split()) if done.returncode == 0 else None


def _parameters(settings: SlurmSettings, gpus: int) -> dict[str, Any]:
    wanted = gpus if settings.gpus is None else settings.gpus
    parameters: dict[str, Any] = {
        "job_name": "holdfast",
        "time": settings.time,
        "cpus_per_task": settings.cpus,
        "array_parallelism": settings.max_jobs,
        "stderr_to_stdout": True,
        "setup": settings.setup or None,
        "partition": settings.partition,
        "mem": settings.memory,
        "account": settings.account,
        "qos": settings.qos,
        "constraint": settings.constraint,
        "gpus_per_node": wanted or None,
        "additional_parameters": {"requeue": True},
    }
    return {name: value for name, value in parameters.items() if value is not None}
