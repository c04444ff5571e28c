"""Chat rows as one kind of conversation, however a file writes them.

Read are messages of ``role`` and ``content``, ShareGPT's turns of ``from`` and ``value``, and
LLaMA-Factory's columns ``system``, ``history`` and ``tools``. What a row says beyond text is used
or refused, never dropped: system turns, tools, calls of tools and their results, thoughts, contents
that are lists of text parts, turns that are not to be trained (``weight``: 0), rejected answers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from holdfast.data.cells import checked_text, json_of
from holdfast.data.tool_calls import options_of, read_arguments, tool_name, without_none
from holdfast.errors import UserError

Message = dict[str, Any]

# ShareGPT's and LLaMA-Factory's names of who speaks.
_SPEAKERS = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "function_call": "assistant",
    "observation": "tool",
    "tool": "tool",
    "system": "system",
}
# What a turn says of its own training: OpenAI's, Axolotl's and ms-swift's names, 1 or 0.
_FLAGS = ("weight", "train", "loss")
# Columns of what is no text.
_MEDIA = ("images", "videos", "audios")
_THOUGHTS = ("reasoning_content", "reasoning", "thinking")


class Conversation(NamedTuple):
    """A row of messages.

    Args:
        messages: The turns, each with a `role`, a `content` that is text (a call of tools may go
            without) and whatever else the chat template may read.
        asked: How many of them the model reads before it gives its last answer.
        trained: The places of the assistant's turns that the row wants trained.
        options: What the chat template gets beside the messages: `tools`, and what the row has in
            `chat_template_kwargs`.
    """

    messages: list[Message]
    asked: int
    trained: tuple[int, ...]
    options: dict[str, Any]


def conversation_of(turns: object, column: str, row: Mapping[str, Any]) -> Conversation:
    """The conversation of a row of `messages` or `conversations`.

    Raises:
        UserError: A turn of another form, or something in the row that cannot be used.
    """
    _no_history(row)
    if row.get("functions") not in (None, "", "[]", [], ()):
        raise UserError("column 'functions' is OpenAI's older form: describe them in 'tools'")
    messages, wanted = _turns(turns, column)
    system = _system(row)
    if system and messages and messages[0]["role"] == "system":
        raise UserError("the row has a system turn and a column 'system'; it can have one of them")
    places = [place for place, turn in enumerate(messages) if turn["role"] == "assistant"]
    ends = bool(messages) and messages[-1]["role"] == "assistant"
    asked = places[-1] if ends else len(messages)
    return _made([*system, *messages], asked, [p for p in places if wanted[p]], len(system), row)


def split_conversation(prompt: object, completion: object, row: Mapping[str, Any]) -> Conversation:
    """The conversation of a prompt and a completion that are lists of messages.

    Only the completion's turns are trained, as the prompt's are only asked.

    Raises:
        UserError: As `conversation_of`.
    """
    _no_history(row)
    before, _ = _turns(prompt, "prompt", "text or a list of")
    after, wanted = ([], []) if completion is None else _turns(completion, "completion")
    if after and all(turn["role"] != "assistant" for turn in after):
        raise UserError("column 'completion' holds no message of the role 'assistant'")
    system = _system(row)
    asked = len(before)
    trained = [
        asked + place
        for place, turn in enumerate(after)
        if turn["role"] == "assistant" and wanted[place]
    ]
    return _made([*system, *before, *after], asked, trained, len(system), row)


def alpaca_conversation(asked: str, answer: str | None, row: Mapping[str, Any]) -> Conversation:
    """The conversation of an Alpaca row: its system turn, its history, what is asked, the answer.

    Raises:
        UserError: `system` or `history` is not as LLaMA-Factory has it.
    """
    messages = [*_system(row), *_history(row), {"role": "user", "content": asked}]
    before = len(messages)
    if answer is not None:
        messages.append({"role": "assistant", "content": answer})
    trained = [place for place, turn in enumerate(messages) if turn["role"] == "assistant"]
    return _made(messages, before, trained, 0, row)


def check_verbatim(row: Mapping[str, Any]) -> None:
    """Refuse a row of verbatim text that says something beside it.

    Raises:
        UserError: It has a system prompt, a history, tools or settings of a chat template.
    """
    for column in ("system", "history", "tools", "chat_template_kwargs"):
        if row.get(column) not in (None, "", "[]", [], {}):
            raise UserError(
                f"column '{column}' has no place in a row of 'prompt' and 'completion' that are "
                "text; make them lists of messages, or leave the column out"
            )
    _no_media(row)


def check_wanted(row: Mapping[str, Any]) -> None:
    """Refuse a row whose answer is marked as one that a model must not learn.

    Raises:
        UserError: It is a rejected answer, or a pair of a chosen and a rejected one.
    """
    for column in ("label", "kto_tag"):
        if row.get(column) is False:
            raise UserError(
                f"'{column}' is false, which marks a rejected answer, and every row's answer is "
                f"trained on: leave such rows out (or the column, if it means something else)"
            )
    if row.get("chosen") is not None and row.get("rejected") is not None:
        raise UserError(
            "the row is a preference, with 'chosen' and 'rejected', of which nothing is trained "
            "here; to train on the chosen answers set columns={completion: chosen}"
        )


def said(message: Message) -> str:
    """What a turn says as text: its content, and its calls of tools as JSON."""
    calls = [
        json.dumps(call, ensure_ascii=False, default=str)
        for call in message.get("tool_calls") or ()
    ]
    return "\n".join([*([message["content"]] if message.get("content") else []), *calls])


def thought(message: Message) -> str:
    """The thought that a turn has apart from its content, or ""."""
    return next((str(message[name]) for name in _THOUGHTS if message.get(name)), "")


def _made(
    messages: list[Message],
    asked: int,
    trained: list[int],
    shift: int,
    row: Mapping[str, Any],
) -> Conversation:
    _no_media(row)
    places = tuple(place + shift for place in trained)
    return Conversation(messages, asked + shift, places, options_of(row))


def _turns(
    value: object, column: str, wanted: str = "a list of"
) -> tuple[list[Message], list[bool]]:
    """The turns of a column, and of each whether it may be trained."""
    if not isinstance(value, list | tuple):
        raise UserError(
            f"column '{column}' must be {wanted} messages, and is {type(value).__name__}: "
            f"{value!r:.60}"
        )
    read = [_turn(one, column, wanted) for one in value]
    return [turn for turn, _ in read], [flag for _, flag in read]


def _turn(value: object, column: str, wanted: str) -> tuple[Message, bool]:
    if not isinstance(value, Mapping):
        raise _no_message(value, column, wanted)
    turn = {str(key): one for key, one in value.items() if one is not None}
    if "role" not in turn and "from" in turn:
        turn = _of_sharegpt(turn, column)
    flags = [turn.pop(name) for name in _FLAGS if name in turn]
    if any(flag not in (0, 1) for flag in flags):
        wrong = next(flag for flag in flags if flag not in (0, 1))
        raise UserError(
            f"column '{column}' has a turn with the weight {wrong!r:.40}; a turn is trained (1) or "
            "not (0)"
        )
    calls = _calls(turn, column)
    if calls:
        turn["tool_calls"] = calls
    if isinstance(turn.get("content"), list | tuple):
        turn["content"] = _joined(turn["content"], column)
    content = turn.get("content", "" if calls else None)
    if not isinstance(turn.get("role"), str) or not isinstance(content, str):
        raise _no_message(value, column, wanted)
    checked_text(said(turn) + thought(turn), column)
    return turn, all(flags)


def _no_message(value: object, column: str, wanted: str) -> UserError:
    return UserError(
        f"column '{column}' must be {wanted} messages, each with a 'role' and a 'content' "
        f"that are text, and holds {value!r:.60}"
    )


def _of_sharegpt(turn: Message, column: str) -> Message:
    """A turn of ``from`` and ``value`` with their usual names."""
    speaker, text = turn.pop("from"), turn.pop("value", None)
    if speaker not in _SPEAKERS:
        raise UserError(
            f"column '{column}' has a turn from {speaker!r:.40}; known are "
            f"{', '.join(sorted(_SPEAKERS))}"
        )
    made: Message = {"role": _SPEAKERS[speaker], "content": text, **turn}
    if speaker == "function_call":
        del made["content"]
        made["tool_calls"] = json_of(text, f"a turn from 'function_call' in column '{column}'")
    return made


def _calls(turn: Message, column: str) -> list[Any]:
    """A turn's calls of tools in today's form, without what is optional and empty."""
    calls = turn.pop("tool_calls", None)
    if "function_call" in turn:  # OpenAI's older form
        calls = turn.pop("function_call")
    if calls in (None, "", [], ()):
        return []
    if isinstance(calls, str):
        calls = json_of(calls, f"the tool calls in column '{column}'")
    calls = [calls] if isinstance(calls, Mapping) else calls
    made = []
    for call in calls if isinstance(calls, list | tuple) else [calls]:
        call = without_none(call)
        if isinstance(call, Mapping) and "function" not in call and "name" in call:
            call = {"type": "function", "function": call}
        if not isinstance(call, Mapping) or not tool_name(call):
            raise UserError(
                f"column '{column}' has a call of a tool without a name: {call!r:.60}; a call is "
                "{'type': 'function', 'function': {'name': …, 'arguments': {…}}}"
            )
        made.append(dict(call))
        read_arguments(made[-1].get("function", made[-1]))
    return made


def _joined(parts: Any, column: str) -> str:
    """The text of a content that is a list of parts."""
    texts = []
    for part in parts:
        if isinstance(part, str):
            texts.append(part)
            continue
        text = part.get("text") if isinstance(part, Mapping) else None
        kind = part.get("type", "text") if isinstance(part, Mapping) else type(part).__name__
        if kind != "text" or not isinstance(text, str):
            raise UserError(
                f"column '{column}' has a content part of the type {kind!r:.40}; only text is read"
            )
        texts.append(text)
    return "".join(texts)


def _system(row: Mapping[str, Any]) -> list[Message]:
    value = row.get("system")
    if value is None or value == "":
        return []
    if not isinstance(value, str):
        raise UserError(
            f"column 'system' must be text, and is {type(value).__name__}: {value!r:.60}"
        )
    return [{"role": "system", "content": checked_text(value, "system")}]


def _history(row: Mapping[str, Any]) -> list[Message]:
    value = row.get("history")
    if value in (None, "", "[]"):
        return []
    if isinstance(value, str):  # a cell of a table
        value = json_of(value, "column 'history'")
    messages: list[Message] = []
    for pair in value if isinstance(value, list | tuple) else [value]:
        if not (
            isinstance(pair, list | tuple)
            and len(pair) == 2
            and all(isinstance(text, str) for text in pair)
        ):
            raise UserError(
                "column 'history' must be a list of pairs [question, answer], and holds "
                f"{pair!r:.60}"
            )
        for role, text in zip(("user", "assistant"), pair, strict=True):
            messages.append({"role": role, "content": checked_text(text, "history")})
    return messages


def _no_history(row: Mapping[str, Any]) -> None:
    if row.get("history") not in (None, "", "[]", [], ()):
        raise UserError("column 'history' goes with 'instruction' and 'output', not with messages")


def _no_media(row: Mapping[str, Any]) -> None:
    for column in _MEDIA:
        value = row.get(column)
        if isinstance(value, list | tuple) and len(value):
            raise UserError(f"column '{column}' holds {len(value)} of them; only text is read")
