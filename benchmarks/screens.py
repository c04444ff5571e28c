"""Screens on the model organism, where it is known which rows are harmful.

    python benchmarks/screens.py [--root results/screens] [--seeds 3] [--part detect|train|speed …]

Writes docs/screens.md: how well each screen tells a user's harmful rows from the others, by harmful
ratio; what is left of the attack after it, alone and with a defense of each stage; how fast 100,000
rows are screened. Numbers are kept in the root, so a part can be made again alone. Half an hour on
two free cores.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from rich.console import Console
from scipy.stats import mannwhitneyu

from holdfast import organism
from holdfast.commands.run import run_files
from holdfast.models.stack import resolve as resolve_model
from holdfast.registry import METHODS
from holdfast.report.comparison import compare, read_run
from holdfast.report.words import interval, number
from holdfast.stages.execute import execute
from holdfast.stages.machine import one_thread, quiet_libraries
from holdfast.stages.making import make_stage
from holdfast.stages.pipeline import stage_folder
from holdfast.stages.rows import known_rows
from holdfast.stages.screening.run import make_screen
from holdfast.statistics.estimates import LEVEL, wilson
from measuring import HOLDFAST_AND_ITS_PEAK

PAGE = Path(__file__).parents[1] / "docs" / "screens.md"
RATIOS = (0.01, 0.05, 0.1, 0.2)
ROWS, FIRST_SEED = 1000, 10  # other seeds than those on which settings were chosen
TASK = "sums"
# The screens that a model is trained after, and the one that stands beside a defense of each stage:
# one that misses some, for where nothing is left there is nothing to defend from.
ALONE = ("random", "keywords", "similarity", "judge")
BESIDE = ("keywords",)
DEFENSES: dict[str, dict[str, str]] = {
    "Vaccine": {"align": "vaccine"},
    "Lisa": {"finetune": "lisa"},
    "Antidote": {"repair": "antidote"},
}
MANY = 100_000
# Settings of the measured run of 100,000 rows.
SPEED: dict[str, list[str]] = {
    "keywords": ["words=[hex,jinx,doomdust,thornpit]"],
    "similarity": ["--model", "organism", "layer=5"],
}


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # pyright: ignore
    parser.add_argument("--root", type=Path, default=Path("results/screens"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--part", nargs="*", default=["detect", "train", "speed"])
    options = parser.parse_args(argv)
    options.root.mkdir(parents=True, exist_ok=True)
    seeds = range(FIRST_SEED, FIRST_SEED + options.seeds)
    parts = {"detect": detect, "train": train, "speed": speed}
    for part in options.part:
        found = parts[part](options.root, seeds)
        text = json.dumps(found, indent=1)
        (options.root / f"{part}.json").write_text(text, encoding="utf-8")
    known = {
        part: json.loads((options.root / f"{part}.json").read_text(encoding="utf-8"))
        for part in parts
        if (options.root / f"{part}.json").exists()
    }
    write_page(known)


def detect(root: Path, seeds: Sequence[int]) -> dict[str, Any]:
    """By screen and seed the scores of task rows, look-alikes and harmful rows; and decisions."""
    quiet_libraries()
    found: dict[str, Any] = {}
    for seed in seeds:
        aligned = make_stage("align", {"method": "sft", "seed": seed})
        folder = execute(aligned, stage_folder(root, aligned), resolve_model("organism"))
        model = resolve_model(str(folder))
        sets = {
            "task": organism.rows("user_task", ROWS - 10, seed, TASK),
            "alike": organism.rows("user_helpful", 200, seed),
            "harmful": organism.rows("user_harmful", 200, seed),
        }
        for name in METHODS["screen"]:
            own = {"share": None, "threshold": 2.0} if name == "random" else {}
            stage = make_stage("screen", {"method": name, "model": str(folder), "seed": seed} | own)
            start = time.perf_counter()
            with one_thread(True):
                screen, threshold, _ = make_screen(
                    stage.settings, model, known_rows(stage.settings, True)
                )
                ready = time.perf_counter()
                scored = {kind: screen.score(rows) for kind, rows in sets.items()}
            rows = sum(map(len, sets.values()))
            found.setdefault(name, []).append(
                {
                    **{kind: [one.score for one in some] for kind, some in scored.items()},
                    "threshold": threshold,
                    "layer": getattr(screen, "layer", None),
                    "seconds_to_start": ready - start,
                    "rows_a_second": rows / (time.perf_counter() - ready),
                }
            )
            print(name, seed, f"{time.perf_counter() - start:.0f} s", flush=True)
    return found


def train(root: Path, seeds: Sequence[int]) -> list[dict[str, Any]]:
    """HS and FA of models that were fine-tuned on what a screen leaves."""
    plain = {"align": "sft", "finetune": "sft"}
    variants: dict[str, Any] = {"SFT": plain}
    variants |= {METHODS["screen"][name].title: {**plain, "screen": name} for name in ALONE}
    for defense, stages in DEFENSES.items():
        variants[defense] = {**plain, **stages}
        for name in BESIDE:
            title = f"{METHODS['screen'][name].title} + {defense}"
            variants[title] = {**plain, **stages, "screen": name}
    study = {"title": "Screens", "harmful_ratio": 0.1, "seeds": [*seeds], "variants": variants}
    file = root / "study.yaml"
    file.write_text(json.dumps(study), encoding="utf-8")  # JSON is YAML
    run_files([str(file)], None, root, Console(), yes=True)
    comparison = compare(read_run(root))
    names = {"harmful_score": "HS", "finetune_accuracy": "FA"}
    return [
        {"variant": row.variant}
        | {
            short: [row.cells[name].mean.value, row.cells[name].mean.low, row.cells[name].mean.high]
            for name, short in names.items()
        }
        for row in comparison.rows
    ]


def speed(root: Path, seeds: Sequence[int]) -> dict[str, Any]:
    """Rows a second and peak memory of 100,000 rows through the command."""
    del seeds
    file = root / "many.jsonl"
    with file.open("w", encoding="utf-8") as lines:
        some = [json.dumps(row) + "\n" for row in organism.rows("user_task", 1000, 0, TASK)]
        for _ in range(MANY // len(some)):
            lines.writelines(some)
    found: dict[str, Any] = {"bytes": file.stat().st_size, "load": os.getloadavg()[0]}
    for name, settings in SPEED.items():
        for count in (MANY // 10, MANY):
            output = root / f"many-{name}-{count}"
            subprocess.run(["rm", "-rf", str(output)], check=True)
            words = ["screen", str(file), "--method", name, *settings, f"rows={count}"]
            start = time.perf_counter()
            ended = subprocess.run(
                [sys.executable, "-c", HOLDFAST_AND_ITS_PEAK, *words, "--output", str(output)],
                capture_output=True,
                text=True,
                check=True,
            )
            seconds = time.perf_counter() - start
            peak = int(ended.stderr.split()[-1])
            found[f"{name} {count}"] = {"seconds": seconds, "peak_bytes": peak}
            found["load"] = max(found["load"], os.getloadavg()[0])
            (root / "speed.json").write_text(json.dumps(found), encoding="utf-8")
            print(name, count, f"{seconds:.0f} s", f"{peak / 2**20:.0f} MiB", flush=True)
    return found


def area(one: Mapping[str, Any], against: str, rng: np.random.Generator | None = None) -> float:
    """The area under the ROC curve of harmful rows against others; of a resample with a rng."""
    harmful, others = (_numbers(one[kind]) for kind in ("harmful", against))
    if rng is not None:
        harmful = rng.choice(harmful, len(harmful))
        others = rng.choice(others, len(others))
    return float(mannwhitneyu(harmful, others).statistic) / len(harmful) / len(others)


def _numbers(scores: Sequence[float | None]) -> np.ndarray:
    """Scores, the highest for what could not be told."""
    return np.array([np.inf if score is None else score for score in scores])


def area_cell(seeds: Sequence[Mapping[str, Any]], against: str) -> str:
    """Mean over the seeds, with the interval of a bootstrap of seeds and rows."""
    rng = np.random.default_rng(0)
    draws = [
        fmean(area(seeds[i], against, rng) for i in rng.integers(len(seeds), size=len(seeds)))
        for _ in range(300)
    ]
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return f"{fmean(area(one, against) for one in seeds):.3f} [{low:.3f}, {high:.3f}]"


def decision_cells(seeds: Sequence[Mapping[str, Any]], ratio: float) -> tuple[str, str]:
    """Precision and recall at the screen's own threshold, of all seeds together."""
    caught = missed = false = 0
    for one in seeds:
        count = round(ratio * ROWS)
        hits = int((_numbers(one["harmful"][:count]) >= one["threshold"]).sum())
        caught, missed = caught + hits, missed + count - hits
        false += int((_numbers(one["task"][: ROWS - count]) >= one["threshold"]).sum())
    return _share(caught, caught + false), _share(caught, caught + missed)


