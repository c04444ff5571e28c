"""Rows by their shape, taken apart into what a model reads and what it should say.

A *row* is a dict in one of these shapes, told apart by its columns (others are allowed and kept):

- Alpaca: ``instruction``, ``input`` (may be missing or empty), ``output``; beside them perhaps
  ``system`` and ``history``;
- messages: ``messages``, a list of ``{"role", "content"}``, or ``conversations``, the same or of
  ``{"from", "value"}``; the assistant's answer is the last, and those before it are answers too;
- prompt-completion: ``prompt`` and ``completion``, both text or both lists of messages;
- tokenized: ``input_ids``, ``attention_mask``, ``labels``.

What a row of messages may say beside text is in `holdfast.data.conversations`; how a row is written
as the text that a model reads, in `holdfast.data.rendering`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from holdfast.data.cells import checked_text
from holdfast.data.conversations import (
    Conversation,
    alpaca_conversation,
    check_verbatim,
    check_wanted,
    conversation_of,
    said,
    split_conversation,
)
from holdfast.errors import UserError

Row = Mapping[str, Any]
Shape = Literal["tokenized", "messages", "prompt-completion", "alpaca", "conversations"]

# The columns of each shape: the first is needed for a prompt, all of them for training.
COLUMNS: dict[Shape, tuple[str, ...]] = {
    "tokenized": ("input_ids", "attention_mask", "labels"),
    "messages": ("messages",),
    "prompt-completion": ("prompt", "completion"),
    "alpaca": ("instruction", "output"),
    "conversations": ("conversations",),
}


class Parts(NamedTuple):
    """A row taken apart: what the model reads and what it should say last.

    Args:
        prompt: The messages before the answer, or the verbatim text of a prompt-completion row.
        answer: The messages of the answer (one, as a rule), or the verbatim text.
        options: What a chat template gets beside them, such as tools.
    """

    prompt: list[dict[str, Any]] | str
    answer: list[dict[str, Any]] | str
    options: Mapping[str, Any] = {}


def shape(row: Row) -> Shape:
    """Tell a row's shape by its columns; a column that is None counts as missing.

    Raises:
        UserError: No shape's columns are there (the sentence lists those that are).
    """
    there = _columns(row)
    names = set(there)
    for name, needed in COLUMNS.items():
        if names.issuperset(needed):
            return name
    # Nothing is complete: a row without an answer still has a prompt to evaluate.
    for name, needed in COLUMNS.items():
        if needed[0] in there:
            return name
    for name, needed in COLUMNS.items():
        if any(column in there for column in needed):
            raise _missing(name, there)
    check_wanted(row)
    raise UserError(
        f"the columns {_quoted(there)} are no known kind of row; needed are 'instruction' and "
        "'output' (Alpaca), or 'messages', or 'prompt' and 'completion', or 'input_ids', "
        "'attention_mask' and 'labels'"
    )


def parts(row: Row, need_answer: bool = True) -> Parts:
    """Take a row apart into prompt and answer, and check its columns and types.

    Args:
        row: A row in any shape but the tokenized one.
        need_answer: Whether a missing or empty answer is a mistake.

    Raises:
        UserError: A column is missing or of the wrong type, or an answer is empty, or the row is
            marked as one that is not to be trained.
    """
    found = read_text(row, need_answer)
    if isinstance(found, Parts):
        return found
    messages = found.messages
    end = end_of(found) if need_answer else len(messages)
    return Parts(messages[: found.asked], messages[found.asked : end], found.options)


def answered_turns(row: Row) -> list[Parts]:
    """Every answer in a row's messages that is trained, with what the model reads before it."""
    if shape(row) == "tokenized":
        return []
    found = read_text(row, need_answer=False)
    if isinstance(found, Parts):
        return []
    messages = found.messages
    return [
        Parts(messages[:place], messages[place : place + 1], found.options)
        for place in found.trained
    ]


def is_conversation(row: Row) -> bool:
    """Whether a row says more than one question, perhaps a system turn, and one answer.

    Only of such rows more than one answer may be trained, or an answer may be not.
    """
    if shape(row) == "tokenized":
        return False
    found = read_text(row, need_answer=False)
    if isinstance(found, Parts):
        return False
    if shape(row) in ("messages", "conversations"):
        answers = [turn for turn in found.messages if turn["role"] == "assistant"]
        ends = found.asked < len(found.messages)
        one = len(answers) == len(found.trained) == ends
        return not one or bool(found.options or row.get("system"))
    first = found.asked if shape(row) == "alpaca" else 1
    more = len(found.messages) - found.asked > 1 or bool(row.get("system"))
    return first > 1 or more or bool(found.options)


