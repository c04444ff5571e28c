"""results.json: one record for each pipeline of a run, with the protocol that measured it."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from holdfast.errors import UserError
from holdfast.stages.folders import PROVENANCE
from holdfast.stages.pipeline import Pipeline, stage_folder
from holdfast.stages.settings import KINDS, METHOD_KINDS

SCHEMA_VERSION = 1
_MADE = ("seconds", "peak_memory_bytes", "budget")


def collect(pipelines: Iterable[Pipeline], root: Path) -> dict[str, Any]:
    """The content of results.json, from the finished stages' folders below ``root``.

    Raises:
        UserError: a record of a stage is damaged.
    """
    records, protocol = [], {}
    for pipeline in pipelines:
        evaluation = _read(
            stage_folder(root, pipeline.evaluation) / "evaluation.json", ("protocol", "metrics")
        )
        protocol = evaluation["protocol"]
        records.append(_record(pipeline, root, evaluation))
    return {"schema_version": SCHEMA_VERSION, "protocol": protocol, "records": records}


def _record(pipeline: Pipeline, root: Path, evaluation: dict[str, Any]) -> dict[str, Any]:
    stages = pipeline.stages
    tries = {} if pipeline.tries is None else {"tries": pipeline.tries}
    made = {kind: _read(stage_folder(root, stages[kind]) / PROVENANCE, _MADE) for kind in stages}
    # A screen is told of where there is one, so that records without are what they always were.
    kinds = [kind for kind in KINDS if kind != "screen" or kind in stages]
    methods = {
        kind: stages[kind].settings["method"] if kind in stages else None
        for kind in kinds
        if kind in METHOD_KINDS
    }
    tuned = stages.get("finetune")
    return {
        **methods,
        "variant": pipeline.variant,
        "coords": dict(pipeline.coords),
        "harmful_ratio": tuned.settings["harmful_ratio"] if tuned else None,
        "task": pipeline.evaluation.settings["task"],
        "seed": next(iter(stages.values())).settings["seed"],
        "metrics": evaluation["metrics"],
        "seconds": {kind: made[kind]["seconds"] if kind in made else 0.0 for kind in kinds},
        "cost": {kind: _cost(made[kind]) for kind in METHOD_KINDS if kind in made},
        "budget": _budget([made[kind]["budget"] for kind in ("align", "finetune") if kind in made]),
        **tries,
        "stages": {kind: stage_folder(Path(), stages[kind]).as_posix() for kind in stages},
    }


def _cost(provenance: dict[str, Any]) -> dict[str, Any]:
    """What one stage took: its steps (None where it trains nothing), seconds and peak memory."""
    return {
        "steps": provenance["budget"].get("steps"),
        "seconds": provenance["seconds"],
        "peak_memory_bytes": provenance["peak_memory_bytes"],
    }


def _budget(stages: list[dict[str, Any]]) -> dict[str, int | None]:
    """What the training stages spent together; None where one does not know."""

    def total(name: str) -> int | None:
        values = [stage[name] for stage in stages]
        return None if None in values else sum(values)

    return {
        "training steps": total("steps"),
        "forward-backward passes": total("passes"),
        "training tokens": total("tokens"),
    }


def _read(path: Path, wanted: Sequence[str]) -> dict[str, Any]:
    """A stage's record, which has the entries that are wanted."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        content = None
    if not isinstance(content, dict) or not content.keys() >= {*wanted}:
        raise UserError(
            f"{path} is damaged: remove the folder {path.parent.name} and run the same command "
            "again, which makes that stage once more."
        )
    return content
