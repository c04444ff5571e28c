"""A stage in two processes: its result, how it is stopped, and what it says when it fails."""

import json
import subprocess
import sys

import pytest
import torch
from same_result import assert_same_result, several_settings

from holdfast.errors import DivergedError, Stopped, UserError
from holdfast.models.stack import resolve
from holdfast.stages import launch, launched
from holdfast.stages.execute import execute
from holdfast.stages.making import make_stage
from holdfast.stages.work import Work


@pytest.mark.long
def test_a_stage_that_is_launched_equals_one_process(tmp_path, stages, capfd):
    told = []
    stage = make_stage("finetune", several_settings(stages))
    assert stage.identity != make_stage("finetune", stages.settings).identity
    folder = execute(
        stage,
        tmp_path / "two",
        resolve(stages.aligned),
        progress=lambda share, note: told.append((share, note)),
    )
    assert_same_result(folder, stages.one, 1e-3)
    found, one = (json.loads((at / "provenance.json").read_text()) for at in (folder, stages.one))
    assert found["budget"]["steps"] == one["budget"]["steps"]
    assert found["data"] == one["data"]
    assert found["peak_memory_bytes"] > 10**8
    assert sorted(p.name for p in folder.iterdir()) == sorted(p.name for p in stages.one.iterdir())
    assert told[0] == (0.0, "starting the processes")
    assert told[-1][1].startswith("step ")
    # Neither an error nor a remark of a library comes between the stage's own lines.
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.long
def test_stopping_reaches_the_processes_and_leaves_a_checkpoint(tmp_path, stages):
    stage = make_stage("finetune", several_settings(stages, parallel="fsdp2"))
    with pytest.raises(Stopped):
        execute(stage, tmp_path / "two", resolve(stages.aligned), stopping=lambda: True)
    assert not (tmp_path / "two").exists()
    checkpoint = tmp_path / "two.partial" / "checkpoints" / "checkpoint-1"
    assert (checkpoint / "trainer_state.json").exists()


def failing(stages, folder, monkeypatch, rank, **settings):
    """Let one process of a stage fail, in this process; where it says so."""
    stage = make_stage("finetune", several_settings(stages, **settings))
    if not (folder / "processes").exists():
        stack = resolve("organism")
        launch.write_job(Work(stage, folder, stack, None, lambda *_: None, lambda: False))
    monkeypatch.setenv("RANK", str(rank))
    monkeypatch.setattr(launched, "end_with_input", lambda: None)
    monkeypatch.setattr(launched.os, "_exit", sys.exit)
    with pytest.raises(SystemExit):
        launched.main(folder / "processes")
    return folder / "processes"


def test_a_mistake_is_told_in_one_sentence(tmp_path, stages, monkeypatch):
    place = failing(stages, tmp_path, monkeypatch, 1, adapter="single")
    monkeypatch.setattr(launched, "run_training", lambda share: 1 / 0)
    failing(stages, tmp_path, monkeypatch, 0, adapter="single")
    # The first process failed in another way, because of the second or not: a mistake goes first.
    error = launch._error(place, 2, 1)
    assert type(error) is UserError
    assert str(error).startswith("adapter is single, but the model carries no adapter")


def test_a_failure_is_told_with_its_process_and_trace(tmp_path, stages, monkeypatch):
    monkeypatch.setattr(launched, "run_training", lambda share: 1 / 0)
    place = failing(stages, tmp_path, monkeypatch, 1)
    failing(stages, tmp_path, monkeypatch, 0)
    error = launch._error(place, 2, 1)
    assert type(error) is RuntimeError
    assert str(error).startswith("process 1 of 2 failed:\nTraceback")
    assert "ZeroDivisionError" in str(error)


def test_memory_that_ends_in_one_of_them_is_told_as_a_mistake(tmp_path, stages, monkeypatch):
    def train(_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(launched, "run_training", train)
    error = launch._error(failing(stages, tmp_path, monkeypatch, 1), 2, 1)
    assert type(error) is UserError
    assert str(error).startswith("the model with a batch of 4 rows does not fit in memory")


def test_a_process_that_was_killed_is_told_with_what_it_printed_last(tmp_path):
    (tmp_path / "output.log").write_text("first\n" + "line\n" * 40 + "rank 1: exitcode -9\n")
    (tmp_path / "error-0.json").write_text('{"kind": ')
    error = launch._error(tmp_path, 2, 1)
    assert str(error).startswith("a process of the training ended (exit code 1):\nline\n")
    assert str(error).endswith("rank 1: exitcode -9")
    assert "first" not in str(error)


def test_a_loss_that_diverged_stays_one(tmp_path):
    error = {"kind": "DivergedError", "text": "the loss became nan", "rank": 0, "time": 1.0}
    (tmp_path / "error-0.json").write_text(json.dumps(error))
    assert type(launch._error(tmp_path, 2, 1)) is DivergedError


def test_processes_end_with_the_one_that_started_them():
    """Also when that one is killed: its end of the pipe closes then, as it does here."""
    program = (
        "import time\n"
        "from holdfast.stages.lifeline import end_with_input\n"
        "end_with_input(); print('on', flush=True); time.sleep(600)"
    )
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout.readline() == b"on\n"
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(0.2)
            process.stdin.close()
            assert process.wait(60) == 1
        finally:
            process.kill()


def test_mistaken_settings_are_told(stages):
    with pytest.raises(UserError, match="processes is 0; it must be 1 or more"):
        make_stage("align", {"processes": 0})
    with pytest.raises(UserError, match=r"device_map is auto, .* and processes is 2"):
        make_stage("align", {"processes": 2, "device_map": "auto"})
    with pytest.raises(UserError, match="quantization is 4bit, and parallel is fsdp2"):
        make_stage("align", {"processes": 2, "parallel": "fsdp2", "quantization": "4bit"})
    with pytest.raises(UserError, match="parallel"):
        make_stage("align", {"processes": 2, "parallel": "fsdp"})


def test_more_processes_than_gpus(tmp_path, stages, monkeypatch):
    settings = several_settings(stages, processes=3)
    work = Work(make_stage("finetune", settings), tmp_path, resolve("organism"), None, print, bool)
    monkeypatch.setattr(launch.torch.accelerator, "device_count", lambda: 2)
    monkeypatch.setattr(type(work.model), "is_organism", False)
    with pytest.raises(UserError, match="processes is 3, but this machine shows 2 of its GPUs"):
        launch.train_in_processes(work)


def test_more_processes_than_cores_start_none(tmp_path, stages, monkeypatch):
    settings = several_settings(stages, processes=90)
    work = Work(make_stage("finetune", settings), tmp_path, resolve("organism"), None, print, bool)
    monkeypatch.setattr(launch.os, "cpu_count", lambda: 4)
    monkeypatch.setattr(launch, "_started", lambda *_: pytest.fail("processes were started"))
    with pytest.raises(UserError, match="processes is 90, but this machine shows 4 of its cores"):
        launch.train_in_processes(work)
    assert not list(tmp_path.iterdir())


def test_identities_of_one_process_are_as_before_there_could_be_several():
    one = make_stage("align", {"rows": 10})
    assert make_stage("align", {"rows": 10, "parallel": "fsdp2"}).identity == one.identity
    two = {make_stage("align", {"processes": 2, "parallel": p}).identity for p in ("ddp", "fsdp2")}
    assert len(two | {one.identity}) == 3
