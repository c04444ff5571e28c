"""The stages' own files, which a report tells more from than its numbers."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from holdfast.errors import UserError


def read_object(path: Path) -> dict[str, Any]:
    """A JSON file's object; empty where there is no such file.

    Raises:
        UserError: it is broken, or cannot be read.
    """
    remedy = f"remove the folder {path.parent.name} and run again"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}.") from None
    except ValueError as error:
        raise UserError(f"{path} is broken: {error}; {remedy}.") from None
    if not isinstance(content, dict):
        raise UserError(f"{path} is broken: it holds no JSON object; {remedy}.")
    return content


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of a file of JSON lines, one after the other; none where there is no file.

    Raises:
        UserError: a line is broken.
    """
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                try:
                    entry = json.loads(line)
                except ValueError as error:
                    raise UserError(f"{path}, line {number} is broken: {error}.") from None
                if not isinstance(entry, dict):
                    raise UserError(f"{path}, line {number} holds no JSON object.")
                yield entry
    except FileNotFoundError:
        return
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: {error}.") from None
