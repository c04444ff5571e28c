"""Rows one after the other, from files and data sets that need not fit into memory, and back.

JSON lines, CSV and Parquet are read piece by piece, and so is a split of the Hub, which `datasets`
keeps on the disk. A ``.json`` file and a part of a known data set are read whole.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from holdfast.data.keys import fingerprint
from holdfast.data.reading import jsonl_row, read_rows, suffix_of
from holdfast.data.sources import Origin, load, split_reference
from holdfast.data.sources.hub import opened_split
from holdfast.data.tool_calls import unfilled
from holdfast.errors import UserError

Row = dict[str, Any]
_BATCH = 256  # rows of a Parquet file in memory at once
_LONGEST_CELL = 2**31 - 1  # characters; on Windows Python takes no higher limit


@dataclass(frozen=True)
class RowStream:
    """The rows of a reference, which may be gone through as often as is needed.

    Args:
        reference: what names them.
        suffix: the kind of file that they are, and are written as.
        rows: begins at the first row.
        identity: a hash of their content, or the commit that they are of.
        schema: the columns' types of a Parquet file or a split of the Hub, the columns' names of a
            CSV file; None elsewhere.
    """

    reference: str
    suffix: str
    rows: Callable[[], Iterator[Row]]
    identity: Callable[[], str]
    schema: Any = None


def stream(reference: str) -> RowStream:
    """The rows that a reference names, see `holdfast.data.sources.load`.

    Raises:
        UserError: as `load` does, but for what is wrong within the rows, which is told as they are
            read.
    """
    found = split_reference(reference)
    if found.path:
        return _of_file(Path(found.path))
    if found.hub:
        origin = Origin(found.hub, (), found.config, found.revision)
        split, commit = opened_split(origin, found.split)
        identity = f"{reference} {commit or split._fingerprint}"
        return RowStream(
            reference,
            ".parquet",
            lambda: (unfilled(row) for row in split),
            lambda: identity,
            split.features.arrow_schema,
        )
    return of_rows(reference, load(reference))


def of_rows(reference: str, rows: Sequence[Row]) -> RowStream:
    """Rows that are in memory, as a stream."""
    return RowStream(reference, ".jsonl", lambda: iter(rows), lambda: fingerprint(rows))


def _of_file(path: Path) -> RowStream:
    suffix = suffix_of(path)
    readers = {".jsonl": _jsonl, ".csv": _csv, ".parquet": _parquet}
    read = readers.get(suffix, lambda whole: iter(read_rows(whole)))
    schemas = {".parquet": _schema, ".csv": lambda table: list(next(_csv(table), {}))}
    schema = schemas[suffix](path) if suffix in schemas else None
    return RowStream(str(path), suffix, lambda: read(path), lambda: _digest(path), schema)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _jsonl(path: Path) -> Iterator[Row]:
    with _text(path) as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                yield jsonl_row(path, number, line)


def _csv(path: Path) -> Iterator[Row]:
    with _text(path) as lines:
        reader = csv.DictReader(lines, strict=True)
        limit = csv.field_size_limit(_LONGEST_CELL)  # Python's own is 131,072 characters
        try:
            for row in reader:
                if None in row or None in row.values():
                    raise UserError(
                        f"{path}, line {reader.line_num}: has "
                        f"{'more' if None in row else 'fewer'} cells than the header "
                        f"({', '.join(reader.fieldnames or [])})"
                    )
                yield row
        except csv.Error as error:
            raise UserError(
                f"{path}, line {reader.reader.line_num}: broken CSV ({error})"
            ) from None
        finally:
            csv.field_size_limit(limit)


def _parquet(path: Path) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(_BATCH):
                yield from map(unfilled, batch.to_pylist())
    except (pa.ArrowException, OSError) as error:
        raise UserError(
            f"{path}: is no readable Parquet file ({str(error).splitlines()[0]})"
        ) from None


def _schema(path: Path) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.read_schema(path)
    except (pa.ArrowException, OSError) as error:
        raise UserError(
            f"{path}: is no readable Parquet file ({str(error).splitlines()[0]})"
        ) from None


@contextmanager
def _text(path: Path) -> Iterator[IO[str]]:
    """The file's text, unpacked; what is wrong with it is told in one sentence as it is read."""
    opened: Any = gzip.open if path.suffix.lower() == ".gz" else open
    try:
        # JSON lines end at \n alone, and in CSV what ends a line is the reader's to tell.
        newline = "" if suffix_of(path) == ".csv" else "\n"
        with opened(path, "rt", encoding="utf-8-sig", newline=newline) as lines:
            yield lines
    except (gzip.BadGzipFile, EOFError, zlib.error):
        raise UserError(f"{path}: is no whole gzip file") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: is not UTF-8; save the file as UTF-8") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None


