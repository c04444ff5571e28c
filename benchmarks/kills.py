"""SIGKILL a study at random moments, go on, and compare with a study that nobody disturbed.

    python benchmarks/kills.py [--kills 30] [--seed 0] [--output results/kills]

In turns the process that runs the study and one of its workers is killed; whenever the study comes
to its end, another one begins in a new folder. In the end: the same metrics as without a kill, no
half-written stage, and no stage made again after it was finished.
"""

import argparse
import json
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil

STUDY = """\
align: [sft, vaccine]
finetune: [sft, lisa]
repair: [null, antidote]
harmful_ratio: [0.1]
settings:
  align: {rows: 200}
  finetune: {rows: 200}
  repair: {rows: 50}
  evaluate: {limit: 40}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("results/kills"))
    options = parser.parse_args()
    shutil.rmtree(options.output, ignore_errors=True)
    options.output.mkdir(parents=True)
    found = disturb(options.output, STUDY, options.kills, random.Random(options.seed))
    print(json.dumps(found, indent=2))
    sys.exit(0 if found["identical"] and not found["half_written"] and not found["twice"] else 1)


def disturb(folder: Path, study: str, kills: int, chance: random.Random) -> dict[str, Any]:
    """Run a study undisturbed, then again and again with kills; gives what was found.

    Args:
        folder: where everything goes.
        study: the study file's text.
        kills: how many processes are killed.
        chance: decides when, and which worker.
    """
    file = folder / "study.yaml"
    file.write_text(study)
    began = time.perf_counter()
    _finish(file, folder / "undisturbed")
    length = time.perf_counter() - began
    wanted = _metrics(folder / "undisturbed")
    done, rounds, landed = 0, 0, {"parent": 0, "worker": 0}
    twice: set[str] = set()
    root = folder / "round-0"
    finished: dict[str, str] = {}
    while done < kills:
        whom = "worker" if done % 2 else "parent"
        process = _start(file, root)
        if _kill(process, whom, chance.uniform(0.1, 1.0) * length, chance):
            done += 1
            landed[whom] += 1
        if process.poll() == 0 or _is_over(root):
            twice |= _changed(root, finished)
            assert _metrics(root) == wanted, f"{root}: the metrics differ"
            rounds += 1
            root, finished = folder / f"round-{rounds}", {}
            continue
        twice |= _changed(root, finished)
        finished = _finished(root)
    _finish(file, root)
    twice |= _changed(root, finished)
    half = [str(path) for path in (folder).glob("round-*/stages/*.partial")]
    return {
        "kills": landed,
        "rounds": rounds + 1,
        "seconds undisturbed": round(length, 1),
        "identical": _metrics(root) == wanted,
        "half_written": half,
        "twice": sorted(twice),
    }


def _start(file: Path, root: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "holdfast.cli", "run", str(file), "--output", str(root)]
    return subprocess.Popen(
        [*command, "--workers", "2"], stdout=subprocess.DEVNULL, start_new_session=True
    )


def _finish(file: Path, root: Path) -> None:
    code = _start(file, root).wait()
    assert code == 0, f"the study ended with {code}"


def _kill(process: subprocess.Popen[bytes], whom: str, after: float, chance: random.Random) -> bool:
    """Kill after some seconds, and wait for the end; False where there was nothing left to kill."""
    time.sleep(after)
    if process.poll() is not None:
        return False
    if whom == "parent":
        process.kill()
        process.wait()
        return True
    # The workers are forked by a server, which is a child of the run's process.
    children = psutil.Process(process.pid).children(recursive=True)
    workers = [child for child in children if child.ppid() != process.pid]
    if not workers:
        process.kill()
        process.wait()
        return False
    chance.choice(workers).kill()
    process.wait()
    return True


def _finished(root: Path) -> dict[str, str]:
    """Every finished stage, and what tells it from one that is made again."""
    stages = root.glob("stages/*/provenance.json")
    return {path.parent.name: f"{path.stat().st_ino} {path.stat().st_mtime_ns}" for path in stages}


def _changed(root: Path, before: dict[str, str]) -> set[str]:
    now = _finished(root)
    return {name for name, mark in before.items() if now.get(name) != mark}


def _is_over(root: Path) -> bool:
    study = root / "study.json"
    if not study.exists():
        return False
    names = json.loads(study.read_text())["stages"]
    return set(names) <= _finished(root).keys() and (root / "results.json").exists()


def _metrics(root: Path) -> list[Any]:
    records = json.loads((root / "results.json").read_text())["records"]
    return [[record["coords"], record["metrics"]] for record in records]


if __name__ == "__main__":
    main()
