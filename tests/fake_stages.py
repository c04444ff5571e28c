"""Stages without training: a pool that writes a stage's folder at once, or does what the test says,
stands in for processes."""

import json

from holdfast.engine.schedule import Event, missing_stages, schedule
from holdfast.stages.pipeline import stage_folder
from holdfast.stages.whole import written_files

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


def write(folder, stage, budget=None):
    """A finished stage, as far as the engine looks at it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "adapter_model.safetensors").write_text("weights")
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "organism"}')
    (folder / "config.yaml").write_text("base: organism\n")
    provenance = {"identity": stage.identity, **written_files(folder)}
    provenance |= {"seconds": 1.0, "peak_memory_bytes": 1, "budget": budget or {}}
    (folder / "provenance.json").write_text(json.dumps(provenance))


def run(stages, root, pool=None, **options):
    pool, watcher = pool or Pool(), Watcher()
    pool.done = {s.name for s in stages if stage_folder(root, s).exists()}
    missing, outcome = missing_stages(stages, root, watcher)
    schedule(missing, root, watcher, pool, outcome, **options)
    return outcome, watcher, pool
