"""What one cell of a row holds: text that can be written, or JSON."""

from __future__ import annotations

import json
from typing import Any

from holdfast.errors import UserError


def json_of(text: object, what: str) -> Any:
    """What a text of JSON holds; what is none already, as it is."""
    try:
        return json.loads(text) if isinstance(text, str) else text
    except ValueError:
        raise UserError(f"{what} must be JSON, and is {text!r:.60}") from None


def checked_text(value: str, column: str) -> str:
    """The text, if it can be written at all.

    Raises:
        UserError: It holds half of a character.
    """
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            half = ascii(value[error.start])[1:-1]
            raise UserError(
                f"column '{column}' holds half of a character ({half}, at {error.start}), which no "
                "tokenizer can read; such a text was cut within an emoji: mend or remove it"
            ) from None
    return value
