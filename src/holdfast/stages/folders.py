"""Stage folders: written beside their place and renamed into it, so none is ever half-written."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path

from filelock import FileLock, Timeout

from holdfast.errors import BusyError, DiskError, UserError
from holdfast.stages.disk import FULL, disk_trouble

STAGES = "stages"
PROVENANCE = "provenance.json"
METRICS = "metrics.jsonl"
TENSORBOARD = "tensorboard"
CHECKPOINTS = "checkpoints"
ELAPSED = "seconds"
PROGRESS = "progress.json"
PARTIAL = ".partial"
_GONE = ".gone"  # of a folder that is being removed
IDENTITY = "identity"
ANSWERS = "answers.jsonl"
TASK_ANSWERS = "task_answers.jsonl"
SAMPLED_ANSWERS = "sampled_answers.jsonl"
ALSO = "also.json"
ALIGNMENT = "alignment.json"
SCORES = "scores.jsonl"
# What an interrupted run goes on from.
_KEPT = (IDENTITY, ELAPSED, CHECKPOINTS, METRICS, ANSWERS, TASK_ANSWERS, SAMPLED_ANSWERS)
_KEPT += (ALIGNMENT, ALSO, SCORES)


def recorded_identity(folder: Path) -> str | None:
    """The identity that a stage's folder was made with; None for any other folder."""
    try:
        provenance = json.loads((folder / PROVENANCE).read_text(encoding="utf-8"))
        return provenance["identity"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def checked_output(folder: Path, is_root: bool = False) -> Path:
    """The folder of a result, before anything is computed for it.

    A symbolic link stands for what it leads to, so that the result can be renamed into its place.

    Args:
        folder: as the user names it.
        is_root: whether it is a run's, which is written to and not renamed into its place.

    Raises:
        UserError: it is a file, or this process's own folder or one above that; a run's holds
            something else; nothing can be made there.
    """
    given, folder = folder, folder.expanduser()
    if folder.is_symlink():
        try:
            folder = folder.resolve()
        except (OSError, RuntimeError):  # it leads to itself
            raise UserError(f"{given} is a symbolic link that leads nowhere.") from None
    if not is_root and Path.cwd().is_relative_to(folder.resolve()):
        raise UserError(
            f"the output {given} is the folder that you are in, or one above it: name a new one, "
            "such as --output results/out."
        )
    above = next((path for path in (folder, *folder.absolute().parents) if path.exists()), None)
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{given} is a file; the output must be a folder that is new or empty.")
    if above is not None and not above.is_dir():
        raise UserError(f"{given} cannot be made: {above} is a file.")
    if is_root and folder.exists() and any(folder.iterdir()) and not (folder / "stages").is_dir():
        raise UserError(f"{given} holds something else: choose another output folder.")
    place = folder.absolute().parent if folder.exists() and not is_root else above
    if place is not None and not os.access(place, os.W_OK | os.X_OK):
        raise DiskError(
            f"{given} cannot be written: the disk is read-only, or {place} is not "
            "yours to write in."
        )
    return folder


def set_aside(folder: Path) -> Path:
    """Move a damaged result out of the way; gives where it lies now."""
    number = 1
    while (aside := folder.with_name(f"{folder.name}.broken-{number}")).exists():
        number += 1
    folder.rename(aside)
    return aside


@contextmanager
def stage_lock(folder: Path) -> Iterator[None]:
    """Keep other processes from the same stage, here and, where the file system can, elsewhere.

    The lock dies with its process, however that ends.

    Raises:
        BusyError: another process holds it.
        DiskError: the place cannot be written to.
    """
    path = lock_path(folder)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path)
        lock.acquire(timeout=0)
    except Timeout:
        raise BusyError(
            f"another run is at work on {folder}: wait for it to end, or choose another folder."
        ) from None
    except OSError as error:
        if error.errno in FULL:
            raise
        raise DiskError(f"{folder} cannot be written: {error.strerror}.") from error
    if not path.exists():  # its last holder removed it as this process opened it
        lock.release()
        raise BusyError(f"another run was at work on {folder} a moment ago: try again.")
    try:
        yield
    finally:
        with suppress(OSError):
            path.unlink(missing_ok=True)
        lock.release()


def lock_path(folder: Path) -> Path:
    """The lock of a stage's folder."""
    folder = folder.absolute()
    return folder.with_name(f".{folder.name}.lock")


