"""Rows by reference: a file, a part of a known data set, or a data set on the Hub."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from holdfast.data.reading import read_rows
from holdfast.data.sources.base import Origin, Part, Row, Source
from holdfast.data.sources.cutting import cut
from holdfast.data.sources.hub import download
from holdfast.data.sources.prepared import MANIFEST, data_folder, part_path, read_part
from holdfast.data.sources.reference import SOURCES, Reference, split_reference

__all__ = [
    "SOURCES",
    "Origin",
    "Part",
    "Reference",
    "Source",
    "is_known",
    "load",
    "split_reference",
]


def load(reference: str) -> list[Row]:
    """Return the rows that a reference names, in their order.

    - `FILE`: the rows of a JSON lines, JSON, CSV or Parquet file, as they are.
    - `NAME:PART`, or `NAME`: a known data set's part (`SOURCES`), normalised to Alpaca rows
      ("instruction", "input", "output", with "kind" and "id"; XSTest has no "output", WikiText-2
      only "text"). Prepared files come first (`$HOLDFAST_DATA`, else `data/`), then the Hub.
    - `hub:owner/name[@revision][/config]:split`: the rows of a split on the Hub, as they are.

    What was read once in this process is not read again, unless a file has changed. The list is the
    caller's own, the rows in it are not: do not change them.

    Raises:
        UserError: As `split_reference`; no such file; a broken file; no access, network, split or
            revision; a data set whose columns or labels are not those that are known.
    """
    found = split_reference(reference)
    if found.path:
        return list(_file(found.path, _stamp(Path(found.path))))
    if found.name:
        folder = data_folder()
        stamps = (
            _stamp(folder / found.name / MANIFEST),
            _stamp(part_path(folder, found.name, found.part)),
        )
        return list(_part(found.name, found.part, str(folder), stamps))
    return list(_hub(found.hub, found.config, found.revision, found.split))


def is_known(reference: str) -> bool:
    """Whether a reference names a known data set, whose rows are normalised already."""
    return bool(split_reference(reference).name)


Stamp = tuple[int, int] | None


def _stamp(path: Path) -> Stamp:
    """What changes when a file does."""
    try:
        about = path.stat()
    except OSError:
        return None
    return about.st_mtime_ns, about.st_size


@lru_cache(maxsize=16)
def _file(path: str, stamp: Stamp) -> list[Row]:
    return read_rows(path)


@lru_cache(maxsize=16)
def _part(name: str, part: str, folder: str, stamps: tuple[Stamp, Stamp]) -> list[Row]:
    rows = read_part(Path(folder), name, part)
    if rows is None:
        source = SOURCES[name]
        rows = cut(source, part, lambda origin, split: _raw(name, origin, split)).rows
    return rows


@lru_cache(maxsize=4)
def _raw(name: str, origin: str, split: str) -> list[Row]:
    return download(SOURCES[name].origins[origin], split)[0]


@lru_cache(maxsize=16)
def _hub(hub: str, config: str | None, revision: str | None, split: str) -> list[Row]:
    return download(Origin(hub, (), config, revision), split)[0]
