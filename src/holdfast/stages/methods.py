"""The methods of each stage: this package's by name, anybody's by the place of their code.

``align: my_package.my_module:MyTrainer`` names a subclass of `holdfast.SFTTrainer`, ``repair:
my_package.my_module:my_repair`` a function such as `holdfast.antidote`. Its settings are the fields
of the dataclass of the same name with Config at its end, in the same module: ``MyTrainer`` has
``MyConfig`` (a subclass of `holdfast.SFTConfig`), ``my_repair`` has ``MyRepairConfig``. It gets the
rows that it names among its parameters. ``screen: my_module:MyScreen`` names a class with a method
``score(rows)``, and has ``MyScreenConfig`` (a subclass of `holdfast.ScreenConfig`). The module is
looked for where Python looks for modules, and in the current folder; its source is read here, and
imported only where a stage runs.
"""

import ast
import importlib
import os
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

from holdfast.errors import UserError
from holdfast.registry import METHODS
from holdfast.settings import nearest
from holdfast.settings.fields import forget
from holdfast.settings.own_code import Source, code_version, own_code
from holdfast.settings.sources import Found, find, lineage, parameters, parse

_NAMES = {
    "align": "alignment",
    "screen": "screening",
    "finetune": "fine-tuning",
    "repair": "repair",
}
# What a method may name beside what it is always given: rows, and what the alignment changed.
_OFFERED = {
    "align": {"harmful_dataset", "paired_dataset"},
    "screen": {"alignment_dataset", "harmful_dataset"},
    "finetune": {"alignment_dataset", "harmful_dataset", "alignment_update"},
    "repair": {"alignment_dataset"},
}
# What a trainer and a repair are always given.
_TRAINER = {"model", "args", "train_dataset", "processing_class", "peft_config", "callbacks"}
_TRAINER |= {"self", "eval_dataset", "data_collator"}
_REPAIR = {"model", "dataset", "config", "processing_class", "progress", "checkpoints"}
_SCREEN = {"self", "config", "model", "processing_class"}
_GIVEN = {"screen": _SCREEN, "repair": _REPAIR}
_OWN = {"screen": "MyScreen", "repair": "my_repair"}
_TRAINER_CLASS = ("holdfast.training", "SFTTrainer")
# What a method's settings inherit from, where they must: module, class, and its public name.
_CONFIGS = {
    "align": ("holdfast.training", "SFTConfig", "holdfast.SFTConfig"),
    "finetune": ("holdfast.training", "SFTConfig", "holdfast.SFTConfig"),
    "screen": ("holdfast.screen.base", "ScreenConfig", "holdfast.ScreenConfig"),
}


@dataclass(frozen=True)
class Method:
    """Where a method's code is, and what it asks for.

    Args:
        target: "module:Trainer", of a repair "module:function", of a screen "module:Class".
        config: "module:Config", the dataclass of its settings.
        asks: the names of its parameters.
        version: the hash of its module's source and of what that imports of the user's own; ""
            for this package's own methods, whose versions `holdfast.stages.identity` counts.
        helpers: the names of those other modules.
    """

    target: str
    config: str
    asks: frozenset[str]
    version: str = ""
    helpers: tuple[str, ...] = ()


def is_own(method: object) -> bool:
    """Whether a method is named by the place of its code."""
    return ":" in str(method)


def short_name(method: str) -> str:
    """A method's name without its module, as folders and tables have it."""
    return re.sub(r"\W", "_", method.rpartition(":")[2], flags=re.ASCII)


def knows(kind: str, method: str) -> bool:
    """Whether there is such a method, without a mistake in it."""
    try:
        method_of(kind, method)
    except UserError:
        return False
    return True


def method_of(kind: str, method: str) -> Method:
    """A stage's method.

    Raises:
        UserError: there is none of that name, or something is wrong with what the name leads to.
    """
    if not is_own(method):
        return _built_in(kind, method)
    module, _, name = method.partition(":")
    import_from([os.getcwd()])
    try:
        if module == "__main__":  # a script or notebook is another one in another process
            raise LookupError(module)
        sources = own_code(module)
    except (LookupError, OSError):
        raise UserError(
            f"{_NAMES[kind]} method '{method}': there is no module {module} in {os.getcwd()} or "
            "where Python looks for modules (PYTHONPATH)."
        ) from None
    return _own(kind, name, sources)


@cache
def _built_in(kind: str, method: str) -> Method:
    known = METHODS[kind]
    if method not in known:
        close = nearest(method, known)
        hint = f"did you mean '{close}'? " if close else ""
        code = _OWN.get(kind, "MyTrainer")
        raise UserError(
            f"there is no {_NAMES[kind]} method '{method}'; {hint}known are {', '.join(known)}, "
            f"and your own as my_module:{code}."
        )
    entry = known[method]
    found = find(*entry.code.split(":"))
    assert found is not None
    return Method(entry.code, entry.config, frozenset(parameters(found)))


