"""Whether a finished stage's folder still is what was written: its files by size and by hash.

``provenance.json`` holds both of every file. A folder of a version that wrote sizes alone is hashed
on first sight, and its provenance written again with the hashes; where it cannot be written, its
sizes are all that is compared.
"""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from holdfast.errors import UserError
from holdfast.models.digests import file_digest
from holdfast.stages.disk import write_json
from holdfast.stages.folders import (
    CHECKPOINTS,
    ELAPSED,
    IDENTITY,
    PROGRESS,
    PROVENANCE,
    recorded_identity,
)

SIZES, HASHES = "files", "sha256"


def written_files(folder: Path) -> dict[str, dict[str, Any]]:
    """Size and hash of every file of a stage's folder, as its provenance holds them."""
    skipped = (CHECKPOINTS, PROVENANCE, PROGRESS, IDENTITY, ELAPSED)
    files = {
        path.relative_to(folder).as_posix(): path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.relative_to(folder).parts[0] not in skipped
    }
    return {
        SIZES: {name: path.stat().st_size for name, path in files.items()},
        HASHES: {name: file_digest(path) for name, path in files.items()},
    }


def damaged_file(folder: Path, anew: bool = False) -> str | None:
    """A file of a finished stage that is gone or another than was written.

    Args:
        folder: the stage's folder.
        anew: read every file, whatever is remembered of it.
    """
    try:
        provenance = json.loads((folder / PROVENANCE).read_text(encoding="utf-8"))
        sizes, hashes = dict(provenance.get(SIZES, {})), dict(provenance.get(HASHES, {}))
    except (OSError, ValueError, AttributeError, TypeError):
        return PROVENANCE
    for name, size in sizes.items():
        try:
            if (folder / name).stat().st_size != size:
                return name
            if name in hashes and file_digest(folder / name, anew) != hashes[name]:
                return name
        except OSError:
            return name
    if sizes and not hashes:
        with suppress(OSError):  # not ours to write in
            hashes = {name: file_digest(folder / name) for name in sizes}
            write_json(folder / PROVENANCE, {**provenance, HASHES: hashes})
    return None


def is_finished(folder: Path, identity: str) -> bool:
    """Whether ``folder`` holds the result of the stage with this identity already, whole.

    Raises:
        UserError: it holds something else, which is not ours to overwrite.
    """
    if not folder.exists():
        return False
    if not folder.is_dir():
        raise UserError(f"{folder} is a file; the output must be a folder that is new or empty.")
    if not any(folder.iterdir()):
        return False
    if recorded_identity(folder) == identity:
        damaged = damaged_file(folder)
        if damaged is None:
            return True
        raise UserError(
            f"{folder} holds this result, but its file {damaged} is damaged or gone: remove the "
            "folder and run the same command again."
        )
    what = "the result of another run" if recorded_identity(folder) else "something else"
    raise UserError(f"{folder} holds {what}: choose another output folder, or remove it first.")


def is_complete(partial: Path, identity: str) -> bool:
    """Whether a working folder holds the whole result: its run was killed as it finished."""
    return recorded_identity(partial) == identity and damaged_file(partial) is None


def check_whole(folder: Path, anew: bool = False) -> None:
    """Check that a stage's folder is what was written, before anything stands on it.

    Any other folder is what it is.

    Raises:
        UserError: a file of it is gone or was changed.
    """
    if recorded_identity(folder) is None:
        return
    damaged = damaged_file(folder, anew)
    if damaged is not None:
        raise UserError(
            f"{folder} is not what was written there any more: its file {damaged} is gone or was "
            f"changed. Make it again, or, to use it as a model of its own, remove {PROVENANCE} "
            "from it."
        )
