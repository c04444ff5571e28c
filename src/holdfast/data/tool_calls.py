"""Tools in chat rows, and calls of them: names and arguments, in the form that a template reads."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from copy import deepcopy
from typing import Any

from holdfast.data.cells import checked_text, json_of
from holdfast.errors import UserError


def tool_name(tool: Mapping[str, Any]) -> str:
    """The name in a tool's description or in a call of it; "" where there is none."""
    function = tool.get("function", tool)
    name = function.get("name") if isinstance(function, Mapping) else None
    return name if isinstance(name, str) else ""


def read_arguments(function: dict[str, Any]) -> None:
    """Make a call's arguments an object where they are JSON text, as in OpenAI's files.

    Most templates write them as JSON, which of a text would be a text in quotes.
    """
    if isinstance(function.get("arguments"), str):
        with suppress(ValueError):
            found = json.loads(function["arguments"])
            if isinstance(found, Mapping):
                function["arguments"] = found


def render_errors() -> tuple[type[Exception], ...]:
    """What a template raises that cannot write something."""
    from jinja2 import TemplateError

    return (TemplateError, TypeError, ValueError, KeyError, AttributeError)


def readable(
    messages: Sequence[dict[str, Any]], write: Callable[[list[dict[str, Any]]], str]
) -> list[dict[str, Any]]:
    """The turns, the arguments of their calls as JSON text where a template reads them so.

    Such a template (DeepSeek's) fails with objects, or writes them as Python would.
    """
    turns = list(messages)
    calls = [call.get("function", call) for turn in turns for call in turn.get("tool_calls", ())]
    objects = [call["arguments"] for call in calls if isinstance(call.get("arguments"), Mapping)]
    if not any(objects):
        return turns
    texts: list[dict[str, Any]] = deepcopy(turns)
    for turn in texts:
        for call in turn.get("tool_calls", ()):
            function = call.get("function", call)
            if isinstance(function.get("arguments"), Mapping):
                function["arguments"] = json.dumps(function["arguments"], ensure_ascii=False)
    try:
        text = write(turns)
    except render_errors():
        return texts
    return texts if any(one and str(one) in text for one in objects) else turns


def options_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """What the template gets beside the messages."""
    options = row.get("chat_template_kwargs")
    options = {} if options in (None, "") else without_none(options)
    if not isinstance(options, Mapping):
        raise UserError(f"column 'chat_template_kwargs' must be an object, and is {options!r:.60}")
    tools = row.get("tools")
    if isinstance(tools, str) and tools.strip():
        tools = json_of(tools, "column 'tools'")
    if tools in (None, "", [], ()) or (isinstance(tools, str) and not tools.strip()):
        tools = []
    if not isinstance(tools, list | tuple) or not all(
        isinstance(tool, Mapping) and tool_name(tool) for tool in tools
    ):
        raise UserError(
            "column 'tools' must be a list of tools, each with a name "
            f"({{'type': 'function', 'function': {{'name': …}}}}), and is {tools!r:.60}"
        )
    if tools:
        options = {**options, "tools": [without_none(tool) for tool in tools]}
    if options:
        checked_text(json.dumps(options, ensure_ascii=False, default=str), "tools")
    return dict(options)


def without_none(value: Any) -> Any:
    """Without the empty entries of what is optional; an argument of a call that is null stays."""
    if isinstance(value, Mapping):
        return {
            key: one if key == "arguments" else without_none(one)
            for key, one in value.items()
            if one is not None
        }
    return [without_none(one) for one in value] if isinstance(value, list | tuple) else value


def null_arguments(row: Mapping[str, Any]) -> bool:
    """Whether a call of a row's has an argument, in an object, that is null."""
    return any(None in arguments.values() for arguments in _arguments(row))


def unfilled(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row out of Arrow (Parquet, a `datasets.Dataset`) without the null arguments of its calls.

    Arrow gives every call of a column the arguments of all of them, and those that it has not as
    null: nobody can tell them from a null that was written. Arguments that are JSON text are as
    they were.
    """
    if not null_arguments(row):
        return dict(row)
    row = deepcopy(dict(row))
    for arguments in _arguments(row):
        for name in [name for name, value in arguments.items() if value is None]:
            del arguments[name]
    return row


def _arguments(row: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Every object of arguments in a row's turns, and every object below it."""
    turns = [one for value in row.values() if isinstance(value, list) for one in value]
    for turn in turns:
        for call in _calls(turn) if isinstance(turn, Mapping) else ():
            if isinstance(call, Mapping):
                function = call.get("function")
                of = function if isinstance(function, Mapping) else call
                yield from _objects(of.get("arguments"))


def _calls(turn: Mapping[str, Any]) -> list[Any]:
    """A turn's calls, in whichever of the forms a file may have them."""
    said = turn.get("value") if turn.get("from") == "function_call" else None
    calls = turn.get("tool_calls") or turn.get("function_call") or said
    if isinstance(calls, str):
        with suppress(ValueError):
            calls = json.loads(calls)
    return calls if isinstance(calls, list) else [calls]


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
    if isinstance(value, dict | list):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _objects(one)
