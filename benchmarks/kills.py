"""SIGKILL a study at random moments, go on, and compare with a study that nobody disturbed.

    python benchmarks/kills.py [--kills 60] [--past 30] [--seed 0] [--output results/kills]

In turns one of its workers and the process that runs the study are killed; after the latter the
same command goes on. Whenever the study comes to its end, another one begins in a new folder. A
training writes a checkpoint every few steps, so that kills fall in the middle of one and resumes
start from one: so many of the kills wait until a training has one to go on from. All the while the
folder is looked at:

- metrics and weights of every study that came to its end, the log of every training's steps
  (metrics.jsonl) and every answer are those of the undisturbed one, to the last bit;
- every stage's folder is whole from the moment that it is there: all the files that its provenance
  names, in their sizes;
- a stage that is there is never written again, and none is set aside as damaged;
- nothing of an interruption is left in a study that came to its end.
"""

import argparse
import hashlib
import json
import random
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

STUDY = """\
align: [sft, vaccine]
finetune: [sft, lisa]
repair: [null, antidote]
harmful_ratio: [0.1]
settings:
  align: {rows: 200, save_steps: 5}
  finetune: {rows: 200, save_steps: 5}
  repair: {rows: 50}
  evaluate: {limit: 40}
"""
_LOOKED_EVERY = 0.02  # seconds between two looks at the folder


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--past", type=int, default=30, help="how many past a checkpoint, at least")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("results/kills"))
    options = parser.parse_args()
    shutil.rmtree(options.output, ignore_errors=True)
    options.output.mkdir(parents=True)
    chance = random.Random(options.seed)
    found = disturb(options.output, STUDY, options.kills, options.past, chance)
    print(json.dumps(found, indent=2))
    sys.exit(1 if found["faults"] else 0)


def disturb(
    folder: Path, study: str, kills: int, past: int, chance: random.Random
) -> dict[str, Any]:
    """Run a study undisturbed, then again and again with kills; gives what was found.

    Args:
        folder: where everything goes.
        study: the study file's text.
        kills: how many processes are killed, or more, until enough are past a checkpoint.
        past: how many of them while a training has a checkpoint to go on from, at least.
        chance: decides when, and which worker.
    """
    file = folder / "study.yaml"
    file.write_text(study)
    root = folder / "undisturbed"
    watch = Watch(root)
    process, began = _start(file, root), time.perf_counter()
    while not list(root.glob("stages/*")) and process.poll() is None:
        watch.look()
    starting = time.perf_counter() - began
    watch.until_over(process)
    length = time.perf_counter() - began
    assert process.returncode == 0, f"the undisturbed study ended with {process.returncode}"
    wanted, faults = _results(root), watch.faults
    killed: list[dict[str, Any]] = []
    rounds, compared = 0, 0

    def missing() -> int:
        """How many more kills must fall past a checkpoint."""
        return past - sum(_is_past(kill["under way"]) for kill in killed)

    def enough() -> bool:
        return len(killed) >= kills and missing() <= 0

    while not enough():
        root = folder / f"round-{rounds}"
        watch, rounds, over = Watch(root), rounds + 1, False
        while not over:  # the same command until the study has come to its end
            process = _start(file, root)
            while not enough():
                whom = ("worker", "parent")[len(killed) % 2]
                # Of the first moments, in which nothing but imports happens, some as well.
                first = 0.8 * starting if chance.random() < 0.8 and whom == "worker" else 0
                if not watch.wait(process, first + chance.uniform(0, length - starting)):
                    break
                # The last ones wait for it, where chance alone has not brought enough.
                aimed = missing() >= kills - len(killed)
                if aimed and not watch.wait_for_checkpoint(process):
                    break
                doing = _under_way(root)
                if not _kill(process, whom, chance):
                    continue  # no worker is there yet
                killed.append({"whom": whom, "under way": doing})
                print(
                    f"{len(killed)}: {whom}, at work: {', '.join(doing) or 'nothing'}", flush=True
                )
                if whom == "parent":
                    break
            watch.until_over(process)
            over = process.returncode == 0
            if process.returncode not in (0, -9):
                faults.append(f"{root.name} ended with {process.returncode}")
                over = True
        faults += watch.faults
        faults += [f"{path} is left over" for path in root.glob("stages/*.partial")]
        compared += 1
        faults += [f"{root.name}: {what} differs" for what in _differences(_results(root), wanted)]
    return {
        "kills": {whom: sum(k["whom"] == whom for k in killed) for whom in ("parent", "worker")},
        "while a stage was under way": sum(bool(k["under way"]) for k in killed),
        "while a training with a checkpoint was under way": sum(
            _is_past(kill["under way"]) for kill in killed
        ),
        "studies that came to their end": compared,
        "stages in each": len(wanted["weights"]),
        "seconds undisturbed": round(length, 1),
        "of them before the first stage": round(starting, 1),
        "faults": faults,
    }


