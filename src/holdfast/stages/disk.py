"""Files that are written whole or not at all, and what a user is told where the disk takes none."""

import errno
import json
import os
import shutil
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml

from holdfast.errors import DiskError, UserError

CONFIG = "config.yaml"
NEW = ".new"
FULL = (errno.ENOSPC, errno.EDQUOT)
_FORBIDDEN = (errno.EROFS, errno.EACCES, errno.EPERM)


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Tell in one sentence that the disk takes nothing, whichever library met it.

    Args:
        folder: what is written; a place beside it counts too.

    Raises:
        DiskError: the disk is full or read-only, or the place may not be written.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        told = disk_trouble(error, folder)
        if told is None:
            raise
        raise DiskError(told) from error


def disk_trouble(error: Exception, folder: Path | None = None) -> str | None:
    """What a user is told where the disk takes nothing; None for any other error.

    Args:
        error: whatever a library raised.
        folder: what was to be written; None if that is not known.
    """
    number, text = getattr(error, "errno", None), str(error)
    named = getattr(error, "filename", None)
    where = folder.parent if folder else Path(os.fsdecode(named)) if named else Path.cwd()
    # Torch's own writer names the position in the file, not the reason.
    torch_is_full = "PytorchStreamWriter" in text and _free_bytes(where) < 2**20
    if number in FULL or "No space left on device" in text or torch_is_full:
        return f"the disk is full at {where}: free some space and run the same command again."
    read_only = number == errno.EROFS or "Read-only file system" in text
    if read_only:
        return (
            f"{folder or named or where} cannot be written: the disk is read-only there; make it "
            "writable, or choose another folder, and run the same command again."
        )
    # A file elsewhere may be one that cannot be read, such as a model's.
    ours = named is not None and (folder is None or Path(os.fsdecode(named)).is_relative_to(where))
    if number in _FORBIDDEN and ours:
        what = "written" if folder else "read or written"
        return (
            f"{named} cannot be {what}: {os.strerror(number)}; mend its permissions and run the "
            "same command again."
        )
    return None


def _free_bytes(folder: Path) -> int:
    place = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    return shutil.disk_usage(place).free


def write_config(folder: Path, settings: Mapping[str, Any], **about: Any) -> None:
    """Write ``config.yaml``: the resolved settings, and what a reader of the folder needs first."""
    content = {**about, **settings}
    write_text(folder / CONFIG, yaml.safe_dump(content, sort_keys=False, allow_unicode=True))


def write_json(path: Path, content: Any) -> None:
    """Write JSON whole or not at all."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a file beside its place, then rename it into it."""
    # Two runs of one folder may write the same record at once, each beside it in a file of its own.
    beside = path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}{NEW}")
    try:
        beside.write_text(text, encoding="utf-8")
        os.replace(beside, path)
    except BaseException:
        with suppress(OSError):
            beside.unlink(missing_ok=True)
        raise
