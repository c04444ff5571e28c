"""A study through a real Slurm of one node: the same metrics as in this process, whatever happens.

The node is started by `one_node.sh`, which needs root and Debian's slurm-wlm and munge; where they
are not, these tests are skipped and say why.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("one_node.sh")
STUDY = """\
align: sft
finetune: sft
settings:
  align: {rows: 40}
  finetune: {rows: 40}
  evaluate: {limit: 5}
slurm: {cpus: 1, time: 20}
"""
POSSIBLE = os.getuid() == 0 and shutil.which("slurmctld") and shutil.which("munged")
pytestmark = pytest.mark.skipif(
    not POSSIBLE, reason="a Slurm of one's own needs root, slurm-wlm and munge"
)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    folder = tmp_path_factory.mktemp("slurm")
    started = subprocess.run([SCRIPT, "start", folder], capture_output=True, text=True, check=False)
    assert started.returncode == 0, started.stderr
    yield {**os.environ, "SLURM_CONF": str(folder / "slurm.conf"), "OMP_NUM_THREADS": "1"}
    subprocess.run([SCRIPT, "stop", folder], check=True)


def holdfast(*words, env=None, cwd=None, **options):
    command = [sys.executable, "-m", "holdfast.cli", *map(str, words)]
    return subprocess.Popen(
        command,
        env=env,
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **options,
    )


def said(process, code=0, seconds=300):
    text, _ = process.communicate(timeout=seconds)
    assert process.returncode == code, text
    return text


def metrics(root):
    return [r["metrics"] for r in json.loads((root / "results.json").read_text())["records"]]


def running_job(env, other_than=(), seconds=120):
    """The number of a job that runs, once there is one."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        command = ["squeue", "--noheader", "--array", "--states", "RUNNING", "--format", "%i"]
        jobs = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
        new = [job for job in jobs.stdout.split() if job not in other_than]
        if new:
            return new[0]
        time.sleep(0.5)
    raise AssertionError("no job runs")


def begin_now(env, job, seconds=60):
    """Let a job that was queued again begin, where Slurm would wait two minutes."""
    until = time.monotonic() + seconds
    command = ["scontrol", "update", f"JobId={job}", "StartTime=now"]
    while subprocess.run(command, env=env, capture_output=True, check=False).returncode:
        assert time.monotonic() < until, "the job is not queued again"
        time.sleep(1)


def wait_for_steps(root, seconds=120):
    """Return when a stage has written down training steps since this was called."""
    began = time.time()
    while not any(
        path.stat().st_mtime > began for path in root.glob("stages/*.partial/metrics.jsonl")
    ):
        assert time.time() < began + seconds, "no stage trains"
        time.sleep(0.1)


def queued(env):
    jobs = subprocess.run(["squeue", "--noheader"], env=env, capture_output=True, text=True)
    return jobs.stdout.strip()


@pytest.mark.long
def test_a_study_survives_scancel_and_requeue_with_the_metrics_of_one_process(cluster, tmp_path):
    study = tmp_path / "study.yaml"
    # So long that a job is still at work when its first steps are seen.
    study.write_text(STUDY.replace("rows: 40", "rows: 1000"))
    root = tmp_path / "slurm"
    process = holdfast("run", study, "--output", root, "--launcher", "slurm", env=cluster)
    first = running_job(cluster)
    wait_for_steps(root)
    subprocess.run(["scancel", first], env=cluster, check=True)
    second = running_job(cluster, other_than=[first])
    wait_for_steps(root)
    subprocess.run(["scontrol", "requeue", second], env=cluster, check=True)
    begin_now(cluster, second)
    text = said(process)
    assert f"its Slurm job {first} ended without a result" in text
    assert "it is tried again" in text

    here = tmp_path / "here"
    said(holdfast("run", study, "--output", here, "--workers", 1, env=cluster))
    assert metrics(root) == metrics(here)

    again = said(holdfast("run", study, "--output", root, "--launcher", "slurm", env=cluster))
    assert "3 stages are there already: cached" in again, "nothing is submitted that is there"
    listed = said(holdfast("logs", root, env=cluster))
    assert "align-sft" in listed
    name = next(path.name for path in (root / "stages").glob("finetune-*"))
    assert "UTC" in said(holdfast("logs", root, name, env=cluster))
    status = said(holdfast("status", root, env=cluster))
    assert "run by: nobody" in status


def test_cancel_ends_the_run_and_its_jobs(cluster, tmp_path):
    study = tmp_path / "study.yaml"
    study.write_text(STUDY.replace("rows: 40", "rows: 1000"))
    root = tmp_path / "run"
    process = holdfast("run", study, "--output", root, "--launcher", "slurm", env=cluster)
    running_job(cluster)
    assert "stopped" in said(holdfast("cancel", root, env=cluster))
    assert "goes on from here" in said(process, code=130)
    until = time.monotonic() + 30
    while queued(cluster) and time.monotonic() < until:
        time.sleep(0.5)
    assert queued(cluster) == ""


def test_slurm_that_takes_no_jobs_is_told(cluster, tmp_path):
    study = tmp_path / "study.yaml"
    study.write_text(STUDY)
    words = ["run", study, "--output", tmp_path / "run", "--launcher", "slurm"]
    text = said(holdfast(*words, "slurm.partition=nowhere", env=cluster), code=2)
    assert "Slurm takes no jobs" in text
    assert "partition" in text.lower()
