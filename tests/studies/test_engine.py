"""The schedule: order, sharing, failures, dead processes, other runs, damaged results. No training:
a pool that writes a stage's folder at once, or does what the test says, stands in for processes."""

import json

import pytest

from holdfast.errors import UserError
from holdfast.studies import engine
from holdfast.studies.engine import Event, failure_file, missing_stages, schedule, stage_folder
from holdfast.studies.folders import is_locked, stage_lock
from holdfast.studies.grid import expand
from holdfast.studies.plan import all_stages
from holdfast.studies.study import make_study

SPEC = {"align": ["sft", "vaccine"], "finetune": ["sft", "lisa"], "harmful_ratio": [0.1]}


class Watcher:
    def __init__(self):
        self.ends, self.notes, self.starts = [], [], []

    def begun(self, stage):
        self.starts.append(stage.name)

    def moved(self, stage, share, note):
        pass

    def ended(self, stage, outcome):
        self.ends.append((stage.name, outcome))

    def told(self, note):
        self.notes.append(note)


class Pool:
    """Runs each stage to its end at once, last come first; `plan` says how stages end instead."""

    def __init__(self, size=2, plan=None):
        self.size, self.plan, self.tasks, self.seen = size, plan or {}, [], []

    @property
    def room(self):
        return self.size - len(self.tasks)

    def start(self, task):
        for need in (task.stage.parent, task.stage.reference):
            assert need is None or need.name in self.done, "a stage began before what it needs"
        self.tasks.append(task)
        self.seen.append(task.stage.name)

    done: set

    def events(self, timeout):
        task = self.tasks.pop()
        ways = self.plan.get(task.stage.name, [])
        kind, text = ways.pop(0) if ways else ("done", "")
        if kind == "done":
            write(task.folder, task.stage)
            self.done.add(task.stage.name)
        return [Event(task.stage, "moved", "half", 0.5), Event(task.stage, kind, text)]


def write(folder, stage):
    """A finished stage, as far as the engine looks at it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "adapter_model.safetensors").write_text("weights")
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "organism"}')
    (folder / "config.yaml").write_text("base: organism\n")
    sizes = {path.name: path.stat().st_size for path in folder.iterdir()}
    provenance = {"identity": stage.identity, "files": sizes}
    (folder / "provenance.json").write_text(json.dumps(provenance))


def run(stages, root, pool=None, **options):
    pool, watcher = pool or Pool(), Watcher()
    pool.done = {s.name for s in stages if stage_folder(root, s).exists()}
    missing, outcome = missing_stages(stages, root, watcher)
    schedule(missing, root, watcher, pool, outcome, **options)
    return outcome, watcher, pool


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
