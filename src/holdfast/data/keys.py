"""Which rows are the same: fingerprints of sets of rows, and keys of single ones."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any

from holdfast.data.conversations import said
from holdfast.data.prompts import Parts, Row, answered_turns, parts, plain, shape
from holdfast.data.rows import IGNORED, checked_tokens


def fingerprint(rows: Iterable[Row]) -> str:
    """Return the SHA-256 (hex) of the rows' canonical JSON, all columns, in their order.

    Equal rows in equal order have equal fingerprints in any process and Python version. The order
    of the rows matters, that of a row's columns does not.
    """
    digest = hashlib.sha256()
    for row in rows:
        digest.update(_canonical(row))
        digest.update(b"\n")
    return digest.hexdigest()


def row_key(row: Row) -> str:
    """Return what identifies a row's content: prompt and answer, whatever its shape and extras."""
    if shape(row) == "tokenized":
        tokens = checked_tokens(row)
        return fingerprint([{"ids": list(tokens["input_ids"]), "labels": list(tokens["labels"])}])
    return _row_key(parts(row))


def turn_keys(row: Row) -> list[tuple[str, str]]:
    """Return `row_key` and `prompt_key` of a row's trained answers but the one of `prompt_key`."""
    keys = [(_row_key(one), _prompt_key(one)) for one in answered_turns(row)]
    own = prompt_key(row) if keys else ""
    return [pair for pair in keys if pair[1] != own]


def prompt_key(row: Row) -> str:
    """Return what identifies a row's prompt, whatever its answer, shape and extra columns."""
    if shape(row) == "tokenized":
        tokens = checked_tokens(row)
        pairs = zip(tokens["input_ids"], tokens["labels"], strict=True)
        return fingerprint([{"prompt": [int(token) for token, y in pairs if y == IGNORED]}])
    return _prompt_key(parts(row, need_answer=False))


def _row_key(row: Parts) -> str:
    return fingerprint([{"prompt": _comparable(row), "answer": plain(row.answer).strip()}])


def _prompt_key(row: Parts) -> str:
    return fingerprint([{"prompt": _comparable(row)}])


def _comparable(row: Parts) -> list[list[str]]:
    if isinstance(row.prompt, str):
        return [["user", row.prompt.strip()]]
    turns = [[message["role"], said(message).strip()] for message in row.prompt]
    options = [[key, fingerprint([{key: value}])] for key, value in sorted(row.options.items())]
    return turns + options


def _canonical(value: object) -> bytes:
    # surrogatepass: a lone surrogate is legal in JSON text and must not stop a fingerprint.
    return _ENCODER.encode(value).encode("utf-8", "surrogatepass")


def _listed(value: Any) -> object:
    if hasattr(value, "tolist"):
        return value.tolist()  # an array or tensor of a row that is already tokenized
    return str(value)  # a date or a decimal number of a Parquet file


# Made once: a study's planning writes a hundred thousand rows.
_ENCODER = json.JSONEncoder(
    sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=_listed
)
