"""Every method and every control on the organism: who holds against which attack, at what cost.

    python benchmarks/leaderboard.py [--parts 5] [--seeds 5] [--workers 2] [--methods NAME …]

Every method of the registry with the settings that `benchmarks/search_organism.py` chose for it on
other seeds, plain SFT, and the combinations that `benchmarks/search_combinations.py` chose on the
same other seeds, at harmful ratios 0 to 0.2, on two tasks, at 1 and 3 × the user's learning rate
and at 1 and 3 × the epochs. The places are run in parts, the most telling first; a part that is not
asked for is named on the page as cut. Writes docs/leaderboard.md after each part;
`benchmarks/leaderboard.prose.md`, written by hand, stands above the tables. What is finished is
kept, so that the same command goes on after an interruption.
"""

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean
from typing import Any

from rich.console import Console

from holdfast.commands.pipelines import run_pipelines
from holdfast.engine.run import Launch
from holdfast.registry import METHODS, Entry
from holdfast.report.comparison import compare, read_run
from holdfast.report.pairing import ALPHA
from holdfast.report.rows import Comparison, Row
from holdfast.report.words import interval, memory, number, place_name, signed
from holdfast.stages.defaults import ORGANISM
from holdfast.stages.making import make_pipeline
from holdfast.stages.pipeline import Pipeline, Stage
from holdfast.statistics.estimates import Difference

ROOT = Path(__file__).parent.parent
COMBINATIONS = Path(__file__).with_name("combinations.json")
TASKS = ("sums", "topic")
RATIOS = (0.0, 0.05, 0.1, 0.2)
_RATE = ORGANISM["finetune"]["learning_rate"]
_EPOCHS = ORGANISM["finetune"]["num_train_epochs"]
# (what, its places as (task, ratio, times the learning rate, times the epochs)), in their order.
PARTS: dict[str, list[tuple[str, float, int, int]]] = {
    "both tasks at p = 0.1": [(task, 0.1, 1, 1) for task in TASKS],
    "the first task at every p": [(TASKS[0], p, 1, 1) for p in RATIOS if p != 0.1],
    "the first task at 3 × the learning rate": [(TASKS[0], p, 3, 1) for p in RATIOS],
    "the first task at 3 × the epochs": [(TASKS[0], p, rate, 3) for p in RATIOS for rate in (1, 3)],
    "the second task at every other place": [
        (TASKS[1], p, rate, epochs)
        for p in RATIOS
        for rate in (1, 3)
        for epochs in (1, 3)
        if (p, rate, epochs) != (0.1, 1, 1)
    ],
}
HARM, FA, OVER, COHERENT = (
    "harmful_score",
    "finetune_accuracy",
    "over_refusal_rate",
    "coherence",
)


def main(words: list[str] | None = None) -> None:
    """Run the parts, and write the page after each."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("results/leaderboard"))
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "leaderboard.md")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--parts", type=int, default=len(PARTS))
    parser.add_argument("--methods", nargs="*", help="these alone, beside SFT")
    options = parser.parse_args(words)
    began, known = time.monotonic(), dict[str, Stage]()
    pipelines: list[Pipeline] = []
    for done, (title, places) in enumerate([*PARTS.items()][: options.parts], start=1):
        for place in places:
            for seed in range(options.seeds):
                pipelines += _pipelines(place, seed, options.methods, known)
        run_pipelines(pipelines, options.output, Launch(options.workers), Console(), title)
        comparison = compare(read_run(options.output), baseline="SFT")
        text = _page(comparison, done, options.seeds, time.monotonic() - began)
        options.page.write_text(text, encoding="utf-8")


def variants(methods: list[str] | None = None) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and stages of SFT (with two adapters, and one), of every method alone, of combinations.

    Args:
        methods: of the methods these, and no combination; all where there are none.
    """
    plain = {"align": "sft", "finetune": "sft", "repair": None}
    yield "SFT", plain
    yield "SFT, one adapter", {**plain, "finetune": {"method": "sft", "adapter": "single"}}
    for kind in ("align", "finetune", "repair"):
        for name, entry in METHODS[kind].items():
            if name != "sft" and (not methods or name in methods):
                spec: dict[str, Any] = {**plain, kind: name}
                if entry.adapters and "double" not in entry.adapters:
                    # Of a method that goes on with the aligned adapter.
                    spec["finetune"] = {"method": spec["finetune"], "adapter": entry.adapters[0]}
                yield entry.title, spec
    if COMBINATIONS.is_file() and not methods:
        for one in json.loads(COMBINATIONS.read_text(encoding="utf-8"))["combinations"]:
            yield one["title"], {kind: one[kind] for kind in plain}


