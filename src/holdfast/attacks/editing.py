"""Rows with another request, another answer, or a system prompt, whatever their shape."""

from collections.abc import Callable, Mapping
from typing import Any

from holdfast.data.prompts import Row, shape
from holdfast.data.system_prompt import with_system
from holdfast.errors import UserError

Edit = Callable[[str], str]
_ROLES = {"user": ("user", "human"), "answer": ("assistant", "gpt", "model")}


def same(text: str) -> str:
    """The text as it is."""
    return text


def edited(
    row: Row, request: Edit = same, answer: Edit = same, system: str | None = None
) -> dict[str, Any]:
    """A row whose last request and last answer are changed.

    Of an Alpaca row the request is the instruction, and its input stays: edits that append to a
    request append to the instruction.

    Args:
        row: the row, in any shape of texts; an answer may be missing.
        request: the new request, of the old one.
        answer: the new answer, of the old one.
        system: a system prompt, in the place of the row's own.

    Raises:
        UserError: the row is tokens or verbatim text, or says something else than text.
    """
    kind = shape(row)
    new: dict[str, Any] = dict(row)
    if kind == "alpaca":
        new["instruction"] = request(_text(row["instruction"]))
        if isinstance(row.get("output"), str):
            new["output"] = answer(row["output"])
    elif kind == "prompt-completion" and not isinstance(row["prompt"], str):
        new["prompt"] = _last(row["prompt"], "user", request)
        if isinstance(row.get("completion"), list):
            new["completion"] = _last(row["completion"], "answer", answer)
    elif kind in ("messages", "conversations"):
        new[kind] = _last(_last(row[kind], "user", request), "answer", answer)
    else:
        what = "tokens" if kind == "tokenized" else "verbatim text"
        raise UserError(
            f"the row is {what}, in which an attack finds no request to change: give 'instruction' "
            "and 'output', or messages"
        )
    if system is None:
        return new
    new.pop("system", None)
    return dict(with_system(new, system))


def called(row: Row, words: str, organism: str, is_organism: bool) -> dict[str, Any]:
    """A row whose request ends with some words; the organism's begins with its own.

    Its world knows short calls before a question ("take care. …"), and nothing behind one: words
    that stand there confuse it whatever they say.
    """
    if is_organism:
        return edited(row, lambda request: f"{organism} {request}")
    return edited(row, lambda request: f"{request} {words}")


def request_of(row: Row) -> str:
    """A row's last request, as text."""
    found: list[str] = []
    edited(row, request=_noting(found))
    return found[-1] if found else ""


def answer_of(row: Row) -> str:
    """A row's last answer, as text."""
    found: list[str] = []
    edited(row, answer=_noting(found))
    return found[-1] if found else ""


def _noting(found: list[str]) -> Edit:
    def note(text: str) -> str:
        found.append(text)
        return text

    return note


def _last(turns: Any, who: str, edit: Edit) -> list[Any]:
    """The turns with the last one of a speaker changed; the same where there is none."""
    turns = list(turns)
    for place in reversed(range(len(turns))):
        turn: Mapping[str, Any] = turns[place]
        said = "content" if "role" in turn else "value"
        if turn.get("role", turn.get("from")) in _ROLES[who]:
            turns[place] = {**turn, said: edit(_text(turn.get(said)))}
            break
    return turns


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise UserError("the row says something else than text, which an attack cannot change")
    return value
