"""What the engine itself costs: planning a study, each stage, and running a finished study again.

    python benchmarks/engine.py [--study examples/defenses.yaml] [--sizes 10 100 1000 10000]

Planning: `holdfast run FILE --plan` for grids of the sizes, of all methods and three axes; the
import is told apart. Engine: the study is run with stand-ins for its stages, which write a made-up
result at once; what is left is the engine's time (plan, records, folders, schedule, table), and a
second run in a process of its own, as a user starts it, finds all of them there.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import yaml
from rich.console import Console
from rich.table import Table

from holdfast import protocols
from holdfast.commands.run import run_files
from holdfast.engine.schedule import Event, Task
from holdfast.stages.disk import CONFIG, write_json
from holdfast.stages.folders import PROVENANCE
from holdfast.stages.pipeline import Stage
from holdfast.stages.whole import written_files
from holdfast.statistics.estimates import wilson

VARIANTS = {
    "SFT": {"align": "sft", "finetune": "sft"},
    "no alignment": {"finetune": "sft"},
    "Vaccine": {"align": "vaccine", "finetune": "sft"},
    "T-Vaccine": {"align": "t_vaccine", "finetune": "sft"},
    "Random perturbation": {"align": "random_perturbation", "finetune": "sft"},
    "Lisa": {"align": "sft", "finetune": "lisa"},
    "BSO": {"align": "sft", "finetune": {"method": "lisa", "rho": 0}},
    "Antidote": {"align": "sft", "finetune": "sft", "repair": "antidote"},
    "Random mask": {"align": "sft", "finetune": "sft", "repair": "random_mask"},
    "all three": {"align": "vaccine", "finetune": "lisa", "repair": "antidote"},
}
# Metrics of the organism's protocol and how many answers each is of.
METRICS = {
    "harmful_score": 200,
    "refusal_rate": 200,
    "harmful_correct": 200,
    "over_refusal_rate": 100,
    "benign_accuracy": 100,
    "coherence": 300,
    "finetune_accuracy": 200,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--study", type=Path, default=Path("examples/defenses.yaml"))
    parser.add_argument("--sizes", type=int, nargs="+", default=[10, 100, 1000, 10_000])
    options = parser.parse_args()
    console = Console()
    imported = seconds(lambda: subprocess.run([*COMMAND, "--help"], check=True, **QUIET))
    console.print(f"importing and --help: {imported:.2f} s")
    table = Table("pipelines", "seconds to plan", "ms a pipeline", title="Planning")
    with tempfile.TemporaryDirectory() as folder:
        plan_seconds(10, Path(folder))  # reads the methods' settings, once
        for size in options.sizes:
            taken, count = plan_seconds(size, Path(folder))
            table.add_row(f"{count:,}", f"{taken:.2f}", f"{1e3 * taken / count:.2f}")
        console.print(table)
        root = Path(folder) / "run"
        first, stages = run_seconds([str(options.study)], root)
        console.print(
            f"{options.study}: {stages:,} stages that do nothing: {first:.1f} s, "
            f"{1e3 * first / stages:.1f} ms a stage"
        )
        again = [*COMMAND, "run", str(options.study), "--output", str(root)]
        second = seconds(lambda: subprocess.run(again, check=True, **QUIET))
        console.print(f"a second run of it: {second:.1f} s")


COMMAND = [sys.executable, "-m", "holdfast.cli"]
QUIET: dict[str, Any] = {"stdout": subprocess.DEVNULL}


def seconds(do: Callable[[], object]) -> float:
    """How long it takes."""
    began = time.perf_counter()
    do()
    return time.perf_counter() - began


def plan_seconds(size: int, folder: Path) -> tuple[float, int]:
    """How long a grid of about so many pipelines, 10 to 10,000, takes to plan; how many it has."""
    seeds, rates, ratios = (max(1, min(10, size // below)) for below in (10, 100, 1000))
    spec = {
        "variants": VARIANTS,
        "seeds": seeds,
        "vary": {"finetune.learning_rate": [1e-4 * (1 + n) for n in range(rates)]},
        "harmful_ratio": [n / 100 for n in range(ratios)],
    }
    file = folder / f"grid-{size}.yaml"
    file.write_text(yaml.safe_dump(spec))
    count = len(VARIANTS) * seeds * rates * ratios
    taken = seconds(lambda: run_files([str(file)], None, folder / "none", nowhere(), plan=True))
    return taken, count


def run_seconds(words: Sequence[str], root: Path) -> tuple[float, int]:
    """How long a study takes whose stages take no time, and how many stages it has."""
    with patch("holdfast.engine.pool.local_pool", stand_ins):
        taken = seconds(lambda: run_files(list(words), None, root, nowhere(), yes=True))
    return taken, len(list(root.glob(f"stages/*/{PROVENANCE}")))


def nowhere() -> Console:
    """A console that shows nothing."""
    return Console(quiet=True)


class StandIns:
    """A pool whose stages end as soon as they begin."""

    room = 1

    def __init__(self) -> None:
        self.done: list[Stage] = []

    def start(self, task: Task) -> None:
        """Write a made-up result."""
        write_result(task.stage, task.folder)
        self.done.append(task.stage)

    def events(self, timeout: float | None) -> list[Event]:
        """The ends since."""
        ended, self.done = self.done, []
        return [Event(stage, "done") for stage in ended]


@contextmanager
def stand_ins(_workers: int) -> Iterator[StandIns]:
    """In the place of `holdfast.engine.pool.local_pool`."""
    yield StandIns()


def write_result(stage: Stage, folder: Path) -> None:
    """A finished stage with made-up content, all that a report reads of it."""
    folder.mkdir(parents=True)
    chance = random.Random(stage.identity)
    if stage.kind == "evaluate":
        outcomes = {name: _answers(chance, count) for name, count in METRICS.items()}
        metrics = {name: wilson(sum(own), len(own)).record() for name, own in outcomes.items()}
        protocol = protocols.get(stage.settings["protocol"]).record()
        write_json(
            folder / "evaluation.json",
            {"protocol": protocol, "judges": [], "metrics": metrics, "outcomes": outcomes},
        )
    else:
        (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "organism"}')
        (folder / "adapter_model.safetensors").write_bytes(b"")
    (folder / CONFIG).write_text(json.dumps({**stage.settings, "base": "organism"}))
    budget = {"rows": 1000, "steps": 100, "tokens": 10_000, "passes": 100}
    prompts = f"{stage.settings['seed']} {stage.settings.get('task')}"
    write_json(
        folder / PROVENANCE,
        {
            "identity": stage.identity,
            "kind": stage.kind,
            "seconds": 1.0,
            "peak_memory_bytes": 1,
            "seed": stage.settings["seed"],
            "data": {name: {"fingerprint": prompts} for name in ("harmful", "benign", "task")},
            "overlaps": [],
            "budget": budget,
            **written_files(folder),
        },
    )


def _answers(chance: random.Random, count: int) -> list[int]:
    rate = chance.random()
    return [int(chance.random() < rate) for _ in range(count)]


if __name__ == "__main__":
    main()