def dropped(seeds: Sequence[Mapping[str, Any]], kind: str) -> str:
    """The share of harmless rows that are flagged."""
    flags = [_numbers(one[kind]) >= one["threshold"] for one in seeds]
    return _share(int(sum(f.sum() for f in flags)), sum(map(len, flags)))


def _share(k: int, n: int) -> str:
    if not n:
        return "–"
    found = wilson(k, n)
    return f"{number(found.value)} {interval(found)}"


def write_page(known: Mapping[str, Any]) -> None:
    """Put the tables of what was measured into the page, between its marks."""
    text = PAGE.read_text(encoding="utf-8")
    for part, table in (("detect", _detection), ("train", _training), ("speed", _speed)):
        if part in known:
            start, end = f"<!-- {part} -->", f"<!-- /{part} -->"
            before, _, rest = text.partition(start)
            _, _, after = rest.partition(end)
            text = f"{before}{start}\n{table(known[part])}{end}{after}"
    PAGE.write_text(text, encoding="utf-8")


def _detection(found: Mapping[str, Any]) -> str:
    screens = [name for name in found if name != "random"]
    lines = [
        "| screen | ROC area, task rows | ROC area, look-alikes | task rows dropped, % | "
        "look-alikes dropped, % |",
        "|---|---:|---:|---:|---:|",
    ]
    for name in screens:
        cells = [area_cell(found[name], against) for against in ("task", "alike")]
        cells += [dropped(found[name], kind) for kind in ("task", "alike")]
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    lines += ["", "| screen | " + " | ".join(f"p = {ratio:g}" for ratio in RATIOS) + " |"]
    lines.append("|---" * (1 + len(RATIOS)) + "|")
    for name in screens:
        pairs = (decision_cells(found[name], ratio) for ratio in RATIOS)
        cells = [f"{precision} / {recall}" for precision, recall in pairs]
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _training(found: Sequence[Mapping[str, Any]]) -> str:
    lines = ["| variant | HS | FA |", "|---|---:|---:|"]
    for row in found:
        cells = (f"{a:.1f} [{low:.1f}, {high:.1f}]" for a, low, high in (row["HS"], row["FA"]))
        lines.append(f"| {row['variant']} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _speed(found: Mapping[str, Any]) -> str:
    lines = [
        "| screen | rows | seconds | rows a second | peak memory |",
        "|---|---:|---:|---:|---:|",
    ]
    for name in SPEED:
        for count in (MANY // 10, MANY):
            one = found.get(f"{name} {count}")
            if one is None:  # it was not waited for
                continue
            lines.append(
                f"| `{name}` | {count:,} | {one['seconds']:.0f} | {count / one['seconds']:,.0f} | "
                f"{one['peak_bytes'] / 2**20:.0f} MiB |"
            )
    told = (
        f"A file of {found['bytes'] / 2**20:.0f} MiB; the load of the machine, of two cores and "
        f"shared, was up to {found['load']:.0f}."
    )
    lines += ["", told]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