@lru_cache(maxsize=64)
def _own(kind: str, name: str, sources: tuple[Source, ...]) -> Method:
    """A method from outside the package; the sources' texts are there, so an edit is seen."""
    module, path, _ = sources[0]
    forget()
    where = f"{_NAMES[kind]} method '{module}:{name}'"
    try:
        parse(module)
    except (SyntaxError, UnicodeDecodeError) as error:
        line = f", line {error.lineno}" if isinstance(error, SyntaxError) else ""
        raise UserError(f"{where}: {path}{line} is no valid Python: {error}.") from None
    found = find(module, name)
    if found is None:
        what = "function" if kind == "repair" else "class"
        known = _defined(module, ast.FunctionDef if kind == "repair" else ast.ClassDef)
        close = nearest(name, known)
        hint = f"; did you mean '{close}'?" if close else "."
        raise UserError(f"{where}: {path} has no {what} {name}{hint}")
    _check_code(kind, found, where)
    config = name if kind == "repair" else name.removesuffix("Trainer")
    config = (_camel(config) if kind == "repair" else config) + "Config"
    _check_config(kind, module, config, where, path)
    own = find(module, config)
    assert own is not None
    asks = parameters(found)
    _check_parameters(kind, asks, where)
    return Method(
        f"{module}:{name}",
        f"{own.module}:{own.node.name}",
        frozenset(asks),
        code_version(sources),
        tuple(one.module for one in sources[1:]),
    )


def _defined(module: str, kind: type[ast.FunctionDef] | type[ast.ClassDef]) -> list[str]:
    return [node.name for node in parse(module)[0].body if isinstance(node, kind)]


def _camel(name: str) -> str:
    return "".join(part[:1].upper() + part[1:] for part in name.split("_"))


def _check_code(kind: str, found: Found, where: str) -> None:
    if kind == "repair":
        if not isinstance(found.node, ast.FunctionDef):
            raise UserError(f"{where} is a class; a repair is a function (model, dataset, config).")
    elif kind == "screen":
        if not isinstance(found.node, ast.ClassDef) or "score" not in _methods(found):
            raise UserError(f"{where} is no class with a method score(rows).")
    elif not isinstance(found.node, ast.ClassDef) or not _inherits(found, _TRAINER_CLASS):
        raise UserError(f"{where} is no subclass of holdfast.SFTTrainer.")


def _methods(found: Found) -> set[str]:
    bodies = (node for one in lineage(found) for node in one.node.body)
    return {node.name for node in bodies if isinstance(node, ast.FunctionDef)}


def _inherits(found: Found, base: tuple[str, str]) -> bool:
    return any((one.module, one.node.name) == base for one in lineage(found))


def _check_config(kind: str, module: str, name: str, where: str, path: Path) -> None:
    found, base = find(module, name), _CONFIGS.get(kind)
    if found is None or not isinstance(found.node, ast.ClassDef):
        raise UserError(
            f"{where}: {path} has no class {name} for its settings: write a dataclass "
            f"{name}{f'({base[1]})' if base else ''} beside it."
        )
    if base and not _inherits(found, base[:2]):
        raise UserError(f"{where}: {name} is no subclass of {base[2]}.")
    if not any("dataclass" in ast.unparse(one) for one in found.node.decorator_list):
        raise UserError(f"{where}: {name} lacks @dataclass before it.")


def _check_parameters(kind: str, asks: Mapping[str, bool], where: str) -> None:
    """Refuse a parameter that needs a value and gets none."""
    given = _GIVEN.get(kind, _TRAINER) | _OFFERED[kind]
    for name, needed in asks.items():
        if needed and name not in given:
            known = sorted((_OFFERED[kind] | _GIVEN.get(kind, {"train_dataset"})) - {"self"})
            raise UserError(
                f"{where} asks for '{name}', which {_NAMES[kind]} does not have; it has "
                f"{', '.join(known)}."
            )
    if kind == "repair" and "model" not in asks:
        raise UserError(f"{where} does not take the model: its parameters are {', '.join(asks)}.")


def import_from(folders: Iterable[str]) -> None:
    """Let modules be found in more folders, after those where Python looks already."""
    sys.path += [folder for folder in folders if folder not in sys.path]


def load(target: str) -> Any:
    """What "module:name" names, imported."""
    module, name = target.split(":")
    return getattr(importlib.import_module(module), name)


def load_method(kind: str, name: str) -> tuple[Any, Any, Method]:
    """A method's trainer or function, its config class, and what is known of it.

    Raises:
        UserError: see `method_of`; an own method's module cannot be imported.
    """
    method = method_of(kind, name)
    if is_own(name):
        _import_own(method)
    return load(method.target), load(method.config), method


# Own modules by name: the version that was imported.
_imported: dict[str, str] = {}


def _import_own(method: Method) -> ModuleType:
    """Import an own method's module as it is now, also where it was imported before an edit."""
    name = method.target.split(":")[0]
    importlib.invalidate_caches()
    try:
        if name in sys.modules and _imported.get(name) != method.version:
            for helper in method.helpers:
                sys.modules.pop(helper, None)
            module = importlib.reload(sys.modules[name])
        else:
            module = importlib.import_module(name)
    except Exception as error:
        raise UserError(f"{name} cannot be imported: {type(error).__name__}: {error}.") from error
    _imported[name] = method.version
    return module
