"""Read a run's folder: study.json, results.json, the stages' evaluation.json and provenance.json.

A run without study.json (an older one, or a copied results.json) is read too, and one that is not
finished as far as it is. Nothing here imports torch.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from holdfast.errors import UserError
from holdfast.report.budgets import Budget
from holdfast.report.results import SCHEMA_VERSION, check_results, display_name, estimate_of
from holdfast.report.run import Result, Run, Unfinished
from holdfast.report.stage_files import evaluation_of, prompts_of, read_json, remedy, settings_of

METHOD_KINDS = ("align", "screen", "finetune", "repair")
_SPENT = ("rows", "steps", "tokens", "passes")


def read_run(root: Path) -> Run:
    """Read the folder that `holdfast run` or `holdfast demo` wrote, finished or not.

    Raises:
        UserError: it is no run's folder; nothing is finished; a file or a record in it is broken,
            which is named.
    """
    root = Path(root)
    if not root.is_dir():
        raise UserError(f"{root} is no folder; name the folder of a run, as given by --output.")
    study = read_json(root / "study.json", missing={})
    content = read_json(root / "results.json", missing={})
    if not study and not content and (root / "evaluation.json").is_file():
        study = _of_one(root)
    if not study and not content:
        raise UserError(
            f"{root} is no folder of a run: it has neither study.json nor results.json."
        )
    if content:
        path = root / "results.json"
        try:
            check_results(content, str(path))
        except UserError as error:
            raise UserError(f"{str(error).rstrip('.')}; {remedy(path)}.") from None
    records = list(content.get("records", []))
    protocol = dict(content.get("protocol", {}))
    unfinished: list[Unfinished] = []
    if study:
        records, unfinished, found = _of_study(root, study, records)
        protocol = found or protocol
    if not records:
        raise UserError(
            f"{root} has no finished pipeline yet, and a report needs one: "
            f"`holdfast status {root}` shows what is done."
        )
    return run_of(
        {"schema_version": SCHEMA_VERSION, "protocol": protocol, "records": records},
        root,
        study,
        unfinished,
    )


def run_of(
    results: Mapping[str, Any],
    root: Path = Path(),
    study: Mapping[str, Any] | None = None,
    unfinished: list[Unfinished] | None = None,
) -> Run:
    """A run from the content of results.json; outcomes are read where the stages' folders are.

    Raises:
        UserError: as `read_run`.
    """
    check_results(results, str(root / "results.json"))
    study = study or {}
    varying = _varying(results["records"])
    made = [_result(record, root, varying) for record in results["records"]]
    return Run(
        root=root,
        title=str(study.get("title") or root.resolve().name),
        command=str(study.get("command", "")),
        about=list(study.get("about", [])),
        notes=list(study.get("notes", [])),
        published=list(study.get("published", [])),
        holdfast=str(study.get("holdfast", "")),
        protocol=dict(results["protocol"]),
        results=made,
        unfinished=list(unfinished or []),
        stages=dict(study.get("stages", {})),
        failures=dict(study.get("failures", {})),
        skipped=list(study.get("skipped", [])),
        search=list(study.get("search", [])),
        records=list(results["records"]),
        places=[dict(pipeline["coords"]) for pipeline in study.get("pipelines", [])],
    )


def _of_one(folder: Path) -> dict[str, Any]:
    """What study.json would say of one evaluation that was made outside of a run."""
    settings = settings_of(folder)
    name = str(settings.get("model") or "model").rstrip("/").rsplit("/", 1)[-1]
    stages = {"evaluate": "."}
    pipeline = {"variant": name, "coords": {"variant": name}, "seed": settings.get("seed", 0)}
    return {
        "title": f"Evaluation of {name}",
        "pipelines": [{**pipeline, "stages": stages}],
        "stages": {folder.resolve().name: {"kind": "evaluate"}},
    }


def _of_study(
    root: Path, study: Mapping[str, Any], records: list[dict[str, Any]]
) -> tuple[list[dict[str, Any]], list[Unfinished], dict[str, Any]]:
    """The records of all finished pipelines in study.json, the others, and the protocol."""
    where = root / "study.json"
    if not isinstance(study.get("pipelines"), list) or not isinstance(study.get("stages"), Mapping):
        raise UserError(f"{where} is broken: it has no 'pipelines' and 'stages'; run again.")
    known = {_same(record): record for record in records}
    found, unfinished, protocol = [], [], {}
    for number, pipeline in enumerate(study["pipelines"], start=1):
        try:
            stages, key = dict(pipeline["stages"]), _same(pipeline)
            folder = root / stages["evaluate"]
            coords, seed = dict(pipeline["coords"]), pipeline["seed"]
        except (KeyError, TypeError, ValueError):
            raise UserError(f"{where}, pipeline {number} is broken; run again.") from None
        if (folder / "evaluation.json").is_file():
            record = known.get(key) or _record(root, study, pipeline)
            tries = pipeline.get("tries", record.get("tries"))
            found.append({**record, "tries": tries})
            protocol = protocol or evaluation_of(folder)["protocol"]
            continue
        names = {Path(stage).name for stage in stages.values()}
        state = "failed" if names & {*study.get("failures", {})} else "not finished"
        if state != "failed" and names & {*study.get("skipped", [])}:
            state = "skipped"
        methods = {kind: _method(study, folder) for kind, folder in stages.items()}
        variant = coords.pop("variant", "") or _variant({**pipeline, **methods})
        unfinished.append(Unfinished(str(variant), coords, seed, state))
    return found, unfinished, protocol


def _same(entry: Mapping[str, Any]) -> tuple[str, ...]:
    """What two entries of one pipeline and seed have in common."""
    stages = entry.get("stages") or {}
    return (
        json.dumps(entry.get("coords") or {}, sort_keys=True),
        str(entry.get("variant", "")),
        str(entry["seed"]),
        str(stages.get("evaluate")),
    )


def _method(study: Mapping[str, Any], folder: str) -> str | None:
    return study["stages"].get(Path(folder).name, {}).get("method")


def _record(root: Path, study: Mapping[str, Any], pipeline: Mapping[str, Any]) -> dict[str, Any]:
    """A record as results.json has them, for a pipeline that it does not have yet."""
    stages = pipeline["stages"]
    method = {kind: _method(study, folder) for kind, folder in stages.items()}
    settings = settings_of(root / stages["finetune"]) if "finetune" in stages else {}
    evaluation = evaluation_of(root / stages["evaluate"])
    return {
        **{kind: method.get(kind) for kind in METHOD_KINDS},
        "variant": pipeline.get("variant", ""),
        "coords": pipeline["coords"],
        "harmful_ratio": settings.get("harmful_ratio"),
        "task": settings_of(root / stages["evaluate"]).get("task"),
        "seed": pipeline["seed"],
        "metrics": evaluation["metrics"],
        "cost": {kind: _cost(root / stages[kind]) for kind in METHOD_KINDS if kind in stages},
        "stages": stages,
    }


def _cost(folder: Path) -> dict[str, Any]:
    """What one stage took, as results.json has it."""
    made = read_json(folder / "provenance.json", missing={})
    steps = (made.get("budget") or {}).get("steps")
    return {"steps": steps, **{key: made.get(key) for key in ("seconds", "peak_memory_bytes")}}


def _result(record: Mapping[str, Any], root: Path, varying: list[str]) -> Result:
    stages = dict(record.get("stages") or {})
    folder = root / stages["evaluate"] if "evaluate" in stages else None
    outcomes: dict[str, np.ndarray] = {}
    prompts: dict[str, str] = {}
    left_out: tuple[str, ...] = ()
    asked: Any = None
    if folder is not None and (folder / "evaluation.json").is_file():
        evaluation = evaluation_of(folder)
        outcomes = {
            name: np.array([np.nan if v is None else v for v in values], dtype=float)
            for name, values in evaluation.get("outcomes", {}).items()
        }
        left_out = tuple(map(str, evaluation.get("left_out", [])))
        prompts = prompts_of(folder, [*record["metrics"]])
        asked = evaluation.get("system_prompt")
    coords = dict(record.get("coords") or {})
    variant = coords.pop("variant", "") or _variant(record)
    for name in varying:
        if name not in coords and record.get(name) is not None:
            coords[name] = record[name]
    return Result(
        variant=str(variant),
        axes=coords,
        seed=record["seed"],
        align=record.get("align"),
        finetune=record.get("finetune"),
        repair=record.get("repair"),
        metrics={name: estimate_of(metric) for name, metric in record["metrics"].items()},
        outcomes=outcomes,
        prompts=prompts,
        stages=stages,
        budget=_budget(record, root, stages),
        left_out=left_out,
        system_prompt=str(asked.get("sha256", "")) if isinstance(asked, dict) else "",
        screen=record.get("screen"),
    )


def _variant(record: Mapping[str, Any]) -> str:
    """A name for a pipeline outside of a study: its methods but plain SFT."""
    methods = [record.get(kind) for kind in METHOD_KINDS]
    if not any(methods):
        name = "base model"
    else:
        name = " + ".join(display_name(m) for m in methods if m not in ("sft", None)) or "SFT"
    if record.get("variant"):
        name += f" ({record['variant']})"
    return name if record.get("finetune") or not any(methods) else f"{name}, not fine-tuned"


def _varying(records: list[Mapping[str, Any]]) -> list[str]:
    """What differs between pipelines without being an axis of all of them."""
    names = []
    for name in ("task", "harmful_ratio"):
        values = {record.get(name) for record in records if record.get("finetune")} - {None}
        if len(values) > 1 or any(name in (record.get("coords") or {}) for record in records):
            names.append(name)
    return names


def _budget(record: Mapping[str, Any], root: Path, stages: Mapping[str, str]) -> Budget:
    """The sums over the stages that train or repair, from their provenance."""
    made = [
        found
        for kind in METHOD_KINDS
        if kind in stages
        and (found := read_json(root / stages[kind] / "provenance.json", missing={}))
    ]
    spent = [entry.get("budget") or {} for entry in made]
    total = {
        name: sum(values)
        if (values := [s[name] for s in spent if name in s]) and None not in values
        else None
        for name in ("rows", "steps", "tokens", "passes")
    }
    if not made:
        given = record.get("budget") or {}
        total = {
            "rows": given.get("rows"),
            "steps": given.get("training steps", given.get("steps")),
            "tokens": given.get("training tokens"),
            "passes": given.get("forward-backward passes"),
        }
    seconds = [v for kind, v in (record.get("seconds") or {}).items() if kind != "evaluate"]
    seconds = [entry["seconds"] for entry in made if "seconds" in entry] or seconds
    peaks = [entry["peak_memory_bytes"] for entry in made if entry.get("peak_memory_bytes")]
    return Budget(
        **total,
        tries=record.get("tries"),
        seconds=sum(seconds) if seconds else None,
        peak_memory_bytes=max(peaks, default=None),
        zeroed=_zeroed(root / stages["repair"]) if "repair" in stages else None,
    )


def _zeroed(folder: Path) -> float | None:
    """The share of weights that a repair zeroed; None where it is not one that zeroes."""
    report = read_json(folder / "repair_report.json", missing={})
    return report["zeroed"] / report["total"] if report.get("total") else None


def _sum(values: list[Any]) -> Any:
    """The sum of what is known; None where nothing is."""
    known = [value for value in values if value is not None]
    return sum(known) if known else None
