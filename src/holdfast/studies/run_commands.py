"""``holdfast status``, ``logs``, ``cancel`` and ``gc``: look after the folder of a run."""

import json
import shutil
import socket
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from holdfast.errors import UserError
from holdfast.report.escape import terminal_text
from holdfast.studies.engine import FAILURES, STAGES
from holdfast.studies.folders import NEW, PARTIAL, PROGRESS, PROVENANCE, is_locked, lock_path
from holdfast.studies.record import KINDS, STUDIES, read_record, stage_alone
from holdfast.studies.running import RUN, began

_STATES = ("done", "running", "interrupted", "failed", "skipped", "waiting")
_END = 30.0  # seconds that a run has to save its stages


def show_status(root: Path, console: Console) -> None:
    """Show how the stages of a run stand; of one stage outside of a run, that it is there.

    Raises:
        UserError: the folder is no run's and no stage's.
    """
    if (alone := stage_alone(root)) is not None:
        console.print(alone, markup=False, highlight=False, soft_wrap=True)
        return
    study = read_record(root)
    states = {name: _state(root, name, study) for name in study["stages"]}
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
    run = _run(root)
    whose = f"process {run['pid']} on {run['host']} ({run['launcher']})" if run else "nobody"
    console.print(f"run by: {whose}", markup=False, highlight=False)


def _state(root: Path, name: str, study: Mapping[str, Any]) -> str:
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


def show_logs(root: Path, stage: str | None, lines: int, console: Console) -> None:
    """Show the end of a stage's log, or which logs there are.

    Raises:
        UserError: the folder is no run's, or there is no such stage or log.
    """
    if (alone := stage_alone(root)) is not None:
        said = f"{alone[:-1]}: it has no log, for what it printed went to the terminal."
        console.print(said, markup=False, highlight=False, soft_wrap=True)
        return
    study = read_record(root)
    logs = {path.stem: path for path in sorted((root / "logs").glob("*.log"))}
    if stage is None:
        if not logs:
            console.print("no stage has run yet.")
        order = sorted(logs, key=lambda name: _state(root, name, study) != "failed")
        for name in order:
            console.print(f"{name}: {_state(root, name, study)}", markup=False, highlight=False)
        return
    found = [name for name in {**study["stages"], **logs} if name.startswith(stage)]
    if stage in found:
        found = [stage]
    if not found:
        raise UserError(f"{root} has no stage '{stage}'; `holdfast logs {root}` lists them.")
    if len(found) > 1:
        raise UserError(f"'{stage}' may be {', '.join(found)}: name one of them.")
    if found[0] not in logs:
        raise UserError(f"{found[0]} has no log: it has not run in this folder.")
    text = logs[found[0]].read_text(encoding="utf-8", errors="replace")
    for line in text.splitlines()[-lines:]:
        console.print(terminal_text(line), highlight=False, soft_wrap=True)


def cancel_run(root: Path, console: Console) -> None:
    """Stop the process that runs a study, which saves its work, and the jobs of its stages.

    Raises:
        UserError: the folder is no run's; nobody runs it, or somebody on another machine.
    """
    read_record(root)
    run = _run(root)
    if run is None:
        ended = _cancel_jobs(root)
        if not ended:
            raise UserError(f"nobody is at work on {root}: there is nothing to cancel.")
        console.print(f"{ended} jobs of the cluster are ended.")
        return
    if run["host"] != socket.gethostname():
        raise UserError(f"{root} is run on {run['host']}: cancel it there.")
    process = psutil.Process(run["pid"])
    # Not Ctrl-C's signal: a run that a shell started in the background or by nohup ignores that.
    process.terminate()
    console.print("asked it to stop; its stages save their state …")
    until = time.monotonic() + _END
    while not _has_ended(process):
        if time.monotonic() > until:
            raise UserError(
                f"process {run['pid']} has not ended in {_END:.0f} s; it may still be saving."
            )
        time.sleep(0.1)
    _cancel_jobs(root)
    console.print("stopped; the same `holdfast run` goes on from here.")


def _has_ended(process: psutil.Process) -> bool:
    """Whether a process has ended, also where the one that started it has not asked how it did."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def _run(root: Path) -> dict[str, Any] | None:
    """Who runs the study now; None for nobody, as far as this machine can tell."""
    try:
        run = json.loads((root / RUN).read_text(encoding="utf-8"))
        if run["host"] != socket.gethostname():
            return run
        # A process of the same number that began at another time is another one.
        return run if began(run["pid"]) == run["began"] else None
    except (OSError, ValueError, KeyError, TypeError, psutil.Error):
        return None


def _cancel_jobs(root: Path) -> int:
    """End the jobs of the run that a cluster still has; gives how many."""
    from holdfast.studies.slurm import cancel_jobs, queued_jobs

    if shutil.which("squeue") is None:
        return 0
    # submitit names a job's files by its number.
    ours = {path.name.split("_submitted")[0] for path in _submitted(root)}
    numbers = {job for job in queued_jobs() or () if job in ours or job.split("_")[0] in ours}
    cancel_jobs(sorted(numbers))
    return len(numbers)


def _submitted(root: Path) -> list[Path]:
    return list((root / "logs" / "slurm").glob("*_submitted.pkl"))


def collect_garbage(root: Path, yes: bool, console: Console) -> None:
    """Remove stages, and what interrupted runs left, that no study of the folder needs.

    Raises:
        UserError: the folder is no run's, or somebody is at work in it.
    """
    read_record(root)
    if _run(root) is not None:
        raise UserError(f"somebody is at work on {root}: let it end, or cancel it, first.")
    needed: set[str] = set()
    for path in (root / STUDIES).glob("*.json"):
        try:
            needed |= set(json.loads(path.read_text(encoding="utf-8"))["stages"])
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{path} is damaged, so nobody knows what its study needs: run the study again, or "
                "remove the file."
            ) from error
    folders = [path for path in sorted((root / STAGES).iterdir()) if path.is_dir()]
    gone = [path for path in folders if path.name.removesuffix(PARTIAL) not in needed]
    gone = [path for path in gone if not is_locked(path.with_name(path.name.removesuffix(PARTIAL)))]
    for path in (*root.glob(f"*{NEW}"), *root.glob(f"*/*{NEW}")):  # of runs that were killed
        path.unlink(missing_ok=True)
    if not gone:
        console.print("every stage is needed: nothing to remove.")
        return
    size = sum(f.stat().st_size for path in gone for f in path.rglob("*") if f.is_file())
    for path in gone:
        console.print(f"  {path.name}", markup=False, highlight=False)
    console.print(f"{len(gone)} of {len(folders)} stages, {size / 2**20:,.1f} MiB", highlight=False)
    if not yes and not typer.confirm("remove them?"):
        return
    for path in gone:
        shutil.rmtree(path)
        lock_path(path).unlink(missing_ok=True)
    console.print("removed.")