@dataclass
class Watch:
    """Looks at the stages of a run all the time; `faults` takes what must not be."""

    root: Path
    faults: list[str] = field(default_factory=list)
    seen: dict[str, str] = field(default_factory=dict)

    def look(self) -> None:
        """See which stages are there, and that each of them is whole and the one that it was."""
        time.sleep(_LOOKED_EVERY)
        for path in self.root.glob("stages/*"):
            name = path.name
            if ".broken" in name and name not in self.seen:
                self.seen[name] = ""
                self.faults.append(f"{self.root.name}: {name} was set aside")
            if path.suffix or name.startswith("."):
                continue
            provenance = path / "provenance.json"
            try:
                about = provenance.stat()
                mark = f"{about.st_ino} {about.st_mtime_ns}"
                if self.seen.get(name) == mark:
                    continue
                files = json.loads(provenance.read_text())["files"]
                sizes = {file: (path / file).stat().st_size for file in files}
            except (OSError, ValueError, KeyError) as error:
                self.faults.append(f"{self.root.name}: {name} is not whole: {error!r}")
                continue
            if sizes != files:
                self.faults.append(f"{self.root.name}: {name} has files of other sizes")
            if name in self.seen:
                self.faults.append(f"{self.root.name}: {name} was made twice")
            self.seen[name] = mark
        if missing := self.seen.keys() - {path.name for path in self.root.glob("stages/*")}:
            self.faults.append(f"{self.root.name}: {missing} are gone")

    def wait(self, process: subprocess.Popen[bytes], seconds: float) -> bool:
        """Look for so long; False where the process has ended before."""
        until = time.monotonic() + seconds
        while time.monotonic() < until and process.poll() is None:
            self.look()
        return process.poll() is None

    def wait_for_checkpoint(self, process: subprocess.Popen[bytes]) -> bool:
        """Look until a training has a checkpoint; False where the process has ended before."""
        while process.poll() is None:
            if _is_past(_under_way(self.root)):
                return True
            self.look()
        return False

    def until_over(self, process: subprocess.Popen[bytes]) -> None:
        """Look until the process has ended, and once more."""
        while process.poll() is None:
            self.look()
        self.look()


def _start(file: Path, root: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "holdfast.cli", "run", str(file), "--output", str(root)]
    return subprocess.Popen(
        [*command, "--workers", "2"], stdout=subprocess.DEVNULL, start_new_session=True
    )


def _kill(process: subprocess.Popen[bytes], whom: str, chance: random.Random) -> bool:
    """Kill the process or one of its workers; False where it has none."""
    if whom == "parent":
        process.kill()
        return True
    try:
        # The workers are forked by a server, which is a child of the run's process.
        children = psutil.Process(process.pid).children(recursive=True)
        workers = [child for child in children if child.ppid() != process.pid]
        if workers:
            chance.choice(workers).kill()
        return bool(workers)
    except psutil.NoSuchProcess:
        return False


def _under_way(root: Path) -> list[str]:
    """The stages that are under way, and whether they have a checkpoint to go on from."""
    found = []
    for path in sorted(root.glob("stages/*.partial")):
        has = any(path.glob("checkpoints/checkpoint-*/trainer_state.json"))
        found.append(path.stem + (" after a checkpoint" if has else ""))
    return found


def _is_past(doing: list[str]) -> bool:
    """Whether one of the stages under way has a checkpoint to go on from."""
    return any("checkpoint" in one for one in doing)


def _results(root: Path) -> dict[str, dict[str, Any]]:
    """All numbers that a study found, and a hash of every stage's weights, log or answers."""
    try:
        records = json.loads((root / "results.json").read_text())["records"]
    except (OSError, ValueError):
        records = []
    weights = {}
    for path in root.glob("stages/*/provenance.json"):
        patterns = ("*.safetensors", "metrics.jsonl", "answers.jsonl", "samples.jsonl")
        files = sorted(file for pattern in patterns for file in path.parent.glob(pattern))
        digest = hashlib.sha256(b"".join(file.read_bytes() for file in files))
        weights[path.parent.name] = digest.hexdigest()
    return {
        "metrics": {str(record["coords"]): record["metrics"] for record in records},
        "weights": weights,
    }


def _differences(found: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    return [
        f"{kind} of {name}"
        for kind, entries in wanted.items()
        for name in entries | found[kind]
        if found[kind].get(name) != entries.get(name)
    ]


if __name__ == "__main__":
    main()
