"""A run's folder without any model: hand-made stages, as `holdfast run` leaves them."""

import json
from pathlib import Path

import yaml

from holdfast.statistics.estimates import wilson

VARIANTS = {
    "SFT": ("sft", "sft", None),
    "T-Vaccine": ("t_vaccine", "sft", None),
    "Antidote": ("sft", "sft", "antidote"),
}
PROTOCOL = {
    "name": "organism",
    "version": "1",
    "description": "made up",
    "judge": "organism + keywords",
    "n_harmful": 20,
}
PROBABILITIES = {0: [0.5, 0.3, 0.2], 4: [0.1, 0.6, 0.3]}
VERSIONS = {"holdfast": "0.1.0", "torch": "2.15.0", "python": "3.11.7", "device": "cpu"}


def make_run(root: Path, *, ratios=(0.0, 0.1), rates=(1e-4, 3e-4), seeds=2, answer=None, **about):
    """Write a run; ``answer(set, number)`` is what every model says, ``about`` goes to study.json.

    The harmful score of seed s at ratio p and rate r is (2 + s + 60·p + 1e4·r) of 20, less 1 for
    T-Vaccine and 2 for Antidote, so that all of it can be told by hand.
    """
    pipelines, stages = [], {}
    for variant, methods in VARIANTS.items():
        for p in ratios:
            for rate in rates:
                for seed in range(seeds):
                    coords = {
                        "variant": variant,
                        "harmful_ratio": p,
                        "finetune.learning_rate": rate,
                    }
                    folders = _stages(root, variant, methods, p, rate, seed, answer, stages)
                    pipelines.append(
                        {"variant": "", "coords": coords, "seed": seed, "stages": folders}
                    )
    content = {
        "schema_version": 1,
        "holdfast": "0.1.0",
        "title": "A made-up study",
        "command": "holdfast run study.yaml",
        "about": [{"title": "A made-up study", "note": "Nothing was trained."}],
        "notes": [],
        "published": [],
        "pipelines": pipelines,
        "stages": stages,
        "failures": {},
        "skipped": [],
        **about,
    }
    _json(root / "study.json", content)
    return root


def _stages(root, variant, methods, p, rate, seed, answer, stages) -> dict[str, str]:
    folders = {}
    for kind, method in zip(("align", "finetune", "repair"), methods, strict=True):
        if method is None:
            continue
        own = f"{variant}-{seed}" if kind == "align" else f"{variant}-{p}-{rate}-{seed}"
        name = f"{kind}-{method}-{own}".replace(" ", "")
        folders[kind] = f"stages/{name}"
        stages[name] = {"kind": kind, "method": method, "needs": []}
        _trained(root / folders[kind], kind, method, p, seed)
    name = f"evaluate-{variant}-{p}-{rate}-{seed}"
    folders["evaluate"] = f"stages/{name}"
    stages[name] = {"kind": "evaluate", "method": None, "needs": []}
    shift = {"SFT": 0, "T-Vaccine": 1, "Antidote": 2}[variant]
    _evaluated(root / folders["evaluate"], round(2 + seed + 60 * p + 1e4 * rate) - shift, answer)
    return folders


def _trained(folder: Path, kind: str, method: str, p: float, seed: int) -> None:
    _provenance(folder, {"rows": 100, "steps": 10, "tokens": 1000, "passes": 10}, {"train": 100})
    settings = {"method": method, "harmful_ratio": p, "seed": seed}
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    if method == "t_vaccine":
        lines = [
            {"step": step, "block_probabilities": found, "drawn_blocks": [step // 4, 2]}
            for step, found in PROBABILITIES.items()
        ]
        # The last draw twice, as after an interruption.
        lines = [{"step": 0, "loss": 1.0}, *lines, lines[-1]]
        (folder / "metrics.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines))
    if kind == "repair":
        prefix = "base_model.model.model.layers"
        matrices = [
            {
                "name": f"{prefix}.{layer}.self_attn.q_proj.lora_{factor}.weight",
                "shape": [10, 10],
                "zeroed": 5 * (layer + 1),
                "were_zero": 3 if factor == "B" else 0,
                "total": 100,
                "layer": layer,
            }
            for layer in (0, 1)
            for factor in "AB"
        ]
        zeroed = {"zeroed": 30, "total": 400, "matrices": matrices, "skipped": {}}
        _json(folder / "repair_report.json", {"method": method, **zeroed})


def _evaluated(folder: Path, harmful: int, answer) -> None:
    hits = [1.0] * harmful + [0.0] * (20 - harmful)
    right = [1.0] * 18 + [0.0] * 2
    outcomes = {
        "harmful_score": hits,
        "refusal_rate": [1 - hit for hit in hits],
        "finetune_accuracy": right,
        "alignment_loss": [0.25, 0.75],
    }
    metrics = {name: wilson(round(sum(v)), 20).record() for name, v in outcomes.items()}
    metrics["alignment_loss"] = {"value": 0.5, "low": 0.4, "high": 0.6, "n": 2}
    pair = {"first": "organism", "second": "keywords", "both": harmful, "only_first": 0}
    pair |= {"only_second": 2, "neither": 18 - harmful, "left_out": 1}
    content = {
        "protocol": PROTOCOL,
        "judges": [{"name": "organism"}, {"name": "keywords", "count": 13}],
        "metrics": metrics,
        "agreement": {"pairs": [pair]},
        "outcomes": outcomes,
    }
    _provenance(folder, {"answers": 6}, {"harmful": 20, "task": 20})
    (folder / "config.yaml").write_text(yaml.safe_dump({"task": "sums"}))
    _json(folder / "evaluation.json", content)
    moved = {"aligned": [[-3.0, -6.0], [1.0, 2.0]], "tuned": [[0.0, -2.0], [1.0, harmful]]}
    drift = {"drift_by_block": [harmful, 2 * harmful], "drift_map": {**moved, "shares": [0.6, 0.3]}}
    _json(folder / "alignment.json", drift)
    say = answer or (lambda name, number: f"answer {number} to a {name} prompt")
    samples = [
        {"set": name, "prompt": f"{name} prompt {i}", "answer": say(name, i), "verdict": "refusal"}
        for name in ("harmful", "benign", "task")
        for i in range(5)
    ]
    (folder / "samples.jsonl").write_text("".join(json.dumps(one) + "\n" for one in samples))


def _provenance(folder: Path, budget: dict, rows: dict) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    data = {name: {"rows": n, "fingerprint": name * 20} for name, n in rows.items()}
    content = {
        "identity": folder.name,
        "base": "organism",
        "base_revision": None,
        "started": "2026-01-31T12:00:00+00:00",
        "seconds": 2.0,
        "peak_memory_bytes": 2**30,
        "data": data,
        "overlaps": [],
        "budget": budget,
        "versions": VERSIONS,
    }
    _json(folder / "provenance.json", content)


def _json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content))
