"""What a run survives beside kills: the disk, damaged records, the clock, another run."""

import errno
import json
import os
import random
import shutil
import subprocess
import sys
import threading
import time
from contextlib import redirect_stderr
from pathlib import Path

import psutil
import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file, save_file

from fake_stages import SPEC, Pool, Watcher, run, write
from holdfast import cli
from holdfast.commands import pipelines as commands
from holdfast.commands.gc import collect_garbage
from holdfast.commands.logs import show_logs
from holdfast.commands.status import show_status
from holdfast.engine import run as running
from holdfast.engine import schedule as engine
from holdfast.engine.record import read_record, write_record
from holdfast.engine.results import collect
from holdfast.engine.run import Launch, who_runs
from holdfast.engine.schedule import (
    Event,
    Outcome,
    Task,
    failure_file,
    log_file,
    missing_stages,
    schedule,
)
from holdfast.engine.worker import run_task
from holdfast.errors import BusyError, DiskError, Stopped, UserError
from holdfast.models.stack import Stack
from holdfast.report.reading import read_run
from holdfast.stages import execute, folders
from holdfast.stages import train as training
from holdfast.stages.checkpoints import last_checkpoint
from holdfast.stages.disk import write_json
from holdfast.stages.folders import stage_lock
from holdfast.stages.making import make_stage
from holdfast.stages.pipeline import all_stages, stage_folder
from holdfast.stages.whole import is_finished
from holdfast.studies.grid import expand
from holdfast.studies.study import make_study

SHORT = {"method": "sft", "rows": 40, "num_train_epochs": 1}
QUIET = Console(file=open(os.devnull, "w"))  # noqa: SIM115  (as long as the tests)
NO_SPACE = OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture(scope="module")
def pipelines():
    return expand(make_study(SPEC, "here"))


@pytest.fixture
def stages(pipelines):
    return all_stages(pipelines)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """What an undisturbed training ends with."""
    folder = tmp_path_factory.mktemp("undisturbed") / "out"
    return trained(folder)


def trained(folder, **settings):
    execute.execute(make_stage("align", {**SHORT, **settings}), folder, Stack("organism"))
    return load_file(folder / "adapter_model.safetensors")


def assert_same(first, second):
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def refuse(monkeypatch, number, name):
    """From now on the system refuses to put a file of this name into its place."""
    replace = os.replace

    def refusing(source, target):
        if os.path.basename(target) == name:
            raise OSError(number, os.strerror(number), str(target))
        replace(source, target)

    monkeypatch.setattr(os, "replace", refusing)


def run_fake(pipelines, root, monkeypatch):
    """A run whose stages are all there, as `holdfast run` calls it."""

    def done(stages, root, display, launch):
        with running._noted(root, launch):
            return Outcome({stage.identity: stage_folder(root, stage) for stage in stages})

    monkeypatch.setattr(commands, "run_stages", done)
    monkeypatch.setattr(commands, "collect", lambda pipelines, root: {"schema_version": 1})
    commands.run_pipelines(list(pipelines), root, Launch(1), QUIET, "a study")


DISK = {
    errno.ENOSPC: "the disk is full at .*: free some space and run the same command again",
    errno.EDQUOT: "the disk is full at .*: free some space and run the same command again",
    errno.EROFS: "cannot be written: the disk is read-only there; make it writable",
    errno.EACCES: "cannot be written: Permission denied; mend its permissions",
}


@pytest.mark.parametrize("name", ["study.json", "run.json", "results.json"])
@pytest.mark.parametrize("number", DISK)
def test_a_record_that_the_disk_does_not_take(pipelines, tmp_path, monkeypatch, number, name):
    root = tmp_path / "run"
    (root / "stages").mkdir(parents=True)
    (root / name).write_text("of the last run")
    refuse(monkeypatch, number, name)
    with pytest.raises(DiskError, match=DISK[number]):
        run_fake(pipelines, root, monkeypatch)
    assert (root / name).read_text() == "of the last run"
    assert not list(root.rglob("*.new"))


