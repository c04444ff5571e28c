"""Submissions that Slurm refuses or does not answer: made again, while running jobs go on.

Stand-ins take the place of Slurm's commands, and time passes at once.
"""

import os
import pickle
import subprocess
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest
from submitit.core.utils import FailedJobError

from holdfast.engine import slurm
from holdfast.engine.schedule import Task
from holdfast.engine.slurm import SlurmPool, SlurmSettings
from holdfast.errors import UserError
from holdfast.models.stack import Stack
from holdfast.stages.making import make_stage

TIMED_OUT = "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation"
INVALID = "sbatch: error: Batch job submission failed: Invalid partition name specified"
LIMIT = "sbatch: error: Batch job submission failed: Job violates accounting/QOS policy"


class Cluster:
    """Takes submissions, or fails them as `failures` says in turn; jobs end when asked to."""

    def __init__(self, folder):
        self.folder, self.failures, self.submitted, self.cancelled = folder, [], [], []
        self.now, self.waited = 1000.0, []

    def map_array(self, _, tasks):
        failure = self.failures.pop(0) if self.failures else None
        self.waited.append(self.now)
        if failure is not None:
            raise failure if isinstance(failure, Exception) else FailedJobError(failure)
        jobs = [self.job(len(self.submitted) + number) for number in range(len(tasks))]
        self.submitted += [task.stage.name for task in tasks]
        return jobs

    def job(self, number):
        pickled, log = self.folder / f"{number}.pkl", self.folder / f"{number}.log"
        paths = SimpleNamespace(result_pickle=pickled, stdout=log)
        return SimpleNamespace(job_id=number, paths=paths, result=lambda: ("done", ""))

    def end(self, number):
        (self.folder / f"{number}.pkl").write_bytes(pickle.dumps(None))

    def sleep(self, seconds):
        self.now += seconds


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    made = Cluster(tmp_path)
    monkeypatch.setattr(slurm, "check_cluster", lambda: None)
    monkeypatch.setattr(
        "submitit.SlurmExecutor",
        lambda folder: SimpleNamespace(
            update_parameters=lambda **_: None, map_array=made.map_array
        ),
    )
    monkeypatch.setattr(slurm, "queued_jobs", lambda: {str(n) for n in range(100)})
    monkeypatch.setattr(slurm, "cancel_jobs", made.cancelled.extend)
    clock = SimpleNamespace(monotonic=lambda: made.now, sleep=made.sleep)
    monkeypatch.setattr(slurm, "time", clock)
    return made


@pytest.fixture
def pool(cluster, tmp_path):
    return SlurmPool(tmp_path, SlurmSettings(), 0)


def task(tmp_path, seed):
    stage = make_stage("align", {"method": "sft", "seed": seed})
    return Task(stage, tmp_path / stage.name, tmp_path / "log", Stack("organism"), None)


@pytest.mark.parametrize("failure", [TIMED_OUT, LIMIT, "", subprocess.SubprocessError("slow")])
def test_one_failure_is_told_and_tried_again_while_jobs_run(cluster, pool, tmp_path, failure):
    first, second = task(tmp_path, 0), task(tmp_path, 1)
    pool.start(first)
    assert pool.events(0) == []
    cluster.failures = [failure, failure, failure]
    pool.start(second)
    events = [one for _ in range(4) for one in pool.events(0)]
    assert {one.kind for one in events} == {"moved"}
    assert "Slurm takes no job now (" in events[0].text
    assert "asked again in 5 s" in events[0].text
    assert cluster.submitted == [first.stage.name]
    assert pool.room == 98
    events = pool.events(60)
    while len(cluster.submitted) == 1:
        events += pool.events(60)
    begun = cluster.waited[1:]
    pauses = [later - earlier for earlier, later in pairwise(begun)]
    assert [round(pause) // 5 for pause in pauses] == [1, 2, 4], "pauses grow"
    assert cluster.submitted == [first.stage.name, second.stage.name]
    for number in (0, 1):
        cluster.end(number)
    assert [one.kind for one in pool.events(None)] == ["done", "done"]
    assert cluster.cancelled == []


def test_what_no_later_submission_mends_is_told_at_once(cluster, pool, tmp_path):
    cluster.failures = [INVALID]
    pool.start(task(tmp_path, 0))
    with pytest.raises(UserError, match=r"Slurm takes no jobs: .*Invalid partition name"):
        pool.events(None)
    assert len(cluster.waited) == 1


def test_running_jobs_come_to_their_end_before_that(cluster, pool, tmp_path):
    pool.start(task(tmp_path, 0))
    pool.events(0)
    cluster.failures = [INVALID] * 99
    pool.start(task(tmp_path, 1))
    assert [one.kind for one in pool.events(0)] == ["moved"]
    cluster.end(0)
    assert [one.kind for one in pool.events(None)] == ["done"]
    with pytest.raises(UserError, match="Slurm takes no jobs"):
        pool.events(None)


def ask_on(pool):
    while True:
        pool.events(None)


def test_a_cluster_that_never_answers_is_given_up(cluster, pool, tmp_path):
    cluster.failures = [TIMED_OUT] * 99
    pool.start(task(tmp_path, 0))
    with pytest.raises(UserError, match=r"Slurm takes no jobs: .*Socket timed out"):
        ask_on(pool)
    assert len(cluster.waited) == slurm._SUBMISSIONS
    assert 100 < cluster.now - 1000 < 300


def test_a_squeue_that_hangs_counts_as_no_answer(tmp_path, monkeypatch):
    program = tmp_path / "squeue"
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(slurm, "_ANSWER", 0.2)
    assert slurm.queued_jobs() is None
    Path(program).rename(tmp_path / "scancel")
    slurm.cancel_jobs(["1"])
