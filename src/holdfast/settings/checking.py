"""Settings checked against the fields of a config: known keys, right types."""

from __future__ import annotations

import ast
import difflib
import math
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, TypeAlias, Union

from holdfast.errors import UserError
from holdfast.settings.fields import Field
from holdfast.settings.places import at
from holdfast.settings.ranges import check_range

Allowed: TypeAlias = Mapping[str, Union[Field, "Allowed"]]


def check(
    settings: Mapping[str, Any], allowed: Allowed, where: str, prefix: str = ""
) -> dict[str, Any]:
    """Check settings against the allowed fields, and return them with their types put right.

    A number may be written as text (`"1e-3"`), a whole one as 3.0 or 1e3, a list stands for a tuple
    or a set.

    Args:
        settings: The settings as read.
        allowed: The fields by name; a mapping of fields stands for nested settings.
        where: Where the settings are from: a file, or "the command line".
        prefix: The keys above, each followed by a dot.

    Raises:
        UserError: An unknown key (it names the nearest known one), or a value of the wrong type or
            outside of its field's range.
    """
    checked: dict[str, Any] = {}
    for key, value in settings.items():
        field = allowed.get(key)
        if isinstance(field, Mapping) and isinstance(value, Mapping):
            checked[key] = check(value, field, where, f"{prefix}{key}.")
            continue
        try:
            checked[key] = _checked(value, field, f"{prefix}{key}", allowed, key)
        except UserError as error:
            place = at(where, *prefix.split(".")[:-1], key)
            raise UserError(f"{place}: {error}") from None
    return checked


def _checked(
    value: object, field: Field | Allowed | None, name: str, allowed: Allowed, key: str
) -> object:
    if field is None:
        raise UserError(f"there is no setting '{name}'{_suggest(key, allowed)}")
    if isinstance(field, Field):
        coerced = _coerce(value, field.type, name)
        if isinstance(coerced, str) and field.choices and coerced not in field.choices:
            choices = ", ".join(map(repr, field.choices))
            hint = _suggest(coerced, field.choices)
            raise UserError(f"{name} must be one of {choices}, and is {_shown(value)}{hint}")
        check_range(coerced, field.range, name)
        return coerced
    raise UserError(
        f"{name} must hold settings, such as {name}.{next(iter(field))}, and is {_shown(value)}"
    )


def nearest(word: str, choices: Iterable[str]) -> str | None:
    """Return the choice that is most like the word, or None where none is."""
    names = list(choices)
    # Letter case and - for _ are slips that difflib would count as other letters.
    plain = {name.lower().replace("-", "_"): name for name in reversed(names)}
    found = difflib.get_close_matches(word.lower().replace("-", "_"), plain, n=1, cutoff=0.55)
    return plain[found[0]] if found else None


def _suggest(word: str, choices: Iterable[str]) -> str:
    close = nearest(word, choices)
    return f"; did you mean '{close}'?" if close else ""


def _shown(value: object) -> str:
    words = {True: "true", False: "false", None: "null"}
    if isinstance(value, bool) or value is None:
        return words[value]
    return f"{value!r:.60}"


# What a type's name stands for in an error.
_EXPECTED = {
    "bool": "true or false",
    "int": "a whole number",
    "float": "a number",
    "str": "text",
    "list": "a list [a, b]",
    "tuple": "a list [a, b]",
    "set": "a list [a, b]",
    "dict": "a mapping {key: value}",
    "None": "null",
}


def _coerce(value: object, field_type: str, what: str) -> object:
    choices, names = _read_type(field_type)
    if any(type(value) is type(choice) and value == choice for choice in choices):
        return value
    # Exact types come before converted ones: bool is an int to Python, and a number may be text.
    kind = "None" if value is None else type(value).__name__
    if kind in names and not isinstance(value, list):
        return value if kind != "float" else _finite(value, what)
    for name, member in names.items():
        if name in ("list", "tuple", "set") and isinstance(value, list | tuple):
            items = _items(value, member, what)
            return {"list": list, "tuple": tuple, "set": set}[name](items)
        converted = _convert(value, name)
        if converted is not None:
            return converted
    expected = [f"one of {', '.join(map(repr, choices))}"] if choices else []
    expected += dict.fromkeys(_EXPECTED.get(name, "text") for name in names)
    hint = _suggest(value, map(str, choices)) if isinstance(value, str) else ""
    if "text" in expected and isinstance(value, int | float) and not isinstance(value, bool):
        hint = "; put it in quotes"
    raise UserError(f"{what} must be {' or '.join(expected)}, and is {_shown(value)}{hint}")


@cache
def _read_type(field_type: str) -> tuple[list[object], dict[str, ast.expr]]:
    """The choices that a type names, and its other members by their names."""
    members = _members(ast.parse(field_type, mode="eval").body)
    choices = [choice for member in members for choice in _choices(member)]
    return choices, {_name(member): member for member in members if not _choices(member)}


def _finite(value: object, what: str) -> object:
    if isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"{what} must be a finite number, and is {value}")
    return value


def _items(value: list[Any] | tuple[Any, ...], member: ast.expr, what: str) -> list[Any]:
    """Coerce the items of `list[X]`, `set[X]` and `tuple[X, ...]`; other items may be anything."""
    inner = member.slice if isinstance(member, ast.Subscript) else None
    if isinstance(inner, ast.Tuple):
        is_open = len(inner.elts) == 2 and ast.unparse(inner.elts[1]) == "..."
        inner = inner.elts[0] if is_open else None
    if inner is None:
        return list(value)
    return [_coerce(v, ast.unparse(inner), f"{what}[{i}]") for i, v in enumerate(value)]


def _convert(value: object, name: str) -> object:
    """Return the value as the type of that name, or None where it is none."""
    if name in ("Any", "object"):
        return value
    if name in ("int", "float"):
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            return None
        try:
            number = float(value)
        except (ValueError, OverflowError):
            return None
        if name == "int":
            return int(number) if number.is_integer() else None
        return number if math.isfinite(number) else None
    if name == "bool":
        return {"true": True, "false": False}.get(value.lower()) if isinstance(value, str) else None
    # A class of a library's own, such as an enum, which the config makes from text.
    return value if isinstance(value, str) and name not in _EXPECTED else None


def _members(node: ast.expr) -> list[ast.expr]:
    """Return a union's members; `X | Y`, `Union[X, Y]` and `Optional[X]` are unions."""
    if isinstance(node, ast.BinOp):
        return _members(node.left) + _members(node.right)
    if isinstance(node, ast.Subscript) and _name(node) in ("Union", "Optional"):
        inner = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        none: list[ast.expr] = [ast.Constant(None)] if _name(node) == "Optional" else []
        return [member for part in inner for member in _members(part)] + none
    return [node]


def _choices(node: ast.expr) -> list[object]:
    if not (isinstance(node, ast.Subscript) and _name(node) == "Literal"):
        return []
    inner = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    return [ast.literal_eval(choice) for choice in inner]


def _name(node: ast.expr) -> str:
    if isinstance(node, ast.Subscript):
        return _name(node.value)
    name = ast.unparse(node).rsplit(".", 1)[-1]
    return {"Sequence": "list", "Mapping": "dict"}.get(name, name)
