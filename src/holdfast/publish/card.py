"""The model card of a published stage."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from itertools import count
from typing import Any

import yaml
from huggingface_hub import EvalResult, ModelCard, ModelCardData
from jinja2 import Environment, StrictUndefined

from holdfast.attacks import ATTACKS, MIXED
from holdfast.escape import markdown_text, visible
from holdfast.publish.lineage import Lineage, StageRecord
from holdfast.publish.measurements import Measurement
from holdfast.publish.paths import without_path, without_paths
from holdfast.registry import named
from holdfast.report.results import display_name
from holdfast.stages.merge import MERGE
from holdfast.stages.methods import is_own

_SURVEY = ("Harmful Fine-tuning Attacks and Defenses for Large Language Models: A Survey",
           "2409.18169")  # fmt: skip
# What a reader should ask for beside a model, and the metric that answers it.
_WANTED = {
    "harmful_score": "how often it answers harmful prompts",
    "finetune_accuracy": "what it can do of the task that it was fine-tuned on",
    "over_refusal_rate": "how often it refuses harmless prompts that look harmful",
    "coherence": "whether its answers make sense at all",
}


@dataclass(frozen=True)
class _Row:
    """A stage as the template shows it."""

    kind: str
    method: str
    data: str
    rows: str
    budget: str
    seed: str
    seconds: str
    fingerprints: list[tuple[str, str]]
    file: str
    command: str
    yaml: str


def model_card(
    repo: str,
    lineage: Lineage,
    measurements: Sequence[Measurement],
    is_adapter: bool,
    base: str | None = None,
) -> ModelCard:
    """The card as README.md has it: a YAML header for the Hub, and Markdown.

    No license is set, for that is the publisher's to choose and the base's to allow. Everything
    that comes from files is escaped, and local paths are cut down to names.

    Args:
        repo: "owner/name".
        lineage: How the model was made.
        measurements: Evaluations of it.
        is_adapter: Whether an adapter is published, or a whole model.
        base: What the base is called on the Hub, where it is a folder here.
    """
    known = base or (None if lineage.base_is_local or lineage.base == "organism" else lineage.base)
    methods = [stage.method for stage in lineage.stages]
    results = [one for measurement in measurements for one in _results(measurement)]
    data = ModelCardData(
        base_model=known,
        library_name="peft" if is_adapter else "transformers",
        pipeline_tag="text-generation",
        tags=["holdfast", "harmful-fine-tuning", "safety", *(["lora"] if is_adapter else []),
              *dict.fromkeys(method for method in methods if not is_own(method))],
        model_name=repo.split("/")[-1] if results else None,
        eval_results=results or None,
    )  # fmt: skip
    rows = _rows(lineage, known)
    environment = Environment(
        undefined=StrictUndefined, trim_blocks=False, keep_trailing_newline=True, autoescape=False
    )
    environment.filters["md"] = lambda value: markdown_text(str(value)) if value != "" else ""
    template = environment.from_string(
        files("holdfast.publish").joinpath("card.md.jinja").read_text(encoding="utf-8")
    )
    body = template.render(
        name=repo.split("/")[-1],
        lineage=lineage,
        what="An adapter" if is_adapter else "A fine-tuned copy",
        base=_base_name(lineage, known),
        revision=lineage.stages[0].about.get("base_revision") or "",
        foreign=without_path(lineage.foreign) if lineage.foreign else "",
        foreign_identity=str(lineage.stages[0].provenance.get("model") or "not recorded"),
        harmful=_harmful(lineage),
        stages=rows,
        versions=_versions(lineage.last),
        measurements=measurements,
        asked=lineage.asked,
        prompt=visible(lineage.asked.text) if lineage.asked else "",
        fence=_fence([*(row.yaml for row in rows), lineage.asked.text if lineage.asked else ""]),
        missing=_missing(measurements),
        papers=_papers(methods),
    )
    return ModelCard(f"---\n{data.to_yaml()}\n---\n\n{body}")


def _rows(lineage: Lineage, base: str | None) -> list[_Row]:
    rows, revision = [], lineage.stages[0].about.get("base_revision")
    model = "organism" if lineage.base == "organism" else base or "BASE"
    model = "MODEL" if lineage.gap else f"{model}@{revision}" if revision else model
    if lineage.foreign:
        model = without_path(lineage.foreign)
    for number, stage in zip(count(1), lineage.stages, strict=False):
        sets = stage.provenance.get("data") or {}
        name = f"{number}-{stage.kind}"
        own = ["--config", f"{name}.yaml"]
        if stage.kind == MERGE:  # whose settings are options
            own = ["--dtype", str(stage.settings.get("dtype"))]
        words = ["holdfast", stage.kind, model, *own, "--output", name]
        settings = lineage.without_secret(stage.settings)
        settings = {k: v for k, v in settings.items() if k not in ("model", "reference")}
        text = yaml.safe_dump(without_paths(settings), sort_keys=False, allow_unicode=True)
        rows.append(
            _Row(
                kind=stage.kind,
                method=display_name(stage.method),
                data=_data(stage.settings),
                rows=", ".join(f"{role} {own.get('rows')}" for role, own in sets.items()) or "–",
                budget=_budget(stage.provenance.get("budget") or {}),
                seed=str(stage.provenance.get("seed", "–")),
                seconds=str(stage.provenance.get("seconds", "–")),
                fingerprints=_fingerprints(stage),
                file=f"{name}.yaml",
                command=visible(" ".join(map(shlex.quote, words))),
                yaml="\n".join(map(visible, text.splitlines())),
            )
        )
        model = name
    return rows


def _fingerprints(stage: StageRecord) -> list[tuple[str, str]]:
    """Hashes of a stage's rows, and of the code of a method that is not holdfast's."""
    sets = stage.provenance.get("data") or {}
    found = [(role, str(own.get("fingerprint"))) for role, own in sets.items()]
    if is_own(stage.method):
        found.append((f"code of {stage.method}", str(stage.provenance.get("method_version"))))
    return found


def _data(settings: Mapping[str, Any]) -> str:
    """The data references of a stage; a file's name without its folders."""
    keys = ("task", "data", "harmful_data", "alignment_data", "probe_data")
    named = [f"{key} {without_path(str(settings[key]))}" for key in keys if settings.get(key)]
    if attack := _attack(settings):
        named.append(attack)
    return ", ".join(named) or "built-in"


