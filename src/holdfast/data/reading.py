"""Rows from files: JSON lines, JSON, CSV and Parquet, text also compressed by gzip."""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from holdfast.data.tool_calls import unfilled
from holdfast.errors import UserError

SUFFIXES = (".jsonl", ".json", ".csv", ".parquet")


def read_rows(path: str | Path, headerless: str | None = None) -> list[dict[str, Any]]:
    """Read a file's rows, in order: `.jsonl`, `.json` (a list), `.csv` or `.parquet`.

    A text file may be compressed (`.jsonl.gz`). Text is UTF-8, with or without a byte order mark.
    CSV cells stay text; an empty one is "". With `headerless` a CSV file has no header and one
    column, which gets that name; a comma that is not quoted belongs to the text.

    Raises:
        UserError: No such file, an unknown suffix, no row in it, broken text, or a row that is not
            an object; with the path, and with the line or the row (both count from 1).
    """
    path = Path(path)
    suffix = suffix_of(path)
    if suffix == ".parquet":
        rows = _read_parquet(path)
    else:
        text = _read_text(path)
        read = {".jsonl": _read_jsonl, ".json": _read_json, ".csv": _read_csv}[suffix]
        if headerless and suffix == ".csv":
            rows = _read_lines(path, text, headerless)
        else:
            rows = read(path, text) if text.strip() else []
    if not rows:
        raise UserError(f"{path}: the file is empty; it must hold at least one row")
    return rows


def suffix_of(path: Path) -> str:
    """The suffix that says how a file's rows are read, that of ``rows.jsonl.gz`` being ``.jsonl``.

    Raises:
        UserError: it is none that is known, or there is no such file.
    """
    suffix = Path(path.stem if path.suffix.lower() == ".gz" else path).suffix.lower()
    if suffix not in SUFFIXES:
        raise UserError(
            f"{path}: cannot read rows from a {suffix or 'suffixless'} file; "
            f"give one of {', '.join(SUFFIXES)}"
        )
    if path.is_dir():
        raise UserError(f"{path}: is a folder; name the file of rows in it")
    if not path.is_file():
        raise UserError(f"{path}: there is no such file")
    return suffix


def _read_text(path: Path) -> str:
    try:
        content = path.read_bytes()
        if path.suffix.lower() == ".gz":
            content = gzip.decompress(content)
        return content.decode("utf-8-sig")
    except (gzip.BadGzipFile, EOFError, zlib.error):
        raise UserError(f"{path}: is no whole gzip file") from None
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}: byte {error.start} is not UTF-8; save the file as UTF-8"
        ) from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None


def _read_jsonl(path: Path, text: str) -> list[dict[str, Any]]:
    # Not str.splitlines, which also breaks at separators that JSON allows inside a string.
    lines = enumerate(text.split("\n"), start=1)
    return [jsonl_row(path, number, line) for number, line in lines if line.strip()]


def jsonl_row(path: Path, number: int, line: str) -> dict[str, Any]:
    """The row of one line of JSON lines.

    Raises:
        UserError: it is broken, or no object.
    """
    row = _loaded(path, line, lambda _: f"line {number}")
    if not isinstance(row, dict):
        raise UserError(
            f"{path}, line {number}: each line must be a JSON object, and this one is "
            f"{type(row).__name__}"
        )
    return row


def _loaded(path: Path, text: str, place: Callable[[int], str], hint: str = "") -> Any:
    """What a text of JSON holds; ``place`` says where a line of it is."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        told = f"({error.msg}, column {error.colno})" + (hint if error.msg == "Extra data" else "")
        raise UserError(f"{path}, {place(error.lineno)}: broken JSON {told}") from None
    except RecursionError:
        raise UserError(f"{path}, {place(1)}: is nested too deeply to be read") from None
    except ValueError:  # Python reads no whole number of more than 4,300 digits
        raise UserError(f"{path}, {place(1)}: holds a number that is too long to be read") from None


def _read_json(path: Path, text: str) -> list[dict[str, Any]]:
    hint = "; a file with one object per line must be named .jsonl"
    rows = _loaded(path, text, lambda line: f"line {line}", hint)
    if not isinstance(rows, list):
        raise UserError(
            f"{path}: must hold a JSON list of objects, and holds {type(rows).__name__}"
        )
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict):
            raise UserError(
                f"{path}, row {number}: must be a JSON object, and is {type(row).__name__}"
            )
    return rows


def _read_csv(path: Path, text: str) -> list[dict[str, Any]]:
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    rows = []
    limit = csv.field_size_limit(len(text) + 1)  # of a cell; Python's own is 131,072 characters
    try:
        for row in reader:
            if None in row or None in row.values():
                raise UserError(
                    f"{path}, line {reader.line_num}: has {'more' if None in row else 'fewer'} "
                    f"cells than the header ({', '.join(reader.fieldnames or [])})"
                )
            rows.append(row)
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.reader.line_num}: broken CSV ({error})") from None
    finally:
        csv.field_size_limit(limit)
    return rows


def _read_lines(path: Path, text: str, column: str) -> list[dict[str, Any]]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        return [{column: ",".join(cells)} for cells in reader if any(map(str.strip, cells))]
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num}: broken CSV ({error})") from None


def _read_parquet(path: Path) -> list[dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return [unfilled(row) for row in pq.read_table(path).to_pylist()]
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path}: is no readable Parquet file ({reason})") from None
