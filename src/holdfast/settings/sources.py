"""Modules, classes and functions, read from their source without importing them."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple


def source_of(module: str) -> Path:
    """Return the source file of a module, importing neither it nor the packages above it.

    Raises:
        LookupError: There is no such module.
    """
    top, *rest = module.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except ValueError:  # such as __main__, which has none
        spec = None
    if spec is not None and not rest and Path(spec.origin or "").suffix == ".py":
        return Path(str(spec.origin))
    for folder in (spec.submodule_search_locations or []) if spec else []:
        place = Path(folder, *rest)
        for path in (place.with_suffix(".py"), place / "__init__.py"):
            if path.is_file():
                return path
    raise LookupError(f"there is no module {module}")


@cache
def parse(module: str) -> tuple[ast.Module, Path]:
    """Return a module's syntax tree and its source file.

    Raises:
        LookupError: There is no such module.
    """
    path = source_of(module)
    return ast.parse(path.read_text(encoding="utf-8")), path


def absolute(node: ast.ImportFrom, module: str) -> str:
    """Return the module that a ``from … import`` in another module names."""
    if not node.level:
        return node.module or ""
    is_package = source_of(module).name == "__init__.py"
    above = module.split(".")
    above = above[: len(above) - node.level + is_package]
    return ".".join([*above, *([node.module] if node.module else [])])


# Large, and their classes tell nothing here.
_LIBRARIES = ("torch", "transformers", "peft", "accelerate", "typing")


class Found(NamedTuple):
    """A class or function where it is defined.

    Args:
        module: the module.
        node: its definition.
    """

    module: str
    node: ast.ClassDef | ast.FunctionDef


def find(module: str, name: str) -> Found | None:
    """What a module calls ``name``, followed through ``from … import`` to where it is defined.

    None where it is neither a class nor a function, where its source is not to be found, or where
    it is one of a library that all methods stand on.
    """
    seen: set[tuple[str, str]] = set()
    while (module, name) not in seen and module.split(".")[0] not in _LIBRARIES:
        seen.add((module, name))
        try:
            tree, _ = parse(module)
        except LookupError:
            return None
        for node in tree.body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name:
                return Found(module, node)
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom):
                imported = {one.asname or one.name: one.name for one in node.names}
                if name in imported:
                    module, name = absolute(node, module), imported[name]
                    break
    return None


def lineage(found: Found) -> Iterator[Found]:
    """A class and those that it inherits from, nearest first, as far as their source is there."""
    yield found
    assert isinstance(found.node, ast.ClassDef)
    for base in found.node.bases:
        below = named(base, found.module)
        if below is not None and isinstance(below.node, ast.ClassDef):
            yield from lineage(below)


def parameters(found: Found) -> dict[str, bool]:
    """The parameters of a function, or of a class's ``__init__``, and whether each needs a value.

    Where an ``__init__`` passes on ``**kwargs``, those of the classes that it inherits from count
    too.
    """
    if isinstance(found.node, ast.FunctionDef):
        return _parameters(found.node.args)
    known: dict[str, bool] = {}
    for one in lineage(found):
        for node in one.node.body:
            if isinstance(node, ast.FunctionDef) and node.name == "__init__":
                known = {**_parameters(node.args), **known}
                if node.args.kwarg is None:
                    return known
    return known


def _parameters(args: ast.arguments) -> dict[str, bool]:
    placed = [*args.posonlyargs, *args.args]
    first_default = len(placed) - len(args.defaults)
    known = {arg.arg: i < first_default for i, arg in enumerate(placed)}
    pairs = zip(args.kwonlyargs, args.kw_defaults, strict=True)
    return known | {arg.arg: default is None for arg, default in pairs}


def named(node: ast.expr, module: str) -> Found | None:
    """What an expression in a module names: ``SFTTrainer``, or ``holdfast.SFTTrainer``."""
    if isinstance(node, ast.Subscript):
        node = node.value
    if isinstance(node, ast.Name):
        return find(module, node.id)
    if not isinstance(node, ast.Attribute):
        return None
    first, *rest = ast.unparse(node.value).split(".")
    for statement in ast.walk(parse(module)[0]):
        if isinstance(statement, ast.Import):
            for one in statement.names:
                if one.asname == first:
                    return find(".".join([one.name, *rest]), node.attr)
                if one.asname is None and one.name.split(".")[0] == first:
                    return find(".".join([first, *rest]), node.attr)
        elif isinstance(statement, ast.ImportFrom):
            for one in statement.names:
                if (one.asname or one.name) == first:
                    above = absolute(statement, module)
                    return find(".".join([above, one.name, *rest]), node.attr)
    return None
