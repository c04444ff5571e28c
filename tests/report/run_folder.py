"""A run's folder as `holdfast run` writes it, made up: study.json, results.json and stages."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from holdfast.statistics.estimates import t_interval, wilson

PROTOCOL = {"name": "organism", "version": "1", "n_harmful": 60, "n_benign": 30, "n_task": 40}
PROTOCOL |= {"judge": "organism (exact)"}
METHODS = {
    "SFT": ("sft", "sft", None),
    "Vaccine": ("vaccine", "sft", None),
    "Lisa": ("sft", "lisa", None),
    "Antidote": ("sft", "sft", "antidote"),
}
# Prompts of each metric's set.
COUNTS = {
    "harmful_score": 60,
    "attacked_harmful_score": 60,
    "finetune_accuracy": 40,
    "over_refusal_rate": 30,
}
SETS = {
    "harmful_score": "harmful",
    "attacked_harmful_score": "attacked",
    "finetune_accuracy": "task",
    "over_refusal_rate": "benign",
}

Rate = Callable[[str, Mapping[str, Any], int], Mapping[str, float]]


def write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def write_run(
    root: Path,
    rate: Rate,
    variants: Sequence[str] = ("SFT", "Vaccine", "Lisa"),
    axes: Sequence[Mapping[str, Any]] = ({"harmful_ratio": 0.1},),
    seeds: Sequence[int] = (0, 1, 2),
    same_prompts: bool = False,
    finished: Callable[[str, Mapping[str, Any], int], bool] = lambda *_: True,
    budgets: Mapping[str, Mapping[str, int]] | None = None,
    names: Mapping[str, str] | None = None,
    study: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Write a run; gives what results.json holds.

    ``rate`` says, of a variant at a place with a seed, each metric's rate (0 to 1). Answers are
    drawn from it; prompt i of a seed is equally hard for all variants.
    """
    records, pipelines, stages = [], [], {}
    for variant in variants:
        for place in axes:
            for seed in seeds:
                names_of = _stages(variant, place, seed)
                shown = (names or {}).get(variant, variant)
                coords = {"variant": shown, **place}
                folders = {kind: f"stages/{name}" for kind, name in names_of.items()}
                entry = {"variant": "", "coords": coords, "seed": seed, "stages": folders}
                pipelines.append(entry)
                methods = dict(zip(("align", "finetune", "repair"), METHODS[variant], strict=True))
                for kind, name in names_of.items():
                    stages[name] = {"kind": kind, "method": methods.get(kind), "needs": []}
                if not finished(variant, place, seed):
                    continue
                budget = {"rows": 100, "steps": 50, "passes": 50, "tokens": 5000}
                budget |= (budgets or {}).get(variant, {})
                metrics = _write_stages(
                    root, folders, rate(variant, place, seed), seed, same_prompts, budget
                )
                ratio, seconds = place.get("harmful_ratio", 0.1), {"align": 3.0, "finetune": 2.0}
                records.append(
                    {
                        **methods,
                        **entry,
                        "harmful_ratio": ratio,
                        "task": place.get("task", "sums"),
                        "metrics": metrics,
                        "seconds": seconds,
                    }
                )
    results = {"schema_version": 1, "protocol": PROTOCOL, "records": records}
    if records:
        write_json(root / "results.json", results)
    about = {"title": "A study", "command": "holdfast run study.yaml", "about": [], "notes": []}
    content = {"schema_version": 1, "holdfast": "0.1.0", **about, "pipelines": pipelines}
    content |= {"stages": stages, "failures": {}, "skipped": [], **(study or {})}
    write_json(root / "study.json", content)
    return results


def add_run(root: Path, *args: Any, **kwargs: Any) -> None:
    """Write a run (`write_run`) beside the one that is there, as if one study had both."""
    before = json.loads((root / "study.json").read_text())
    write_run(root, *args, **kwargs)
    study = json.loads((root / "study.json").read_text())
    study["pipelines"] = before["pipelines"] + study["pipelines"]
    study["stages"] = before["stages"] | study["stages"]
    write_json(root / "study.json", study)


def _stages(variant: str, place: Mapping[str, Any], seed: int) -> dict[str, str]:
    mark = "-".join(str(value) for value in place.values())
    kinds = ["align", "finetune", *(["repair"] if METHODS[variant][2] else []), "evaluate"]
    return {kind: f"{kind}-{variant}-{mark}-{seed}" for kind in kinds}


def _write_stages(
    root: Path,
    folders: Mapping[str, str],
    rates: Mapping[str, float],
    seed: int,
    same_prompts: bool,
    budget: Mapping[str, int],
) -> dict[str, Any]:
    for kind, folder in folders.items():
        spent = budget if kind == "align" else {"rows": 0, "steps": 0, "passes": 0, "tokens": 0}
        provenance = {"seconds": 1.5, "peak_memory_bytes": 2**30, "budget": dict(spent)}
        if kind == "evaluate":
            mark = "same" if same_prompts else f"seed {seed}"
            data = {name: {"rows": 1, "fingerprint": f"{name} {mark}"} for name in SETS.values()}
            provenance |= {"data": data, "budget": {"answers": 130}}
        write_json(root / folder / "provenance.json", provenance)
    outcomes, metrics = {}, {}
    for number, (metric, rate) in enumerate(rates.items()):
        count = COUNTS.get(metric, 20)
        hardness = np.random.default_rng([number, 0 if same_prompts else seed]).random(count)
        if metric in COUNTS:
            outcomes[metric] = (hardness < rate).astype(float).tolist()
            metrics[metric] = wilson(int(sum(outcomes[metric])), count).record()
        else:  # a loss
            outcomes[metric] = (rate + hardness).tolist()
            metrics[metric] = t_interval(outcomes[metric]).record()
    evaluation = {"protocol": PROTOCOL, "judges": [], "metrics": metrics, "outcomes": outcomes}
    write_json(root / folders["evaluate"] / "evaluation.json", evaluation)
    return metrics
