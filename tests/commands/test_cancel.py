"""Ctrl-C and `holdfast cancel`: work is saved, and the same command goes on from it."""

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, nullcontext

from holdfast.engine import run as running
from holdfast.engine.schedule import Outcome


@contextmanager
def started(command, sigint, **options):
    """A process that has Ctrl-C ignored or not, whatever this one has; killed if it lives on."""
    before = signal.signal(signal.SIGINT, sigint)
    try:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(command, text=True, env=environment, **options)
    finally:
        signal.signal(signal.SIGINT, before)
    with process:
        try:
            yield process
        finally:
            process.kill()


def test_ctrl_c_leaves_a_state_that_the_same_command_goes_on_from(tmp_path):
    command = [
        sys.executable, "-m", "holdfast.cli", "align", "rows=300", "num_train_epochs=30",
        "--output", str(tmp_path / "out"),
    ]  # fmt: skip
    # As these tests may themselves run in the background, where a shell has Ctrl-C ignored.
    with started(command, signal.SIG_DFL, stderr=subprocess.PIPE) as process:
        metrics = tmp_path / "out.partial" / "metrics.jsonl"
        deadline = time.monotonic() + 120
        while not metrics.exists():
            assert time.monotonic() < deadline
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors == "holdfast: stopped; the same command goes on from here.\n"
    assert list((tmp_path / "out.partial" / "checkpoints").glob("checkpoint-*"))
    assert not (tmp_path / "out").exists()


def test_a_run_is_noted_before_its_processes_start(tmp_path, monkeypatch):
    """What takes long to start could not be cancelled otherwise."""
    noted = []

    def pool(_missing, root, *_):
        noted.append((root / "run.json").exists())
        return nullcontext()

    monkeypatch.setattr(running, "missing_stages", lambda *_: ([None], Outcome()))
    monkeypatch.setattr(running, "schedule", lambda *_: None)
    monkeypatch.setattr(running, "_pool", pool)
    running.run_stages([], tmp_path, None)
    assert noted == [True]
    assert not (tmp_path / "run.json").exists()


def test_a_run_is_cancelled_while_its_processes_start(tmp_path):
    """They import for some seconds, and say nothing of what they were started for."""
    study, root = tmp_path / "study.yaml", tmp_path / "run"
    study.write_text("align: [sft, vaccine]\nfinetune: null\n")
    command = [sys.executable, "-m", "holdfast.cli"]
    words = [*command, "run", str(study), "--output", str(root), "--workers", "2"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with started(words, signal.SIG_DFL, **pipes) as process:
        deadline = time.monotonic() + 120
        while not (root / "run.json").exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        words = [*command, "cancel", str(root)]
        done = subprocess.run(words, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        text, _ = process.communicate(timeout=60)  # to the end of all that write there
    assert process.returncode == 130
    assert text.splitlines()[-1].endswith("goes on from here.")
    assert "Traceback" not in text
    assert not (root / "run.json").exists()


def test_cancel_ends_a_run_that_has_ctrl_c_ignored(tmp_path):
    """As nohup has it; and nobody asks how the run has ended before cancel does."""
    study, root = tmp_path / "study.yaml", tmp_path / "run"
    study.write_text("align: sft\nsettings: {align: {rows: 1000, num_train_epochs: 30}}\n")
    command = [sys.executable, "-m", "holdfast.cli"]
    words = [*command, "run", str(study), "--output", str(root)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with started(words, signal.SIG_IGN, **pipes) as process:
        deadline = time.monotonic() + 120
        while not list(root.glob("stages/align-*.partial/metrics.jsonl")):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        words = [*command, "cancel", str(root)]
        done = subprocess.run(words, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert "stopped; the same `holdfast run` goes on from here." in done.stdout
        text, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "goes on from here" in text
    assert list(root.glob("stages/align-*.partial/checkpoints/checkpoint-*"))
