"""study.json: what a run's folder is of, its pipelines and stages, and what failed.

It is written before the first stage runs and again at the end, so that the folder can be reported
and asked for its status while stages run, and after a kill.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from holdfast.engine.schedule import Outcome
from holdfast.errors import UserError
from holdfast.stages.disk import disk_errors, write_json
from holdfast.stages.folders import PROVENANCE
from holdfast.stages.pipeline import Pipeline, all_stages, stage_folder

STUDY = "study.json"
# A copy of each study that was run in the folder: what `holdfast gc` keeps.
STUDIES = "studies"
SCHEMA_VERSION = 1
KINDS = {
    "align": "alignment",
    "finetune": "fine-tuning",
    "screen": "screening",
    "repair": "repair",
    "evaluate": "evaluation",
}
_TYPES = {"title": str, "pipelines": list, "stages": dict, "failures": dict, "skipped": list}


def write_record(
    root: Path,
    pipelines: Sequence[Pipeline],
    about: Mapping[str, Any],
    outcome: Outcome | None = None,
    also: Iterable[Pipeline] = (),
) -> None:
    """Write study.json.

    Args:
        root: the folder of the run.
        pipelines: all of them, finished or not.
        about: what to say of the run: ``title``, ``command``, ``note``, ``notes``, ``published`` …
        outcome: how it ended; None before it has.
        also: pipelines that are run for it and are none of its own: a search's.
    """
    stages = all_stages([*also, *pipelines])
    names = {stage.identity: stage.name for stage in stages}
    content: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "holdfast": version("holdfast"),
        **about,
        "pipelines": [
            {
                "variant": pipeline.variant,
                "coords": dict(pipeline.coords),
                "seed": next(iter(pipeline.stages.values())).settings["seed"],
                "stages": {
                    kind: stage_folder(Path(), stage).as_posix()
                    for kind, stage in pipeline.stages.items()
                },
                **({} if pipeline.tries is None else {"tries": pipeline.tries}),
            }
            for pipeline in pipelines
        ],
        "stages": {
            stage.name: {
                "kind": stage.kind,
                "method": stage.settings.get("method"),
                "needs": [need.name for need in stage.needs],
            }
            for stage in stages
        },
        "failures": {},
        "skipped": [],
    }
    if outcome is not None:
        content["failures"] = {names[i]: error for i, error in outcome.failures.items()}
        content["skipped"] = [stage.name for stage in outcome.skipped]
    identities = sorted(stage.identity for stage in stages)
    digest = hashlib.sha256("".join(identities).encode()).hexdigest()
    with disk_errors(root / STUDY):
        write_json(root / STUDY, content)
        (root / STUDIES).mkdir(exist_ok=True)
        write_json(root / STUDIES / f"{digest[:12]}.json", content)


def read_record(root: Path) -> dict[str, Any]:
    """The content of study.json.

    Raises:
        UserError: the folder holds no run, or its record is damaged.
    """
    path = root / STUDY
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        raise UserError(
            f"{root} is no run's folder (it has no {STUDY}): name what --output of `holdfast run` "
            "was."
        ) from None
    except ValueError:
        content = None
    if not isinstance(content, dict) or content.get("schema_version") != SCHEMA_VERSION:
        raise UserError(_damaged(path))
    for name, kind in _TYPES.items():
        if not isinstance(content.get(name), kind):
            raise UserError(_damaged(path))
    if not all(isinstance(stage, dict) and "kind" in stage for stage in content["stages"].values()):
        raise UserError(_damaged(path))
    return content


def stage_alone(root: Path) -> str | None:
    """What to say of a folder that holds one finished stage and no run; None for any other."""
    try:
        kind = json.loads((root / PROVENANCE).read_text(encoding="utf-8"))["kind"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if (root / STUDY).exists():
        return None
    shown = f"; `holdfast report {root}` shows its numbers" if kind == "evaluate" else ""
    return f"{root} holds one finished {KINDS.get(kind, 'stage')}, made outside of a run{shown}."


def _damaged(path: Path) -> str:
    return (
        f"{path} is damaged or of another version: run the study again, which writes it anew and "
        "runs no finished stage."
    )