class RowWriter:
    """Writes rows to a file in the format that its suffix says, piece by piece.

    Args:
        path: the file, ``.jsonl``, ``.json``, ``.csv`` or ``.parquet``.
        schema: the columns' types of a Parquet file, or their names of a CSV file; those of the
            first rows if not given.
        more: columns that all rows have beside those of the schema, with their Arrow types' names.
    """

    def __init__(self, path: Path, schema: Any = None, more: Mapping[str, str] | None = None):
        self._path, self._suffix = path, path.suffix
        self._schema, self._more = schema, dict(more or {})
        self._waiting: list[Row] = []
        self._parquet: Any = None
        self._csv: csv.DictWriter | None = None
        self.count = 0
        self._file: Any = None
        if self._suffix != ".parquet":
            self._file = path.open("w", encoding="utf-8", newline="")
        if self._suffix == ".json":
            self._file.write("[")
        if self._suffix == ".csv" and schema:  # so that a file without a row has its header
            self._begin_csv(dict.fromkeys([*schema, *self._more]))

    def __enter__(self) -> RowWriter:
        return self

    def __exit__(self, kind: Any, *_: object) -> None:
        try:
            if kind is None:
                self._end()
        finally:
            for opened in (self._file, self._parquet):
                if opened is not None:
                    opened.close()

    def write(self, row: Mapping[str, Any]) -> None:
        """Write one row."""
        if self._suffix == ".parquet":
            self._waiting.append(dict(row))
            if len(self._waiting) >= _BATCH:
                self._flush()
        elif self._suffix == ".csv":
            writer = self._csv or self._begin_csv(row)
            writer.writerow(row)
        else:
            comma = "," if self.count and self._suffix == ".json" else ""
            start = f"{comma}\n" if self._suffix == ".json" else ""
            end = "" if self._suffix == ".json" else "\n"
            self._file.write(f"{start}{_json(row)}{end}")
        self.count += 1

    def _begin_csv(self, columns: Iterable[str]) -> csv.DictWriter:
        self._csv = csv.DictWriter(_Lines(self._file), list(columns))
        self._csv.writeheader()
        return self._csv

    def _end(self) -> None:
        if self._suffix == ".json":
            self._file.write("\n]\n")
        if self._suffix == ".parquet" and (self._waiting or self._parquet is None):
            self._flush()

    def _flush(self) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        if self._schema is not None and self._parquet is None:
            for name, type_name in self._more.items():
                place = self._schema.get_field_index(name)
                new = pa.field(name, pa.type_for_alias(type_name))
                known = place >= 0
                self._schema = self._schema.set(place, new) if known else self._schema.append(new)
        table = pa.Table.from_pylist(self._waiting, schema=self._schema)
        if self._parquet is None:
            self._schema = table.schema
            self._parquet = pq.ParquetWriter(self._path, self._schema)
        if len(table):
            self._parquet.write_table(table)
        self._waiting = []


class _Lines:
    r"""Takes the lines of Python's CSV writer, and ends them with \n alone.

    Told to do so itself it leaves a cell with a \r in it unquoted, and at that the line would end.
    """

    def __init__(self, file: IO[str]):
        self._file = file

    def write(self, line: str) -> int:
        return self._file.write(line.removesuffix("\r\n") + "\n")


def _json(row: Mapping[str, Any]) -> str:
    text = json.dumps(row, ensure_ascii=False, default=str)
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a character, which JSON can say and UTF-8 cannot
        return json.dumps(row, default=str)
    return text
