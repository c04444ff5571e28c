"""Calls of tools in chat rows: their names and arguments, in the form that a template reads."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from copy import deepcopy
from typing import Any


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