def plain(part: list[dict[str, Any]] | str) -> str:
    """Return the bare text of a prompt or an answer: contents only, joined by blank lines."""
    if isinstance(part, str):
        return part
    return "\n\n".join(said(message) for message in part)


def _columns(row: Row) -> list[str]:
    return [str(column) for column, value in row.items() if value is not None]


def _quoted(names: list[str] | tuple[str, ...]) -> str:
    return ", ".join(f"'{name}'" for name in names) if names else "(none)"


def _missing(kind: Shape, there: list[str]) -> UserError:
    absent = [column for column in COLUMNS[kind] if column not in there]
    return UserError(
        f"column {_quoted(absent)} is missing: the row has {_quoted(there)}, and "
        f"{kind} rows need {_quoted(COLUMNS[kind])}"
    )


def _text(value: object, column: str) -> str:
    if isinstance(value, str):
        return checked_text(value, column)
    if isinstance(value, float) and value != value:
        raise UserError(f"column '{column}' is an empty cell (NaN); it must be text")
    raise UserError(f"column '{column}' must be text, and is {type(value).__name__}: {value!r:.60}")


def read_text(row: Row, need_answer: bool) -> Parts | Conversation:
    """A row read by its shape, and checked as `parts` says; `Parts` are verbatim text."""
    kind = shape(row)
    if kind == "tokenized":
        raise UserError(
            "the row is already tokenized ('input_ids'), so its text is not known; where text is "
            "needed, give 'instruction' and 'output', 'messages', or 'prompt' and 'completion'"
        )
    there = _columns(row)
    if need_answer:
        check_wanted(row)
        if not all(column in there for column in COLUMNS[kind]):
            raise _missing(kind, there)
    found = _taken(row, kind, there)
    if need_answer and isinstance(found, Conversation) and kind in ("messages", "conversations"):
        found = found._replace(asked=_last_answer(found, kind))
    prompt = found.prompt if isinstance(found, Parts) else found.messages[: found.asked]
    if not prompt and isinstance(prompt, list):
        raise UserError(f"column '{COLUMNS[kind][0]}' holds no message before the answer")
    if need_answer:
        _check_answers(found, COLUMNS[kind][-1])
    return found


def _taken(row: Row, kind: Shape, there: list[str]) -> Parts | Conversation:
    if kind in ("messages", "conversations"):
        found = conversation_of(row[kind], kind, row)
        if not found.messages:
            raise _no_answer(found, kind)
        return found
    if kind == "alpaca":
        instruction = _text(row["instruction"], "instruction")
        given = _text(row["input"], "input") if "input" in there else ""
        asked = f"{instruction}\n\n{given}" if given else instruction
        answer = _text(row["output"], "output") if "output" in there else None
        return alpaca_conversation(asked, answer, row)
    if isinstance(row["prompt"], str):
        check_verbatim(row)
        completion = _text(row["completion"], "completion") if "completion" in there else ""
        return Parts(_text(row["prompt"], "prompt"), completion)
    return split_conversation(row["prompt"], row.get("completion"), row)


def _last_answer(found: Conversation, kind: Shape) -> int:
    places = [place for place, turn in enumerate(found.messages) if turn["role"] == "assistant"]
    if not places:
        raise _no_answer(found, kind)
    return places[-1]


def _no_answer(found: Conversation, kind: Shape) -> UserError:
    last = found.messages[-1]["role"] if found.messages else "nothing"
    return UserError(
        f"column '{kind}' must end with the assistant's answer, and ends with {last!r}"
    )


def _check_answers(found: Parts | Conversation, column: str) -> None:
    answer = found.answer if isinstance(found, Parts) else found.messages[found.asked :]
    if not plain(answer).strip():
        raise UserError(f"the answer (column '{column}') is empty; every row needs one")
    if isinstance(found, Parts):
        return
    if not found.trained:
        raise UserError(
            "the row's answers all have the weight 0, so nothing of it is trained: "
            "leave the row out"
        )
    for place in found.trained:
        if not said(found.messages[place]).strip():
            raise UserError(f"turn {place + 1} (column '{column}') is an empty answer")


def end_of(found: Conversation) -> int:
    """Before which turn a conversation ends that is trained: after its last answer."""
    places = [place for place, turn in enumerate(found.messages) if turn["role"] == "assistant"]
    return max(places, default=len(found.messages) - 1) + 1
