"""The organism's tables: every method and its control, at three strengths of the attack.

    python benchmarks/organism_tables.py [--output results/tables] [--workers 2] [--seeds 5]

Harmful ratio 0.1; the user's fine-tuning as it is, at 3 × the learning rate, and at 3 × the epochs.
The settings were chosen on other seeds by benchmarks/search_organism.py. Writes
docs/organism-tables.md.
"""

import argparse
from pathlib import Path
from typing import Any

from rich.console import Console

from holdfast.commands.pipelines import run_pipelines
from holdfast.engine.run import Launch
from holdfast.report.comparison import Run, compare, read_run
from holdfast.report.table import markdown_table
from holdfast.stages.defaults import ORGANISM
from holdfast.stages.making import make_pipeline
from holdfast.stages.pipeline import Pipeline

ROOT = Path(__file__).parent.parent
TUNED = ORGANISM["finetune"]
STRENGTHS: dict[str, dict[str, Any]] = {
    "The user's fine-tuning as it is": {},
    "3 × the learning rate": {"learning_rate": 3 * TUNED["learning_rate"]},
    "3 × the epochs": {"num_train_epochs": 3 * TUNED["num_train_epochs"]},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("results/tables"))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    seeds = range(options.seeds)
    text = [
        "# The organism: every method and its control",
        "",
        f"Written by `python benchmarks/organism_tables.py`; seeds 0 to {options.seeds - 1}, none "
        "of which chose a setting. HS: harmful score; FA: fine-tune accuracy; 95 % intervals.",
    ]
    parts = {"After alignment, before any fine-tuning": [_aligned(seed) for seed in seeds]}
    parts |= {
        title: [_tuned(seed, attack) for seed in seeds] for title, attack in STRENGTHS.items()
    }
    for title, made in parts.items():
        runs = [pipeline for of_seed in made for pipeline in of_seed]
        run_pipelines(runs, options.output, Launch(options.workers), Console(), title)
        run = read_run(options.output)
        text += ["", f"## {title}", "", markdown_table(run, compare(run)).rstrip()]
        if title in STRENGTHS:
            text += ["", *_against_controls(run)]
    (ROOT / "docs").mkdir(exist_ok=True)
    (ROOT / "docs" / "organism-tables.md").write_text("\n".join(text) + "\n", encoding="utf-8")


# (what, its row, its control's), as the tables name them.
PAIRS = (
    ("Vaccine − random perturbation", "Vaccine", "random perturbation"),
    ("T-Vaccine − random perturbation", "T-Vaccine", "random perturbation"),
    ("Lisa − ρ = 0", "Lisa", "Lisa (ρ = 0)"),
    (
        "Lisa (ρ = 0.1, 5 + 20 steps) − ρ = 0",
        "Lisa (ρ = 0.1, 5 + 20 steps)",
        "Lisa (ρ = 0, 5 + 20 steps)",
    ),
    (
        "Lisa (ρ = 0.3, 5 + 20 steps) − ρ = 0",
        "Lisa (ρ = 0.3, 5 + 20 steps)",
        "Lisa (ρ = 0, 5 + 20 steps)",
    ),
    ("Antidote − random mask", "Antidote", "random mask"),
    ("Antidote − random mask (α = 0.1)", "Antidote (α = 0.1)", "random mask (α = 0.1)"),
)


def _against_controls(run: Run) -> list[str]:
    """Each method against its control: paired over seeds and prompts."""
    lines = [
        "Each method minus its control, paired over seeds and prompts (below zero: the method's is "
        "lower):",
        "",
        "| difference | HS | FA |",
        "|---|---:|---:|",
    ]
    for what, method, control in PAIRS:
        rows = compare(run, baseline=control).rows
        row = next(row for row in rows if row.variant == method)
        cells = []
        for metric in ("harmful_score", "finetune_accuracy"):
            found = row.cells[metric].difference
            assert found is not None
            cells.append(f"{found.value:+.1f} [{found.low:+.1f}, {found.high:+.1f}]")
        lines.append(f"| {what} | {cells[0]} | {cells[1]} |")
    return lines


def _aligned(seed: int) -> list[Pipeline]:
    methods = ("sft", "vaccine", "t_vaccine", "random_perturbation")
    base = make_pipeline({"seed": seed})
    return [base, *(make_pipeline({"align": method, "seed": seed}) for method in methods)]


def _tuned(seed: int, attack: dict[str, Any]) -> list[Pipeline]:
    bso = {"method": "lisa", "rho": 0.0}
    # Few alignment steps to many of the user's, where the paper says that the proximal term counts.
    bso_5, medium_5, strong_5 = (
        {"method": "lisa", "rho": rho, "alignment_steps": 5} for rho in (0.0, 0.1, 0.3)
    )
    magnitude = {"method": "antidote", "score": "magnitude"}
    benign = {"method": "antidote", "source": "benign"}
    more = {"dense_ratio": 0.1}
    rows: list[tuple[Any, Any, Any, float, str]] = [
        ("sft", "sft", None, 0.0, ""),
        ("sft", "sft", None, 0.1, ""),
        ("vaccine", "sft", None, 0.1, ""),
        ("t_vaccine", "sft", None, 0.1, ""),
        ("random_perturbation", "sft", None, 0.1, ""),
        ("sft", "lisa", None, 0.1, ""),
        ("sft", bso, None, 0.1, "ρ = 0"),
        ("sft", bso_5, None, 0.1, "ρ = 0, 5 + 20 steps"),
        ("sft", medium_5, None, 0.1, "ρ = 0.1, 5 + 20 steps"),
        ("sft", strong_5, None, 0.1, "ρ = 0.3, 5 + 20 steps"),
        ("sft", "sft", "antidote", 0.1, ""),
        ("sft", "sft", magnitude, 0.1, "magnitude"),
        ("sft", "sft", benign, 0.1, "benign rows"),
        ("sft", "sft", "random_mask", 0.1, ""),
        ("sft", "sft", {"method": "antidote", **more}, 0.1, "α = 0.1"),
        ("sft", "sft", {"method": "random_mask", **more}, 0.1, "α = 0.1"),
        ("vaccine", "lisa", "antidote", 0.1, ""),
    ]
    made = []
    for align, finetune, repair, ratio, variant in rows:
        if attack and align == "vaccine" and finetune == "lisa":
            continue  # a costly row that shows nothing new there
        tuned = {"method": finetune} if isinstance(finetune, str) else dict(finetune)
        spec = {"align": align, "finetune": {**tuned, **attack}, "repair": repair}
        made.append(make_pipeline({**spec, "harmful_ratio": ratio, "seed": seed}, variant=variant))
    return made


if __name__ == "__main__":
    main()