def is_locked(folder: Path) -> bool:
    """Whether a process is at work on a stage."""
    path = lock_path(folder)
    if not path.exists():
        return False
    try:
        with FileLock(path).acquire(timeout=0):
            return False
    except (Timeout, OSError):
        return True


def working_folder(folder: Path) -> Path:
    """Where a stage's result is written before it is whole."""
    folder = folder.absolute()
    return folder.with_name(folder.name + PARTIAL)


def begin(folder: Path, identity: str) -> Path:
    """The working folder beside ``folder``; an interrupted run of the same stage is taken up there.

    What an interrupted run with other settings left is put aside, in ``FOLDER.partial-IDENTITY``,
    from where it is taken up again when those settings come back.

    Raises:
        UserError: something is there that no run of ours has left.
        DiskError: the place cannot be written to.
    """
    partial = working_folder(folder)
    try:
        shutil.rmtree(partial.with_name(partial.name + _GONE), ignore_errors=True)
        if _is_foreign(partial):
            raise UserError(
                f"{partial}, where the result is written before it is whole, is something else: "
                "choose another output folder, or move that away."
            )
        if (other := _mark(partial)) not in (identity, ""):  # "": killed as it was made
            aside = _aside(partial, other)
            shutil.rmtree(aside, ignore_errors=True)
            os.replace(partial, aside)
        mine = _aside(partial, identity)
        if mine.is_dir() and not partial.exists() and _mark(mine) == identity:
            os.replace(mine, partial)
        partial.mkdir(parents=True, exist_ok=True)
        (partial / IDENTITY).write_text(identity, encoding="utf-8")
        for path in partial.iterdir():  # all but what the run resumes from
            if path.name not in _KEPT:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
    except OSError as error:
        if error.errno in FULL:
            raise
        raise DiskError(f"{folder} cannot be written: {error.strerror}.") from error
    return partial


def put_aside(folder: Path, identity: str) -> Path | None:
    """Where `begin` will put what an interrupted run with other settings left; None for nothing."""
    partial = working_folder(folder)
    other = _mark(partial)
    return None if other in (identity, "") else _aside(partial, other)


def _is_foreign(partial: Path) -> bool:
    """Whether something is there that is no working folder."""
    if not partial.is_dir():
        return os.path.lexists(partial)
    is_ours = (partial / IDENTITY).is_file() or recorded_identity(partial) is not None
    return any(partial.iterdir()) and not is_ours


def _mark(partial: Path) -> str:
    """The identity of the stage that a working folder belongs to; "" where none is said."""
    try:
        return (partial / IDENTITY).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return recorded_identity(partial) or ""  # killed as it was renamed into its place


def _aside(partial: Path, identity: str) -> Path:
    return partial.with_name(f"{partial.name}-{identity[:12]}")


def discard(folder: Path) -> None:
    """Remove a folder; a kill in the middle leaves none that is half there under its name."""
    gone = folder.with_name(folder.name + _GONE)
    shutil.rmtree(gone, ignore_errors=True)
    with suppress(FileNotFoundError):
        os.replace(folder, gone)
    shutil.rmtree(gone, ignore_errors=True)


def holds_answers(folder: Path) -> bool:
    """Whether an evaluation's folder holds any answer; a file's first line is none."""
    for name in (ANSWERS, TASK_ANSWERS, SAMPLED_ANSWERS):
        with suppress(OSError), (folder / name).open("rb") as lines:
            if len(list(islice(lines, 2))) == 2:
                return True
    return False


def holds_results(folder: Path) -> bool:
    """Whether a working folder holds answers, or a screen's scores, to go on from."""
    scores = folder / SCORES
    return holds_answers(folder) or (scores.is_file() and scores.stat().st_size > 0)


def finish(partial: Path, folder: Path) -> None:
    """Rename a working folder into its place."""
    discard(partial / CHECKPOINTS)
    for name in (IDENTITY, ELAPSED, PROGRESS):
        (partial / name).unlink(missing_ok=True)
    if folder.exists():
        folder.rmdir()  # empty, or `is_finished` had said so
    os.replace(partial, folder)


def claim_root(root: Path) -> None:
    """Make a run's folder, or go on in one; anything else there is left alone.

    Raises:
        UserError: something else is there, or it cannot be written.
    """
    root = checked_output(root, is_root=True)
    try:
        (root / "stages").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        told = disk_trouble(error, root) or f"{root} cannot be written: {error.strerror}."
        raise DiskError(told) from error
