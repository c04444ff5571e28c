"""The schedule: order, sharing, failures, dead processes, other runs, damaged results."""

import json

import pytest

from fake_stages import SPEC, Pool, run, write
from holdfast.engine import schedule as engine
from holdfast.engine.schedule import failure_file
from holdfast.errors import UserError
from holdfast.stages.folders import is_locked, stage_lock
from holdfast.stages.pipeline import all_stages, stage_folder
from holdfast.studies.grid import expand
from holdfast.studies.study import make_study


@pytest.fixture(scope="module")
def stages():
    return all_stages(expand(make_study(SPEC, "here")))


def of_kind(stages, kind):
    return [stage for stage in stages if stage.kind == kind]


@pytest.mark.parametrize("size", [1, 3, 100])
def test_every_stage_runs_once_after_what_it_needs(stages, tmp_path, size):
    outcome, watcher, pool = run(stages, tmp_path, Pool(size))
    assert sorted(pool.seen) == sorted(stage.name for stage in stages)
    assert outcome.folders.keys() == {stage.identity for stage in stages}
    assert {how for _, how in watcher.ends} == {"done"}
    _, watcher, pool = run(stages, tmp_path)
    assert pool.seen == []
    assert {how for _, how in watcher.ends} == {"cached"}


def test_what_needs_a_failed_stage_is_skipped_and_the_rest_goes_on(stages, tmp_path):
    bad = next(s for s in of_kind(stages, "align") if s.settings["method"] == "vaccine")
    lost = [s for s in stages if bad in (s.parent, s.reference) or s is bad]
    lost += [s for s in stages if s.parent in lost]
    outcome, watcher, _ = run(stages, tmp_path, Pool(plan={bad.name: [("failed", "boom")]}))
    assert outcome.failures == {bad.identity: "boom"}
    assert outcome.mistakes == {}
    skipped = {stage.name for stage in outcome.skipped}
    assert skipped == {stage.name for stage in lost} - {bad.name}
    assert len(outcome.folders) == len(stages) - len(skipped) - 1
    assert [name for name, how in watcher.ends if how == "skipped"].count(lost[1].name) == 1


def test_a_failure_is_remembered_until_it_is_to_be_tried_again(stages, tmp_path):
    bad = of_kind(stages, "evaluate")[0]
    run(stages, tmp_path, Pool(plan={bad.name: [("failed", "line\nboom")]}))
    assert json.loads(failure_file(tmp_path, bad).read_text())["error"] == "line\nboom"
    outcome, watcher, pool = run(stages, tmp_path)
    assert pool.seen == []
    assert outcome.failures == {bad.identity: "line\nboom"}
    assert (bad.name, "failed before") in watcher.ends
    outcome, _, pool = run(stages, tmp_path, retry_failed=True)
    assert pool.seen == [bad.name]
    assert outcome.failures == {}
    assert not failure_file(tmp_path, bad).exists()
    # A record that a kill has torn is none.
    failure_file(tmp_path, bad).write_text("{")
    assert engine.recorded_failure(tmp_path, bad) is None


def test_a_users_mistake_is_not_remembered(stages, tmp_path):
    bad = of_kind(stages, "evaluate")[0]
    outcome, _, _ = run(stages, tmp_path, Pool(plan={bad.name: [("mistake", "no login")]}))
    assert outcome.mistakes == outcome.failures == {bad.identity: "no login"}
    outcome, _, pool = run(stages, tmp_path)
    assert pool.seen == [bad.name]
    assert outcome.failures == {}


def test_what_diverged_is_not_tried_again_unless_asked(stages, tmp_path):
    bad = of_kind(stages, "align")[0]
    outcome, _, _ = run(stages, tmp_path, Pool(plan={bad.name: [("diverged", "loss is nan")]}))
    assert outcome.mistakes == outcome.failures == {bad.identity: "loss is nan"}
    outcome, watcher, pool = run(stages, tmp_path)
    assert pool.seen == []
    assert outcome.failures == {bad.identity: "loss is nan"}
    assert (bad.name, "failed before") in watcher.ends
    assert run(stages, tmp_path, retry_failed=True)[0].failures == {}


def test_a_dead_process_is_tried_again_and_not_for_ever(stages, tmp_path):
    stage = of_kind(stages, "align")[0]
    died = ("died", "its process ended unexpectedly (exit code -9)")
    outcome, watcher, pool = run(stages, tmp_path, Pool(plan={stage.name: [died, died]}))
    assert pool.seen.count(stage.name) == 3
    assert outcome.failures == {}
    assert len(watcher.notes) == 2
    outcome, _, pool = run(stages, tmp_path / "2", Pool(plan={stage.name: [died] * 9}))
    assert pool.seen.count(stage.name) == 3
    assert "exit code -9), 3 times" in outcome.failures[stage.identity]


def test_a_full_disk_stops_everything(stages, tmp_path):
    first = of_kind(stages, "align")[0]
    with pytest.raises(UserError, match="the disk is full"):
        run(stages, tmp_path, Pool(1, plan={first.name: [("disk", "the disk is full at …")]}))


def test_a_stage_at_work_elsewhere_is_waited_for(stages, tmp_path, monkeypatch):
    monkeypatch.setattr(engine, "_WAIT", 0.01)
    stage = of_kind(stages, "align")[0]

    class Elsewhere(Pool):
        def events(self, timeout):
            if self.tasks[-1].stage is stage and self.seen.count(stage.name) == 3:
                write(self.tasks[-1].folder, stage)  # the other run has come to its end
                self.done.add(stage.name)
            return super().events(timeout)

    busy = ("busy", "")
    outcome, watcher, pool = run(stages, tmp_path, Elsewhere(plan={stage.name: [busy] * 3}))
    assert pool.seen.count(stage.name) == 3
    assert (stage.name, "cached") in watcher.ends
    assert len(watcher.notes) == 1, "told once, not at every look"
    assert len(outcome.folders) == len(stages)


@pytest.mark.parametrize(
    ("damage", "file"),
    [
        (lambda folder: (folder / "adapter_model.safetensors").write_text("w"), "adapter_model"),
        (lambda folder: (folder / "config.yaml").unlink(), "config.yaml"),
        (lambda folder: (folder / "provenance.json").write_text("{"), "provenance.json"),
    ],
)
def test_a_damaged_result_is_set_aside_and_made_again(stages, tmp_path, damage, file):
    run(stages, tmp_path)
    stage = of_kind(stages, "finetune")[0]
    damage(stage_folder(tmp_path, stage))
    outcome, watcher, pool = run(stages, tmp_path)
    assert pool.seen == [stage.name]
    assert len(outcome.folders) == len(stages)
    assert file in watcher.notes[0]
    assert stage_folder(tmp_path, stage).with_name(f"{stage.name}.broken-1").exists()
    damage(stage_folder(tmp_path, stage))
    run(stages, tmp_path)
    assert stage_folder(tmp_path, stage).with_name(f"{stage.name}.broken-2").exists()


def test_a_lock_keeps_others_out_and_is_gone_with_success(tmp_path):
    folder = tmp_path / "stage"
    assert not is_locked(folder)
    with stage_lock(folder):
        assert is_locked(folder)
        with pytest.raises(UserError, match="another run is at work on"), stage_lock(folder):
            pass
    assert not is_locked(folder)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(RuntimeError), stage_lock(folder):
        raise RuntimeError
    with stage_lock(folder):
        pass
