"""The source of a user's own module and of all that it imports of the user's own."""

from __future__ import annotations

import ast
import hashlib
import sysconfig
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from holdfast.settings.sources import absolute, source_of

# Large, and none of the user's own, however they are installed.
_LIBRARIES = {"holdfast", "torch", "transformers", "peft", "accelerate", "datasets", "numpy"}
_INSTALLED = [
    Path(sysconfig.get_path(name)).resolve()
    for name in ("stdlib", "platstdlib", "purelib", "platlib")
]


class Source(NamedTuple):
    """A module of the user's.

    Args:
        module: its name.
        path: its file.
        text: what is in it.
    """

    module: str
    path: Path
    text: bytes


_Stamp = tuple[int, int, int]
_READ: dict[str, tuple[tuple[Source, ...], dict[Path, _Stamp]]] = {}


def own_code(module: str) -> tuple[Source, ...]:
    """A module and those that it imports, wherever in it, as far as they are the user's own.

    A module is the user's own where it is no part of Python and not installed, or in the same
    package as the first. What a module imports by a name that it computes is not seen.

    Returns:
        The module itself, and then the others by name. As long as no file changes, the same.

    Raises:
        LookupError: there is no such module.
        OSError: it cannot be read.
    """
    first = source_of(module)
    if module in _READ:
        sources, stamps = _READ[module]
        if sources[0].path == first and _stamps(sources) == stamps:
            return sources
    found = {module: Source(module, first, first.read_bytes())}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        for other in _imported(name, found[name].text):
            path = None if other in found else _own_file(other, module)
            if path is not None:
                found[other] = Source(other, path, path.read_bytes())
                waiting.append(other)
    names = [module, *sorted(found.keys() - {module})]
    sources = tuple(found[name] for name in names)
    _READ[module] = sources, _stamps(sources)
    return sources


@lru_cache(maxsize=64)
def code_version(sources: tuple[Source, ...]) -> str:
    """A hash of modules' sources; of a module that stands alone it is its file's."""
    told = {one.module: hashlib.sha256(one.text).hexdigest() for one in sources if one.text.strip()}
    if len(told) == 1:
        return next(iter(told.values()))
    return hashlib.sha256(repr(sorted(told.items())).encode()).hexdigest()


def _stamps(sources: tuple[Source, ...]) -> dict[Path, _Stamp]:
    """What changes with the files, and with their folders where one comes or goes."""
    found: dict[Path, _Stamp] = {}
    for path in {path for one in sources for path in (one.path, one.path.parent)}:
        try:
            about = path.stat()
            found[path] = about.st_size, about.st_mtime_ns, about.st_ctime_ns
        except OSError:
            continue
    return found


def _own_file(name: str, first: str) -> Path | None:
    """The file of a module that is the user's own; None for any other."""
    top = name.partition(".")[0]
    if top in _LIBRARIES:
        return None
    try:
        path = source_of(name)
    except (LookupError, ImportError, AttributeError):
        return None
    ours = top == first.partition(".")[0]
    installed = any(path.resolve().is_relative_to(folder) for folder in _INSTALLED)
    return path if ours or not installed else None


def _imported(module: str, text: bytes) -> Iterator[str]:
    """The names of what a module may import, packages above them and above itself included."""
    yield from _with_packages(module)
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # told where it is imported
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for one in node.names:
                yield from _with_packages(one.name)
        elif isinstance(node, ast.ImportFrom):
            above = absolute(node, module)
            yield from _with_packages(above)
            yield from (f"{above}.{one.name}" for one in node.names)


def _with_packages(name: str) -> Iterator[str]:
    parts = [part for part in name.split(".") if part]
    yield from (".".join(parts[: end + 1]) for end in range(len(parts)))
