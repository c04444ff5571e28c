"""Data sets as files: what `holdfast data prepare` writes and `load` reads.

`FOLDER/NAME/PART.jsonl` holds a part's rows, `FOLDER/NAME/manifest.json` says of each part how many
there are, their fingerprint, where they are from and what was left out. A part that is not in the
manifest was not written to its end.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from holdfast.data.keys import fingerprint
from holdfast.data.reading import read_rows
from holdfast.data.sources.base import Row
from holdfast.errors import UserError

MANIFEST = "manifest.json"


def data_folder() -> Path:
    """Where prepared files are: `$HOLDFAST_DATA`, else `data` in the working folder."""
    return Path(os.environ.get("HOLDFAST_DATA") or "data")


def manifest(folder: Path, name: str) -> dict[str, Any]:
    """Return what the manifest says of each part of a data set; nothing where there is none.

    Raises:
        UserError: The manifest is broken.
    """
    path = folder / name / MANIFEST
    if not path.is_file():
        return {}
    try:
        parts = json.loads(path.read_text(encoding="utf-8"))["parts"]
    except (OSError, ValueError, KeyError, TypeError):
        parts = None
    if not isinstance(parts, dict):
        raise UserError(
            f"{path} is no manifest: remove it and run `holdfast data prepare {name}` again"
        )
    return parts


def read_part(folder: Path, name: str, part: str) -> list[Row] | None:
    """Return a prepared part's rows, or None where it is not prepared.

    Raises:
        UserError: The file is not the one that was written.
    """
    entry = manifest(folder, name).get(part)
    path = part_path(folder, name, part)
    if entry is None:
        return None
    if not path.is_file() or digest(path) != entry["sha256"]:
        raise UserError(
            f"{path} is not the file that its manifest describes: run `holdfast data prepare "
            f"{name}` again, or name a changed file by another path"
        )
    return read_rows(path)


def write_part(
    folder: Path, name: str, part: str, rows: list[Row], about: Mapping[str, Any]
) -> dict[str, Any]:
    """Write a part and then its entry in the manifest, each whole or not at all; give the entry.

    Raises:
        UserError: The folder cannot be written to.
    """
    path = part_path(folder, name, part)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
        entry = {
            "rows": len(rows),
            "fingerprint": fingerprint(rows),
            "sha256": digest(path),
            **about,
        }
        parts = {**manifest(folder, name), part: entry}
        _write(path.with_name(MANIFEST), json.dumps({"parts": parts}, indent=2) + "\n")
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}") from error
    return entry


def part_path(folder: Path, name: str, part: str) -> Path:
    """Where a part's rows lie."""
    return folder / name / f"{part}.jsonl"


def digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write(path: Path, content: str) -> None:
    beside = path.with_name(path.name + ".new")
    try:
        beside.write_bytes(content.encode("utf-8", "surrogatepass"))
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