@pytest.mark.parametrize("number", DISK)
def test_a_folder_that_the_disk_does_not_take(pipelines, tmp_path, monkeypatch, number):
    def refused(self, *args, **kwargs):
        raise OSError(number, os.strerror(number), str(self))

    monkeypatch.setattr("pathlib.Path.mkdir", refused)
    with pytest.raises(DiskError, match=DISK[number]):
        run_fake(pipelines, tmp_path / "run", monkeypatch)


def test_a_failure_that_the_disk_does_not_take(stages, tmp_path, monkeypatch):
    bad = stages[0]
    refuse(monkeypatch, errno.ENOSPC, failure_file(tmp_path, bad).name)
    with pytest.raises(DiskError, match="the disk is full"):
        run(stages, tmp_path, Pool(plan={bad.name: [("failed", "boom")]}))


def test_the_disk_is_full_in_the_middle_of_a_checkpoint(tmp_path, monkeypatch, weights):
    """The second one: the first is gone on from, to the same weights."""
    save, count = torch.save, 0

    def full(content, path, *args, **kwargs):
        nonlocal count
        count += "optimizer" in str(path)
        save(content, path, *args, **kwargs)
        if count == 2:
            with open(path, "r+b") as file:
                file.truncate(1000)
            raise NO_SPACE

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(DiskError, match=r"the disk is full at .*: free some space"):
        trained(tmp_path / "out", save_steps=1)
    monkeypatch.undo()
    assert not (tmp_path / "out").exists()
    checkpoints = tmp_path / "out.partial" / "checkpoints"
    assert last_checkpoint(checkpoints) == str(checkpoints / "checkpoint-1")
    steps = []
    monkeypatch.setattr(
        training._Reporter, "on_step_begin", lambda *args, **_: steps.append(args[2].global_step)
    )
    assert_same(trained(tmp_path / "out", save_steps=1), weights)
    assert steps == [1, 2, 3], "the first step was made again"


