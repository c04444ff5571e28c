"""``holdfast status``: how the stages of a run stand."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from holdfast.commands.answers import answer
from holdfast.engine.record import KINDS, read_record, stage_alone
from holdfast.engine.run import who_runs
from holdfast.engine.schedule import FAILURES
from holdfast.escape import terminal_text, visible
from holdfast.stages.folders import PARTIAL, PROGRESS, PROVENANCE, STAGES, is_locked

_STATES = ("done", "running", "interrupted", "failed", "skipped", "waiting")


def show_status(root: Path, console: Console) -> None:
    """Show how the stages of a run stand; of one stage outside of a run, that it is there.

    Raises:
        UserError: the folder is no run's and no stage's.
    """
    if (alone := stage_alone(root)) is not None:
        content = {"folder": root, "title": None, "stages": [], "run_by": None, "note": alone}
        answer(console, "status", content, alone)
        return
    study = read_record(root)
    stages = [_standing(root, name, study) for name in study["stages"]]
    run = who_runs(root)
    content = {
        "folder": root,
        "title": study["title"],
        "stages": stages,
        "run_by": run and {key: run[key] for key in ("pid", "host", "launcher")},
        "note": None,
    }
    whose = f"process {run['pid']} on {run['host']} ({run['launcher']})" if run else "nobody"
    answer(
        console,
        "status",
        content,
        terminal_text(study["title"], style="bold"),
        _counts(stages),
        *filter(None, map(_told, stages)),
        f"run by: {whose}",
    )


def _standing(root: Path, name: str, study: Mapping[str, Any]) -> dict[str, Any]:
    """How one stage stands."""
    state, stage = state_of(root, name, study), study["stages"][name]
    under_way = _progress(root, name) if state in ("running", "interrupted") else {}
    return {
        "name": name,
        "kind": stage["kind"],
        "method": stage.get("method"),
        "state": state,
        "share": under_way.get("share"),
        "doing": under_way.get("note"),
        "error": _failure(root, name, study) if state == "failed" else None,
    }


def _counts(stages: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("stage")
    for state in _STATES:
        table.add_column(state, justify="right")
    kinds = {stage["name"]: KINDS.get(stage["kind"], "evaluation") for stage in stages}
    for kind in dict.fromkeys(kinds.values()):
        counts = Counter(stage["state"] for stage in stages if kinds[stage["name"]] == kind)
        table.add_row(kind, *(str(counts[state] or "–") for state in _STATES))
    return table


def _told(stage: Mapping[str, Any]) -> str:
    """A line on a stage that is under way or failed; "" for any other."""
    name, state = stage["name"], stage["state"]
    if state == "failed":
        return f"{name}: failed: {visible(stage['error'])}"
    if state not in ("running", "interrupted"):
        return ""
    if stage["share"] is None:
        return f"{name}: {state}"
    return f"{name}: {state}, {100 * stage['share']:.0f} % ({visible(stage['doing'])})"


def state_of(root: Path, name: str, study: Mapping[str, Any]) -> str:
    """One of `_STATES`, for a stage by its name."""
    folder = root / STAGES / name
    if (folder / PROVENANCE).exists():
        return "done"
    if is_locked(folder):
        return "running"
    if name in study["failures"] or (root / FAILURES / f"{name}.json").exists():
        return "failed"
    if folder.with_name(name + PARTIAL).exists():
        return "interrupted"
    return "skipped" if name in study["skipped"] else "waiting"


def _progress(root: Path, name: str) -> dict[str, Any]:
    """How far a stage is: its share from 0 to 1 and what it does; empty if nobody knows."""
    try:
        path = root / STAGES / (name + PARTIAL) / PROGRESS
        said = json.loads(path.read_text(encoding="utf-8"))
        return {"share": float(said["share"]), "note": str(said["note"])}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _failure(root: Path, name: str, study: Mapping[str, Any]) -> str:
    """What went wrong in a line: of a traceback the error's first one."""
    error = study["failures"].get(name)
    if error is None:
        try:
            text = (root / FAILURES / f"{name}.json").read_text(encoding="utf-8")
            error = str(json.loads(text)["error"])
        except (OSError, ValueError, KeyError, TypeError):
            error = "unknown"
    lines = error.strip().splitlines() or ["unknown"]
    frames = [i for i, line in enumerate(lines) if line.startswith("  File ")]
    after = lines[frames[-1] :] if frames else lines[-1:]
    return next((line for line in after if line[:1].strip()), lines[-1])
