"""What is wrong with the words of a command line, each mistake in one sentence."""

import re
from collections.abc import Callable
from typing import Any

import typer

from holdfast.errors import UserError
from holdfast.settings import nearest
from holdfast.settings.ranges import check_range

AT_LEAST_1 = "[1, inf)"


def in_range(allowed: str = AT_LEAST_1) -> Callable[[typer.CallbackParam, Any], Any]:
    """A callback that checks an option's number.

    Args:
        allowed: as in `holdfast.settings.ranges`.
    """

    def checked(param: typer.CallbackParam, value: Any) -> Any:
        check_range(value, allowed, param.opts[-1])
        return value

    return checked


def one_of(*known: str) -> Callable[[typer.CallbackParam, Any], Any]:
    """A callback that checks an option's word."""

    def checked(param: typer.CallbackParam, value: Any) -> Any:
        if value is not None and value not in known:
            close = nearest(value, known)
            hint = f"did you mean '{close}'? " if close else ""
            raise UserError(
                f"there is no {param.opts[-1]} {value}; {hint}known are {', '.join(known)}."
            )
        return value

    return checked


def sentence(error: Any, called: str) -> str:
    """What a usage error of Typer says, as a sentence of ours.

    Args:
        error: the exception; its class is told by its name, for it has no public one.
        called: the command that was called, for an error that does not know.
    """
    context, kind = getattr(error, "ctx", None), type(error).__name__
    command = context.command_path if context is not None else called
    help_ = f"see `{command} --help`."
    if kind == "NoSuchOption":
        names = _options(context)
        close = nearest(error.option_name, names)
        hint = f"did you mean '{close}'? " if close else ""
        known = ", ".join(name for name in names if name.startswith("--"))
        return f"`{command}` has no option '{error.option_name}'; {hint}it has {known}."
    param = getattr(error, "param", None)
    if kind == "MissingParameter" and param is not None:
        is_option = param.param_type_name == "option"
        name = param.opts[-1] if is_option else (param.metavar or param.name.upper()).split()[0]
        return f"`{command}`: {name} is missing; {help_}"
    if kind == "BadParameter" and param is not None and "valid" in error.message:
        what = "number" if "number" in error.message or "float" in error.message else "whole number"
        return f"{param.opts[-1]} must be a {what}; {help_}"
    said = re.sub(r"^Option '([^']*)'", r"\1", error.format_message()).strip().rstrip(".")
    said = said.replace("requires an argument", "needs a value")
    return f"`{command}`: {said[:1].lower()}{said[1:]}; {help_}"


def _options(context: Any) -> list[str]:
    params = context.command.get_params(context)
    names = [name for one in params for name in (*one.opts, *one.secondary_opts)]
    return [name for name in names if name.startswith("-")]
