"""The SHA-256 of files, remembered for as long as a file stays the one that it was.

A file is known again by its inode, its size and two times: of its content's last change and of its
entry's, which nobody can set back. The first look reads the file, a later one does not. What is
known lies in ``~/.cache/holdfast/digests.txt`` ($HOLDFAST_CACHE: another folder), a line a file;
where that cannot be read or written, every look reads.
"""

import hashlib
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

FILE = "digests.txt"
# A file that changes within one tick of its file system's clock keeps its times (FAT's are 2 s). So
# what was hashed so soon after the last change is hashed again at the next look.
_TICK = 2_000_000_000
# Beyond, all is forgotten: some 300,000 files, of which most will be gone.
_LARGEST = 48 * 2**20


class _Known(NamedTuple):
    digest: str
    looked: int  # when, in nanoseconds


_Key = tuple[int, ...]  # device, inode, size, time of the content, time of the entry


def file_digest(path: Path, anew: bool = False) -> str:
    """The SHA-256 of a file's content, 64 hexadecimal digits; a link stands for what it leads to.

    Args:
        path: the file.
        anew: read it, whatever is remembered.

    Raises:
        OSError: it is not there or cannot be read.
    """
    key = _key(path)
    known = None if anew else _MEMORY.find(key)
    if known is not None and known.looked - max(key[3:]) > _TICK:
        return known.digest
    looked = time.time_ns()
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if _key(path) == key:  # else it changes just now, and the next look is to read it again
        _MEMORY.add(key, _Known(digest, looked))
    return digest


def _key(path: Path) -> _Key:
    about = path.stat()
    return (about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns)


class _Memory:
    """What this process has read and written of the file of digests."""

    def __init__(self) -> None:
        self.known: dict[_Key, _Known] = {}
        self.read_to: dict[Path, int] = {}

    def find(self, key: _Key) -> _Known | None:
        if key not in self.known:
            self._read()
        return self.known.get(key)

    def add(self, key: _Key, known: _Known) -> None:
        self.known[key] = known
        line = " ".join(map(str, (*key, known.looked, known.digest))) + "\n"
        with suppress(OSError, RuntimeError):
            path = _file()
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.exists() and path.stat().st_size > _LARGEST:
                path.unlink()
            # One write of one line at the end: processes side by side do not mix theirs.
            number = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                os.write(number, line.encode())
            finally:
                os.close(number)

    def _read(self) -> None:
        """Take what was written since the last look, by whichever process."""
        with suppress(OSError, RuntimeError):
            path = _file()
            size, start = path.stat().st_size, self.read_to.get(path, 0)
            if size == start:
                return
            with path.open("rb") as file:
                file.seek(start if start < size else 0)
                text = file.read()
                whole = text.rpartition(b"\n")[0]
                self.read_to[path] = file.tell() - len(text) + len(whole) + bool(whole)
            for line in whole.split(b"\n"):
                with suppress(ValueError):
                    *key, looked, digest = line.split()
                    if len(key) == 5 and len(digest) == 64:
                        self.known[tuple(map(int, key))] = _Known(digest.decode(), int(looked))


def _file() -> Path:
    folder = os.environ.get("HOLDFAST_CACHE") or "~/.cache/holdfast"
    return Path(folder).expanduser() / FILE


_MEMORY = _Memory()
