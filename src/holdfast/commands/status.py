"""``holdfast status``: how the stages of a run stand."""

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from holdfast.engine.record import KINDS, read_record, stage_alone
from holdfast.engine.run import who_runs
from holdfast.engine.schedule import FAILURES
from holdfast.escape import terminal_text
from holdfast.stages.folders import PARTIAL, PROGRESS, PROVENANCE, STAGES, is_locked

_STATES = ("done", "running", "interrupted", "failed", "skipped", "waiting")


def show_status(root: Path, console: Console) -> None:
    """Show how the stages of a run stand; of one stage outside of a run, that it is there.

    Raises:
        UserError: the folder is no run's and no stage's.
    """
    if (alone := stage_alone(root)) is not None:
        console.print(alone, markup=False, highlight=False, soft_wrap=True)
        return
    study = read_record(root)
    states = {name: state_of(root, name, study) for name in study["stages"]}
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("stage")
    for state in _STATES:
        table.add_column(state, justify="right")
    kinds = {name: KINDS.get(s["kind"], "evaluation") for name, s in study["stages"].items()}
    for kind in dict.fromkeys(kinds.values()):
        counts = Counter(states[name] for name in states if kinds[name] == kind)
        table.add_row(kind, *(str(counts[state] or "–") for state in _STATES))
    console.print(terminal_text(study["title"], style="bold"))
    console.print(table)
    for name, state in states.items():
        if state in ("running", "interrupted"):
            console.print(f"{name}: {state}{_progress(root, name)}", markup=False, highlight=False)
        elif state == "failed":
            console.print(f"{name}: failed: {_failure(root, name, study)}", markup=False)
    run = who_runs(root)
    whose = f"process {run['pid']} on {run['host']} ({run['launcher']})" if run else "nobody"
    console.print(f"run by: {whose}", markup=False, highlight=False)


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


def _progress(root: Path, name: str) -> str:
    try:
        path = root / STAGES / (name + PARTIAL) / PROGRESS
        said = json.loads(path.read_text(encoding="utf-8"))
        return f", {100 * said['share']:.0f} % ({said['note']})"
    except (OSError, ValueError, KeyError, TypeError):
        return ""


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
