"""The answer of a command: shown to a reader, or with ``--format json`` as one document.

Every document has `command` and `schema_version`; what else it has stands in docs/json.md. A number
that is none (NaN, infinite) is null.
"""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console, RenderableType

SCHEMA_VERSION = 1


class Documents(Console):
    """A console for ``--format json``: the document is all of stdout, notes go to stderr."""

    def __init__(self) -> None:
        super().__init__(stderr=True)


def answer(
    console: Console, command: str, content: Mapping[str, Any], *shown: RenderableType
) -> None:
    """Give a command's answer.

    Args:
        console: where it is shown; `Documents` gets the content instead.
        command: the command's name, as it is typed.
        content: what the answer says, for a program.
        shown: the same for a reader, no text of it read as markup, nor one in a table's cells; a
            `str` is one line at any width, as a path should be.
    """
    if isinstance(console, Documents):
        print(document(command, content), flush=True)
        return
    for one in shown:
        console.print(one, highlight=False, markup=False, soft_wrap=isinstance(one, str))


def document(command: str, content: Mapping[str, Any]) -> str:
    """A command's answer as JSON text."""
    whole = {"command": command, "schema_version": SCHEMA_VERSION, **content}
    return json.dumps(_plain(whole), indent=2, ensure_ascii=False, allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [_plain(one) for one in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value) if isinstance(value, Path) else value