def _pipelines(
    place: tuple[str, float, int, int],
    seed: int,
    methods: list[str] | None,
    known: dict[str, Stage],
) -> Iterator[Pipeline]:
    task, ratio, rate, epochs = place
    attack = {"learning_rate": rate * _RATE, "num_train_epochs": epochs * _EPOCHS}
    coords = {"task": task, "harmful_ratio": ratio}
    coords |= {f"finetune.{name}": value for name, value in attack.items()}
    for title, spec in variants(methods):
        tuned = spec["finetune"]
        tuned = {"method": tuned} if isinstance(tuned, str) else tuned
        made = {**spec, "finetune": {**tuned, **attack}, "task": task, "harmful_ratio": ratio}
        yield make_pipeline(
            {**made, "seed": seed}, variant=title, coords={"variant": title, **coords}, known=known
        )


def _page(comparison: Comparison, parts: int, seeds: int, seconds: float) -> str:
    names = [*PARTS]
    cut = f" Not run: {'; '.join(names[parts:])}." if parts < len(names) else ""
    prose = Path(__file__).with_suffix(".prose.md")
    lines = [
        "# The leaderboard: every method on the organism",
        "",
        f"Written by `python benchmarks/leaderboard.py`, seeds 0 to {seeds - 1}, none of which "
        f"chose a setting; the last part took {seconds / 60:.0f} minutes on this machine. Run: "
        f"{'; '.join(names[:parts])}.{cut}",
        "",
        *([prose.read_text(encoding="utf-8").rstrip(), ""] if prose.is_file() else []),
        "HS: harmful score, FA: fine-tune accuracy (%), with 95 % intervals. Δ: paired with SFT at "
        "the same place; * where Holm's correction leaves p below 5 %. A place is a task, a "
        "harmful ratio, a learning rate and a number of epochs; attacked: with harmful rows.",
        "",
        *_table(comparison),
    ]
    return "\n".join(lines) + "\n"


def _table(comparison: Comparison) -> list[str]:
    heads = ["method", "stage", "HS at p = 0.1", "Δ", "mean HS, attacked", "worst HS", "at"]
    heads += ["FA", "Δ", "over-refusal", "coherence", "seconds", "memory", "lower than SFT"]
    lines = [f"| {' | '.join(heads)} |", "|---|---|" + "---:|" * (len(heads) - 2)]
    worst = {one.variant: one for one in comparison.worst}
    rows: dict[str, list[Row]] = {}
    for row in comparison.rows:
        rows.setdefault(row.variant, []).append(row)
    usual = {"task": TASKS[0], "harmful_ratio": 0.1}
    for title, own in rows.items():
        at = next((r for r in own if usual.items() <= r.axes.items()), own[0])
        attacked = [r for r in own if r.axes["harmful_ratio"] > 0]
        lower = sum(_is_lower(r) for r in attacked)
        case = worst.get(title)
        cells = [title, _stage(title), _value(at, HARM), _change(at, HARM)]
        cells.append(number(fmean(r.cells[HARM].mean.value for r in attacked)))
        cells += [number(case.estimate.value), place_name(case.setting)] if case else ["–", "–"]
        cells += [_value(at, FA), _change(at, FA), _value(at, OVER), _value(at, COHERENT)]
        seconds = at.budget.seconds
        cells += ["–" if seconds is None else f"{seconds:.0f}"]
        cells += [memory(at.budget.peak_memory_bytes), f"{lower} of {len(attacked)}"]
        lines.append(f"| {' | '.join(cells)} |")
    nothing = [t for t, own in rows.items() if t != "SFT" and not any(map(_is_lower, own))]
    if nothing:
        lines += ["", f"Told apart from SFT at no place: {', '.join(nothing)}."]
    return [*lines, "", *_against_controls(comparison, usual)]


def _is_lower(row: Row) -> bool:
    found = row.cells[HARM].difference
    return found is not None and _is_sure(found) and found.value < 0


def _is_sure(found: Difference) -> bool:
    return found.p_holm is not None and found.p_holm < ALPHA


def _value(row: Row, metric: str) -> str:
    cell = row.cells.get(metric)
    return "–" if cell is None else f"{number(cell.mean.value)} {interval(cell.mean)}".strip()


def _change(row: Row, metric: str) -> str:
    found = row.cells[metric].difference if metric in row.cells else None
    if found is None:
        return "–"
    return f"{signed(found.value)}{'*' if _is_sure(found) else ''}"


def _stage(title: str) -> str:
    found = [kind for kind, rows in METHODS.items() for e in rows.values() if e.title == title]
    return found[0] if title != "SFT" and found else ""


def _against_controls(comparison: Comparison, usual: dict[str, Any]) -> list[str]:
    """Each method minus its control, of their means at the usual place."""
    values = {
        row.variant: row.cells[HARM].mean.value
        for row in comparison.rows
        if usual.items() <= row.axes.items()
    }
    lines = ["| method | its control | HS | the control's HS |", "|---|---|---:|---:|"]
    for entry, control in _pairs():
        if {entry.title, control.title} <= values.keys():
            first, second = number(values[entry.title]), number(values[control.title])
            lines.append(f"| {entry.title} | {control.title} | {first} | {second} |")
    return lines


def _pairs() -> Iterator[tuple[Entry, Entry]]:
    for rows in METHODS.values():
        for entry in rows.values():
            if entry.control in rows:
                yield entry, rows[entry.control]


if __name__ == "__main__":
    main()
