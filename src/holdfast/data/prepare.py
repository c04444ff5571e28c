"""`holdfast data prepare`: known data sets as files, each part whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from holdfast.data.reading import read_rows
from holdfast.data.sources.base import Row, Source
from holdfast.data.sources.cutting import cut
from holdfast.data.sources.hub import download
from holdfast.data.sources.local import read_split, source_folder, split_files
from holdfast.data.sources.prepared import digest, manifest, part_path, write_part
from holdfast.data.sources.reference import SOURCES, split_reference
from holdfast.errors import UserError
from holdfast.settings import nearest

# To be raised where a data set's rows are made in another way, so that files of the old one are
# made again.
HOW = 1


def prepare(
    names: Iterable[str],
    output: Path,
    copy: str | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> None:
    """Write every part of known data sets into `output/NAME/PART.jsonl`, with a manifest.

    A part that is there already, made in the same way from the same source, is left alone, so an
    interrupted call goes on where it stopped.

    Args:
        names: The data sets.
        output: The folder.
        copy: Where to read a copy in place of the data set itself: a folder in the Hub's layout,
            the file of a data set that has one split, or `owner/name[@revision][/config]` on the
            Hub. A folder may hold one folder a data set.
        tell: Called with a line on each part.

    Raises:
        UserError: No such data set; whatever is wrong with its rows, the Hub or a folder. A part
            whose split the folder lacks, or whose own data set beside the main one is not there, is
            told and left out; a data set of which nothing is there is an error.
    """
    names = list(dict.fromkeys(names))
    for name in names:
        if name not in SOURCES:
            close = nearest(name, SOURCES)
            hint = f"did you mean '{close}'? " if close else ""
            raise UserError(f"there is no data set '{name}'; {hint}known are {', '.join(SOURCES)}")
    for name in names:
        source, folder = SOURCES[name], None
        if copy and Path(copy).is_file():
            folder = _only_file(Path(copy), source, names)
        elif copy and (Path(copy).is_dir() or len(names) > 1 or copy.count("/") != 1):
            folder = source_folder(Path(copy), source, len(names) == 1)
        elif copy:
            mirror = split_reference(f"hub:{copy}:train")
            main = replace(
                source.origins["main"],
                hub=mirror.hub,
                revision=mirror.revision,
                config=mirror.config,
                files={},
            )
            source = replace(source, origins={**source.origins, "main": main})
        _prepare(source, output, _Splits(source, folder), tell)


def _only_file(path: Path, source: Source, names: list[str]) -> Path:
    """Check that a file can be all of a data set."""
    splits = sorted({part.split for part in source.parts.values()})
    if len(names) > 1 or len(splits) > 1:
        what = f"{source.name} has the splits {', '.join(splits)}"
        several = f"{len(names)} data sets are asked for" if len(names) > 1 else what
        raise UserError(f"{path} is one file, and {several}: name a folder")
    known = sorted({n for origin in source.origins.values() for n in origin.authors.values()})
    if len(known) > 1:  # nothing in the rows tells which of them they are
        raise UserError(
            f"{path} is one file, and {source.name} has {', '.join(known)}: name their folder"
        )
    return path


def _prepare(source: Source, output: Path, splits: _Splits, tell: Callable[[str], None]) -> None:
    missing: list[_MissingError] = []
    for part in source.parts:
        try:
            entry, is_new = _part(source, part, output, splits)
        except _MissingError as error:
            missing.append(error)
            tell(f"{source.name}:{part} is left out: {error}")
            continue
        left_out = "".join(f", {n} left out ({why})" for why, n in entry["left_out"].items())
        state = "" if is_new else " (there already)"
        tell(f"{source.name}:{part}: {entry['rows']} rows{left_out}{state}")
    if len(missing) == len(source.parts):
        raise UserError(str(missing[0]))


def _part(source: Source, part: str, output: Path, splits: _Splits) -> tuple[dict[str, Any], bool]:
    """Write a part, or find it; give its entry in the manifest and whether it is new."""
    there = manifest(output, source.name).get(part)
    about, how = source.parts[part], _how(source, part)
    path = part_path(output, source.name, part)
    if there and there["how"] == how and path.is_file() and digest(path) == there["sha256"]:
        origin = splits.about(about.origin, about.split)
        if origin and there["from"] == origin:
            return there, False
    made = cut(source, part, splits.read)
    entry = {
        "from": splits.about(about.origin, about.split),
        "licence": source.licence,
        "how": how,
        "left_out": made.left_out,
    }
    return write_part(output, source.name, part, made.rows, entry), True


def _how(source: Source, name: str) -> dict[str, Any]:
    part = source.parts[name]
    return {
        "version": HOW,
        "split": part.split,
        "rows": f"{part.start}:{'' if part.stop is None else part.stop}",
        "apart_from": list(part.apart_from),
    }


class _MissingError(UserError):
    """A split that cannot be had, while others may be."""


class _Splits:
    """The splits of a data set, read once each, from a folder or the Hub."""

    def __init__(self, source: Source, folder: Path | None):
        self.source, self.folder = source, folder
        self._rows: dict[tuple[str, str], list[Row]] = {}
        self._about: dict[tuple[str, str], dict[str, str]] = {}
        self._missing: dict[str, _MissingError] = {}

    def read(self, origin: str, split: str) -> list[Row]:
        """The rows of a split."""
        key, about = (origin, split), self.source.origins[origin]
        if key in self._rows:
            return self._rows[key]
        if self.folder:
            if self.folder.is_file():
                self._rows[key] = read_rows(self.folder, about.headerless)
                files = [self.folder]
            elif not split_files(self.folder, about, split):
                raise _MissingError(f"{self.folder} has no split '{split}'")
            else:
                self._rows[key], files = read_split(self.folder, about, split)
            # Names and hashes, not the folder, which is this machine's.
            self._about[key] = {path.name: digest(path) for path in files}
        else:
            self._rows[key], commit = self._download(origin, split)
            self._about[key] = {"hub": about.hub, "commit": commit}
        return self._rows[key]

    def about(self, origin: str, split: str) -> dict[str, str] | None:
        """Where a split is from; None where reading it must tell."""
        key, about = (origin, split), self.source.origins[origin]
        if key not in self._about and self.folder:
            whole = self.folder.is_file()
            files = [self.folder] if whole else split_files(self.folder, about, split)
            return {path.name: digest(path) for path in files}
        if key not in self._about:
            return {"hub": about.hub, "commit": about.revision} if about.revision else None
        return self._about[key]

    def _download(self, origin: str, split: str) -> tuple[list[Row], str]:
        if origin in self._missing:
            raise self._missing[origin]
        try:
            return download(self.source.origins[origin], split)
        except UserError as error:
            if origin == "main":
                raise
            self._missing[origin] = _MissingError(str(error))
            raise self._missing[origin] from None
