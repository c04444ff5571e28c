"""A user's own column names, told by the setting `columns`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from holdfast.data.prompts import COLUMNS
from holdfast.data.rows import check_rows
from holdfast.errors import UserError

NAMES = ("instruction", "input", "output", "prompt", "completion", "messages", "conversations")
NAMES += ("system", "history", "tools")

# Names that files often have, for a hint; what they mean is the user's to say.
_PROMPTS = ("question", "query", "prompt", "instruction", "problem", "user", "human", "input")
_ANSWERS = ("answer", "response", "output", "completion", "solution", "target", "assistant", "gpt")
_TEXTS = ("text", "content", "document")


def renamed(
    rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str], where: str
) -> list[dict[str, Any]]:
    """Return the rows with the columns of a known shape, by `{our name: the file's name}`.

    Other columns are kept. With a "completion" and no "prompt" the prompt is empty: the whole text
    is trained on.

    Raises:
        UserError: A name that no shape has, or a column that a row does not have.
    """
    for name in columns:
        if name not in NAMES:
            raise UserError(f"columns: '{name}' is none of {', '.join(NAMES)}")
    made = []
    for number, row in enumerate(rows, start=1):
        for theirs in columns.values():
            if theirs not in row:
                raise UserError(
                    f"{where}, row {number}: columns says '{theirs}', and the row has "
                    f"{', '.join(map(repr, row))}"
                )
        kept = {name: value for name, value in row.items() if name not in columns.values()}
        new = {**kept, **{ours: row[theirs] for ours, theirs in columns.items()}}
        if "completion" in columns and "prompt" not in new:
            new["prompt"] = ""
        made.append(new)
    return made


def checked(
    rows: list[dict[str, Any]], columns: Mapping[str, str] | None, where: str
) -> list[dict[str, Any]]:
    """Return rows of a known shape that can be trained on.

    Raises:
        UserError: As `renamed` and `rows.check_rows`; where the columns have common names, the
            sentence says how to map them.
    """
    if columns:
        rows = renamed(rows, columns, where)
    try:
        check_rows(rows, where)
    except UserError as error:
        hint = "" if columns or not rows else _hint(rows[0])
        raise UserError(f"{error}{hint}") from None
    return rows


def _hint(row: Mapping[str, Any]) -> str:
    if any(all(row.get(column) is not None for column in needed) for needed in COLUMNS.values()):
        return ""
    prompt = next((name for name in _PROMPTS if name in row), None)
    answer = next((name for name in _ANSWERS if name in row and name != prompt), None)
    if prompt and answer:
        mapping = f"{{instruction: {prompt}, output: {answer}}}"
        return f"; if {prompt!r} is the prompt and {answer!r} the answer, set columns={mapping}"
    text = next((name for name in _TEXTS if name in row), None)
    if text and not answer:
        return f"; to train on all of a text, set columns={{completion: {text}}}"
    return ""