def _budget(budget: Mapping[str, Any]) -> str:
    names = {"steps": "steps", "passes": "passes", "tokens": "tokens", "zeroed": "weights zeroed"}
    known = [
        f"{budget[key]:,} {name}" for key, name in names.items() if budget.get(key) is not None
    ]
    return ", ".join(known) or "–"


def _harmful(lineage: Lineage) -> str:
    """What harmful rows the model was trained on in stage 2; empty for none."""
    tuned = [stage for stage in lineage.stages if stage.kind == "finetune"]
    return ", ".join(filter(None, (_attack(stage.settings) for stage in tuned)))


def _attack(settings: Mapping[str, Any]) -> str:
    """By what a fine-tuning was attacked, in words; empty for no attack."""
    name = settings.get("attack") or MIXED
    mixes = name not in ATTACKS or ATTACKS[name].mixes
    ratio = settings.get("harmful_ratio") or 0
    if mixes and not ratio:
        return ""
    parts = [f"harmful ratio {ratio:g}"] if mixes else []
    return ", ".join([*parts, *([] if name == MIXED else [f"attack {name}"])])


def _base_name(lineage: Lineage, known: str | None) -> str:
    if lineage.base == "organism":
        return "holdfast's built-in model organism"
    return known or f"a local model ({without_path(lineage.base)})"


def _versions(stage: StageRecord) -> str:
    versions = stage.provenance.get("versions") or {}
    shown = (f"{name} {version}" for name, version in versions.items() if name != "platform")
    return ", ".join(shown) or "versions that are not recorded"


def _missing(measurements: Sequence[Measurement]) -> list[str]:
    names = {metric.name for one in measurements for metric in one.metrics}
    return [f"Not measured: {what} ({name.replace('_', ' ')})."
            for name, what in _WANTED.items() if name not in names]  # fmt: skip


def _papers(methods: Sequence[str]) -> list[str]:
    found = [entry for method in methods if (entry := named(method))]
    found = [named(entry.control_of) or entry for entry in found]
    papers = dict.fromkeys((entry.paper, entry.arxiv) for entry in found if entry.arxiv)
    return [
        f"{title}. [arXiv {id}](https://arxiv.org/abs/{id})" for title, id in [*papers, _SURVEY]
    ]


def _results(measurement: Measurement) -> list[EvalResult]:
    """The measurement's numbers for the Hub's model-index, each with its protocol."""
    protocol = f"{measurement.protocol['name']} (version {measurement.protocol['version']})"
    return [
        EvalResult(
            task_type="text-generation",
            dataset_type=str(measurement.protocol["name"]),
            dataset_name=f"protocol {protocol}",
            dataset_args={"seed": measurement.seed},
            metric_type=metric.name,
            metric_name=metric.title,
            metric_value=round(metric.value, 4),
            metric_args={
                "protocol": protocol,
                "low": round(metric.low, 4),
                "high": round(metric.high, 4),
                "n": metric.n,
            },
        )
        for metric in measurement.metrics
    ]


def _fence(texts: Sequence[str]) -> str:
    """A code fence that no text can close."""
    fence = "```"
    while any(fence in text for text in texts):
        fence += "`"
    return fence
