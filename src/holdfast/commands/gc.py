"""``holdfast gc``: remove the stages that no study of a run's folder needs."""

import json
import shutil
from pathlib import Path

import typer
from rich.console import Console

from holdfast.engine.record import STUDIES, read_record
from holdfast.engine.run import who_runs
from holdfast.errors import UserError
from holdfast.stages.disk import NEW
from holdfast.stages.folders import PARTIAL, STAGES, is_locked, lock_path


def collect_garbage(root: Path, yes: bool, console: Console) -> None:
    """Remove stages, and what interrupted runs left, that no study of the folder needs.

    Raises:
        UserError: the folder is no run's, or somebody is at work in it.
    """
    read_record(root)
    if who_runs(root) is not None:
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
    folders = [path for path in sorted((root / STAGES).glob("*")) if path.is_dir()]
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
