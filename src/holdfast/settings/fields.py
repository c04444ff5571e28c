"""The fields of a config dataclass, read from its source without importing it.

A config's module imports torch and transformers, which takes seconds. `--help` and every mistake in
a setting must be answered at once, so names, types, defaults and meanings are read with `ast`.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache

from holdfast.settings.ranges import TRANSFORMERS
from holdfast.settings.sources import absolute, named, parse

TRAINING_ARGUMENTS = "transformers.training_args:TrainingArguments"


class Expression(str):
    """A default whose value is known only at run time, as its source text."""


REQUIRED = Expression("(required)")


@dataclass(frozen=True)
class Field:
    """One setting.

    Args:
        name: Its name.
        type: Its annotation's source, with the module's own aliases written out.
        default: Its default; `REQUIRED` if it has none, an `Expression` if only running it tells.
        help: Its meaning, in one line.
        range: The numbers that it may be, see `holdfast.settings.ranges`; "" for all.
        choices: The texts that it may be, where its type is an enum or its metadata names them;
            none for all.
    """

    name: str
    type: str
    default: object
    help: str
    range: str = ""
    choices: tuple[str, ...] = ()


def fields_of(target: str) -> dict[str, Field]:
    """Return the fields of the dataclass `"module:Class"` by name, inherited ones first.

    Help comes from the `Args:` section of the class's docstring (`name: meaning`), else from the
    field's `metadata={"help": …}`; its range and choices from the metadata's "range" and "choices".
    Base classes are followed to where they are defined.

    Raises:
        LookupError: There is no such module or class.
    """
    return dict(_fields_of(target))


@cache
def _fields_of(target: str) -> dict[str, Field]:
    module, _, name = target.partition(":")
    tree, path = parse(module)
    body = next((n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == name), None)
    if body is None:
        raise LookupError(f"{path} has no class {name}")
    fields: dict[str, Field] = {}
    for base in reversed(body.bases):
        place = _place_of_base(base, module)
        if place is not None:
            fields |= fields_of(place)
    constants = _constants(tree)
    own = {field.name: field for field in _own_fields(body, constants)}
    for key, field in own.items():
        if target == TRAINING_ARGUMENTS:
            field = replace(
                field, range=TRANSFORMERS.get(key, ""), choices=field.choices or _enum(field, tree)
            )
        elif key in fields:
            # A field that is given again keeps its place, as in a dataclass, and its meaning.
            below = fields[key]
            field = replace(
                field,
                help=field.help or below.help,
                range=field.range or below.range,
                choices=field.choices or below.choices,
            )
        fields[key] = field
    for key, text in _documented(ast.get_docstring(body) or "").items():
        if key in fields and (key in own or not fields[key].help):
            fields[key] = replace(fields[key], help=text)
    return fields


def _enum(field: Field, tree: ast.Module) -> tuple[str, ...]:
    """The texts of the enum that a field of transformers has as its type; none if it has none."""
    for name in field.type.split(" | "):
        module = next(
            (
                absolute(node, TRAINING_ARGUMENTS.partition(":")[0])
                for node in tree.body
                if isinstance(node, ast.ImportFrom) and name in [one.name for one in node.names]
            ),
            None,
        )
        place = parse(module)[0] if module and module.startswith("transformers.") else tree
        for node in place.body:
            if isinstance(node, ast.ClassDef) and node.name == name:
                values = [_value(n.value, {}) for n in node.body if isinstance(n, ast.Assign)]
                return tuple(value for value in values if type(value) is str)
    return ()


def forget() -> None:
    """Read every source anew from now on: one has changed."""
    parse.cache_clear()
    _fields_of.cache_clear()


def _place_of_base(base: ast.expr, module: str) -> str | None:
    """Return "module:Class" of a base class whose fields count, else None."""
    name = base.attr if isinstance(base, ast.Attribute) else getattr(base, "id", "")
    if name == "TrainingArguments":
        return TRAINING_ARGUMENTS
    found = named(base, module)
    is_class = found is not None and isinstance(found.node, ast.ClassDef)
    return f"{found.module}:{found.node.name}" if found is not None and is_class else None


def _constants(tree: ast.Module) -> dict[str, ast.expr]:
    """Return the module's plain assignments, `NAME = expression`, by name."""
    return {
        node.targets[0].id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }


def _own_fields(body: ast.ClassDef, constants: dict[str, ast.expr]) -> Iterator[Field]:
    for node in body.body:
        if not (isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)):
            continue
        annotation = ast.unparse(_WriteOut(constants).visit(_unquoted(node.annotation)))
        if re.match(r"(\w+\.)?(ClassVar|KW_ONLY)\b", annotation):
            continue
        options: dict[str, ast.expr] = {}
        value = node.value
        if isinstance(value, ast.Call) and ast.unparse(value.func) in (
            "field",
            "dataclasses.field",
        ):
            options = {word.arg: word.value for word in value.keywords if word.arg}
            if _value(options.get("init"), {}) is False:
                continue
            value = options.get("default")
        if "default_factory" in options:
            default = _made_by(options["default_factory"])
        else:
            default = REQUIRED if value is None else _value(value, constants)
        metadata = _value(options.get("metadata"), constants)
        said = metadata if isinstance(metadata, dict) else {}
        yield Field(
            node.target.id,
            annotation,
            default,
            help=" ".join(str(said.get("help", "")).split()),
            range=str(said.get("range", "")),
            choices=tuple(said.get("choices", ())),
        )


def _unquoted(annotation: ast.expr) -> ast.expr:
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        return ast.parse(annotation.value, mode="eval").body
    return annotation


class _WriteOut(ast.NodeTransformer):
    """Writes out the module's own aliases of types, such as `State = Literal["a", "b"]`."""

    def __init__(self, constants: dict[str, ast.expr]):
        self.constants = constants

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return self.constants.get(node.id, node)


def _value(node: ast.expr | None, constants: dict[str, ast.expr]) -> object:
    if isinstance(node, ast.Name) and node.id in constants:
        node = constants[node.id]
    if node is None:
        return None
    try:
        return ast.literal_eval(node)
    except ValueError:
        return Expression(ast.unparse(node))


def _made_by(factory: ast.expr) -> object:
    empty: dict[str, object] = {"list": [], "dict": {}, "set": set(), "tuple": ()}
    if isinstance(factory, ast.Lambda):
        return _value(factory.body, {})
    name = ast.unparse(factory)
    return empty.get(name, Expression(f"{name}()"))


def _documented(docstring: str) -> dict[str, str]:
    """Return the meanings in the `Args:` (or `Parameters:`) section of a docstring, by name."""
    section = re.search(
        r"^(?:Args|Parameters):[ ]*\n((?:[ ]+.*\n|[ ]*\n)+)",
        inspect.cleandoc(docstring) + "\n",
        re.M,
    )
    if section is None:
        return {}
    meanings: dict[str, str] = {}
    name = ""
    indent = len(section[1]) - len(section[1].lstrip(" "))
    for line in section[1].splitlines():
        start = re.match(rf"[ ]{{{indent}}}(\w+)(?: ?\(.*\))?:(.*)", line)
        if start:
            name = start[1]
            meanings[name] = start[2]
        elif line[indent : indent + 1].strip():  # a heading between the fields
            name = ""
        elif name:
            meanings[name] += " " + line
    return {name: " ".join(text.split()) for name, text in meanings.items()}