def test_a_kill_as_a_finished_trainings_checkpoints_are_removed(tmp_path, monkeypatch, weights):
    """A checkpoint without its optimizer would be gone on from, to other weights."""
    remove, steps = shutil.rmtree, []

    def killed(path, *args, **kwargs):
        if Path(path).name.startswith("checkpoints") and Path(path).exists():
            next(Path(path).rglob("optimizer.pt")).unlink()
            raise KeyboardInterrupt
        remove(path, *args, **kwargs)

    monkeypatch.setattr(shutil, "rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "out", save_steps=1)
    monkeypatch.undo()
    assert (tmp_path / "out.partial" / "provenance.json").exists()
    monkeypatch.setattr(training._Reporter, "on_step_begin", lambda *_, **__: steps.append(1))
    assert_same(trained(tmp_path / "out", save_steps=1), weights)
    assert steps == [], "what was whole was trained again"
    assert not [*(tmp_path / "out").glob("checkpoints*"), *tmp_path.glob("*.partial*")]


def test_a_kill_as_a_folder_is_removed(tmp_path, monkeypatch):
    partial, remove = tmp_path / "out.partial", shutil.rmtree
    (partial / "checkpoints").mkdir(parents=True)

    def killed(path, *args, **kwargs):
        if Path(path).exists():
            raise KeyboardInterrupt
        remove(path, *args, **kwargs)

    monkeypatch.setattr(shutil, "rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        folders.discard(partial)
    assert not partial.exists(), "half of it has its name"
    monkeypatch.undo()
    assert folders.begin(tmp_path / "out", "identity") == partial
    assert [path.name for path in tmp_path.iterdir()] == ["out.partial"]


def run_with_a_full_log(stage, root):
    """How a stage ends, whose log is on a full disk."""
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    task = Task(stage, root / "out", log_file(root, stage), Stack("organism"), None)
    task.log.parent.mkdir()
    task.log.symlink_to("/dev/full")
    # What pytest has in its place does not write to file 2, where the log is put.
    with open(2, "w", buffering=1, closefd=False) as stderr, redirect_stderr(stderr):
        return run_task(task, lambda share, note: None, lambda: False)


@pytest.mark.parametrize("error", [UserError("no such model"), ValueError("boom")])
def test_how_a_stage_ended_is_told_though_its_log_takes_nothing(
    stages, tmp_path, monkeypatch, error
):
    def failing(*_args):
        raise error

    monkeypatch.setattr(execute, "execute", failing)
    event = run_with_a_full_log(stages[0], tmp_path)
    assert event.kind == ("mistake" if isinstance(error, UserError) else "failed")
    assert str(error) in event.text


def test_a_stage_that_prints_to_a_full_log_tells_of_the_disk(stages, tmp_path, monkeypatch):
    monkeypatch.setattr(execute, "_execute", lambda *_: print("a word", file=sys.stderr))
    event = run_with_a_full_log(stages[0], tmp_path)
    assert event.kind == "disk"
    assert event.text.startswith("the disk is full at ")


def test_the_command_line_tells_of_the_disk_wherever_it_was_met(monkeypatch, capsys):
    def full(**_):
        raise NO_SPACE

    monkeypatch.setattr(cli, "app", full)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("holdfast: the disk is full at ")


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 1 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if os.getuid() != 0 or subprocess.run(command, capture_output=True).returncode != 0:
        pytest.skip("mounting a small disk needs root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_real_disk_that_is_full_and_then_read_only(small_disk, pipelines, monkeypatch, weights):
    root = small_disk / "run"
    (small_disk / "ballast").write_bytes(bytes(2**20 - 24 * 4096))
    with pytest.raises(DiskError, match="the disk is full"):
        trained(root / "stages" / "out", save_steps=1)
    with pytest.raises(DiskError, match="the disk is full"):
        write_record(root, pipelines, {"title": "x" * 2**20})
    (small_disk / "ballast").unlink()
    write_record(root, pipelines, {"title": "whole"})
    remount = ["mount", "-o", "remount,ro", str(small_disk)]
    subprocess.run(remount, check=True)
    for write_something in (
        lambda: trained(root / "stages" / "out"),
        lambda: run_fake(pipelines, root, monkeypatch),
    ):
        with pytest.raises(DiskError, match=r"cannot be written: (Read-only|the disk is)"):
            write_something()
    assert read_record(root)["title"] == "whole"
    show_status(root, QUIET)
    subprocess.run([part.replace(",ro", ",rw") for part in remount], check=True)
    assert_same(trained(root / "stages" / "out"), weights)


def test_a_checkpoint_that_is_cut_short_is_none(tmp_path):
    for step in (1, 2):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        save_file({"a": torch.zeros(10)}, folder / "adapter_model.safetensors")
        torch.save({"a": torch.zeros(10)}, folder / "optimizer.pt")
        torch.save({"a": 1}, folder / "rng_state.pth")
        (folder / "trainer_state.json").write_text("{}")
    last = tmp_path / "checkpoint-2"
    assert last_checkpoint(tmp_path) == str(last)
    for path in list(last.iterdir()):
        whole = path.read_bytes()
        path.write_bytes(whole[:-1])
        assert last_checkpoint(tmp_path) == str(tmp_path / "checkpoint-1"), path.name
        path.write_bytes(whole)
    (tmp_path / "checkpoint-1" / "trainer_state.json").unlink()
    (last / "trainer_state.json").write_text("")
    assert last_checkpoint(tmp_path) is None


DAMAGED = [b"", b"{", b"[]", b"null", b'"text"', b"{}", b"\xff\xfe", b'{"schema_version": 1}']
AGAIN = "run the study again, which writes it anew and runs no finished stage"
damaged = pytest.mark.parametrize("content", DAMAGED)


@pytest.fixture
def finished(stages, pipelines, tmp_path):
    """A run's folder with all stages and records."""
    run(stages, tmp_path)
    write_record(tmp_path, pipelines, {"title": "a study"}, Outcome())
    return tmp_path


@pytest.fixture
def evaluation(stages):
    return next(stage for stage in stages if stage.kind == "evaluate")


@damaged
def test_a_stage_whose_provenance_is_damaged_is_made_again(stages, finished, content):
    """Without it nobody knows the result for one."""
    bad = stages[0]
    (stage_folder(finished, bad) / "provenance.json").write_bytes(content)
    with pytest.raises(UserError, match="choose another output folder, or remove it first"):
        is_finished(stage_folder(finished, bad), bad.identity)
    _, watcher, pool = run(stages, finished)
    assert pool.seen == [bad.name]
    assert "provenance.json is damaged or gone" in watcher.notes[0]
    assert list(finished.glob("stages/*.broken-*"))
    collect_garbage(finished, True, QUIET)
    assert not list(finished.glob("stages/*.broken-*"))
    assert {one.name for one in stages} <= {path.name for path in (finished / "stages").iterdir()}


@pytest.mark.parametrize("note", ["failure", "progress", "run"])
@damaged
def test_a_damaged_note_of_a_run_is_as_none(stages, finished, evaluation, content, note):
    folder = stage_folder(finished, evaluation)
    for path in folder.iterdir():
        path.unlink()
    path = {
        "failure": failure_file(finished, evaluation),
        "progress": folder.with_name(folder.name + ".partial") / "progress.json",
        "run": finished / "run.json",
    }[note]
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    show_status(finished, QUIET)
    show_logs(finished, None, 10, QUIET)
    assert who_runs(finished) is None
    outcome, _, pool = run(stages, finished)
    assert pool.seen == [evaluation.name]
    assert not outcome.failures


@pytest.mark.parametrize("name", ["evaluation.json", "provenance.json"])
@damaged
def test_a_damaged_evaluation_is_named(pipelines, finished, evaluation, content, name):
    folder = stage_folder(finished, evaluation)
    (folder / "evaluation.json").write_text('{"protocol": {}, "metrics": {}}')
    (folder / name).write_bytes(content)
    said = f"{name} is damaged: remove the folder {folder.name} and run the same command again"
    with pytest.raises(UserError, match=said):
        collect([p for p in pipelines if p.evaluation == evaluation], finished)


# An empty object is as no file: a run that is under way has none yet.
@pytest.mark.parametrize("content", [one for one in DAMAGED if one != b"{}"])
def test_damaged_results_say_what_to_do(finished, content):
    (finished / "results.json").write_bytes(content)
    with pytest.raises(UserError, match=r"results\.json .*; " + AGAIN):
        read_run(finished)


@damaged
def test_nothing_is_removed_while_a_studys_needs_are_not_known(finished, content):
    [path] = (finished / "studies").iterdir()
    path.write_bytes(content)
    before = sorted(finished.rglob("*"))
    with pytest.raises(UserError, match="is damaged, so nobody knows what its study needs"):
        collect_garbage(finished, True, QUIET)
    assert sorted(finished.rglob("*")) == before


@damaged
def test_a_damaged_study_says_what_to_do_and_is_made_anew(pipelines, finished, content):
    (finished / "study.json").write_bytes(content)
    with pytest.raises(UserError, match=AGAIN):
        show_status(finished, QUIET)
    with pytest.raises(UserError, match=AGAIN):
        show_logs(finished, None, 9, QUIET)
    write_record(finished, pipelines, {"title": "a study"}, Outcome())
    show_status(finished, QUIET)


@damaged
def test_what_a_killed_run_was_writing_is_removed(finished, content):
    (finished / "study.json.1-2.new").write_bytes(content)
    collect_garbage(finished, True, QUIET)
    assert not list(finished.rglob("*.new"))


def test_a_clock_that_jumps_changes_nothing(tmp_path, monkeypatch, weights):
    real, chance = time.time, random.Random(0)
    monkeypatch.setattr(time, "time", lambda: real() + chance.uniform(-1e6, 1e6))
    began = time.perf_counter()
    asked = iter([False, False, True, True, True])
    stage = make_stage("align", SHORT)
    with pytest.raises(Stopped):
        execute.execute(stage, tmp_path / "out", Stack("organism"), stopping=lambda: next(asked))
    assert_same(trained(tmp_path / "out"), weights)
    about = json.loads((tmp_path / "out" / "provenance.json").read_text())
    assert 0 < about["seconds"] < time.perf_counter() - began


@pytest.mark.parametrize("jump", [-86400.0, -2.0, 3600.0])
def test_a_run_is_known_after_the_clock_was_set(tmp_path, monkeypatch, jump):
    """What the system says of a process's beginning moves with the clock."""
    me, before = psutil.Process(), psutil.Process().create_time()
    with running._noted(tmp_path, Launch()):
        module = sys.modules[type(me._proc).__module__]
        if hasattr(module, "boot_time"):
            boot = module.boot_time()
            monkeypatch.setattr(module, "boot_time", lambda: boot + jump)
            assert psutil.Process().create_time() == pytest.approx(before + jump, abs=0.5)
        assert (who_runs(tmp_path) or {})["pid"] == os.getpid()
        note = json.loads((tmp_path / "run.json").read_text())
        write_json(tmp_path / "run.json", {**note, "began": note["began"] - 1})
        assert who_runs(tmp_path) is None, "a process of the same number that began before"
    assert (tmp_path / "run.json").exists(), "the note of another run"


class Working(Pool):
    """Does what a worker does about a stage and notes who made what.

    Who makes the first one is at work until another run has been refused it.
    """

    def __init__(self, made, refused):
        super().__init__(size=2)
        self.made, self.refused, self.done = made, refused, set()

    def start(self, task):
        self.tasks.append(task)

    def events(self, timeout):
        task = self.tasks.pop()
        try:
            with stage_lock(task.folder):
                if not is_finished(task.folder, task.stage.identity):
                    if not self.made:
                        self.refused.wait(60)
                    self.made.append(task.stage.name)
                    write(task.folder, task.stage)
        except BusyError:
            self.refused.set()
            return [Event(task.stage, "busy")]
        return [Event(task.stage, "done")]


def test_three_runs_at_once_share_the_work(stages, tmp_path, monkeypatch):
    monkeypatch.setattr(engine, "_WAIT", 0.005)
    run(stages, tmp_path)
    damaged = stage_folder(tmp_path, stages[0])
    (damaged / "adapter_model.safetensors").write_text("cut")  # all of them find it
    for stage in stages[1:]:
        for path in stage_folder(tmp_path, stage).iterdir():
            path.unlink()
    made, errors, outcomes = [], [], []
    refused, together = threading.Event(), threading.Barrier(3, timeout=60)

    def one_run():
        try:
            together.wait()
            missing, outcome = missing_stages(stages, tmp_path, Watcher())
            together.wait()
            schedule(missing, tmp_path, Watcher(), Working(made, refused), outcome)
            outcomes.append(outcome)
            write_json(tmp_path / "results.json", {"records": list(range(20000))})
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=one_run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert refused.is_set(), "no two were at work on one stage at once"
    assert sorted(made) == sorted(stage.name for stage in stages), "a stage was made twice"
    assert [len(outcome.folders) for outcome in outcomes] == [len(stages)] * 3
    assert damaged.with_name(f"{damaged.name}.broken-1").exists()
    assert not damaged.with_name(f"{damaged.name}.broken-2").exists()
    assert len(json.loads((tmp_path / "results.json").read_text())["records"]) == 20000
    assert not list(tmp_path.rglob("*.new"))


def test_a_damaged_result_that_another_run_mends_is_left_to_it(stages, tmp_path):
    run(stages, tmp_path)
    folder = stage_folder(tmp_path, stages[0])
    (folder / "config.yaml").unlink()
    with stage_lock(folder):
        missing, _ = missing_stages(stages, tmp_path, Watcher())
    assert missing == [stages[0]]
    assert folder.exists()
    assert not list(folder.parent.glob("*.broken-*"))
