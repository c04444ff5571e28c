"""A split's rows from a folder on this machine, in the layouts that the Hub's data sets have."""

from __future__ import annotations

from pathlib import Path

from holdfast.data.reading import SUFFIXES, read_rows
from holdfast.data.sources.base import Origin, Row, Source
from holdfast.errors import UserError

_ENDINGS = (*SUFFIXES, *(f"{suffix}.gz" for suffix in SUFFIXES if suffix != ".parquet"))


def source_folder(folder: Path, source: Source, alone: bool) -> Path:
    """Return where in `folder` a data set lies: a folder of its name or of its name on the Hub.

    Args:
        folder: What the user named.
        source: The data set.
        alone: Whether it is the only one asked for, so that `folder` may be its own.

    Raises:
        UserError: The folder is not there, or holds no such folder.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: there is no such folder")
    hub = source.origins["main"].hub
    for name in (source.name, hub, hub.replace("/", "--"), hub.rsplit("/", 1)[-1]):
        if (folder / name).is_dir():
            return folder / name
    if alone:
        return folder
    raise UserError(
        f"{folder} holds no folder for {source.name}; it would be called '{source.name}' or '{hub}'"
    )


def split_files(folder: Path, origin: Origin, split: str) -> list[Path]:
    """Return the files of a split, in their order; none where it is not there.

    Known are `SPLIT.jsonl` (or `.json`, `.csv`, `.parquet`, text also with `.gz`), numbered shards
    `SPLIT-00000-of-00002.parquet`, both also below `data/` or a folder named like the
    configuration, `SPLIT/*.parquet`, and the file or files that the origin itself names, as they
    are called on the Hub or at their authors.
    """
    named = origin.files.get(split)
    authors = folder / origin.authors.get(split, "")
    if authors.is_file():
        return [authors]
    if named and "*" in named and (several := sorted(folder.glob(named))):
        return several
    if named:
        for path in (folder / named, folder / Path(named).name):
            # The names of BeaverTails' own files, train and test, mean other splits elsewhere.
            if path.is_file() and (path == folder / named or split in path.name):
                return [path]
    places = [folder, folder / "data"]
    if origin.config:
        places = [folder / origin.config, *places]
    for place in places:
        for ending in _ENDINGS:
            if (place / f"{split}{ending}").is_file():
                return [place / f"{split}{ending}"]
            for pattern in (f"{split}-*-of-*{ending}", f"{split}/*{ending}"):
                shards = sorted(path for path in place.glob(pattern) if path.is_file())
                if shards:
                    return shards
    return []


def read_split(folder: Path, origin: Origin, split: str) -> tuple[list[Row], list[Path]]:
    """Return a split's rows and the files that they are from.

    Raises:
        UserError: The split is not there (the sentence says what is), or a file is broken.
    """
    files = split_files(folder, origin, split)
    if not files:
        there = sorted(path.name for path in folder.iterdir())[:12]
        raise UserError(
            f"{folder} has no split '{split}' (looked for {split}.jsonl, {split}-*.parquet and the "
            f"like); there are {', '.join(there) or 'no files'}"
        )
    return [row for path in files for row in read_rows(path, origin.headerless)], files
