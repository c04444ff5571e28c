"""Where settings are from, for messages: a file and the line of a key, or the command line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from holdfast.settings.files import Loader

Keys = tuple[str | int, ...]
# By the keys that lead to a setting: its file, and its line there (0: not in a file).
Lines = dict[Keys, tuple[str, int]]


class Place(str):
    """A text for the beginning of a message, which finds the lines of single keys.

    Args:
        file: what settings are from, as it is named in messages.
        lines: the lines of its keys.
        within: what part of it is meant, in words.
        roots: the keys that lead to that part; the first that has a setting counts. A file may set
            the same thing in several places.
    """

    file: str
    lines: Lines
    within: str
    roots: tuple[Keys, ...]

    def __new__(
        cls, file: str, lines: Lines | None = None, within: str = "", roots: Iterable[Keys] = ((),)
    ) -> Place:
        """The place itself as text: FILE, or FILE: WITHIN."""
        self = super().__new__(cls, f"{file}: {within}" if within else file)
        self.file, self.lines, self.within, self.roots = file, lines or {}, within, tuple(roots)
        return self

    def at(self, *keys: str | int) -> str:
        """The text with the line of a setting; where it has none, of what is around it."""
        found = next((self.lines[r + keys] for r in self.roots if r + keys in self.lines), None)
        around = [root for root in self.roots if root[:1] not in _ELSEWHERE]
        for end in range(len(keys) - 1, -1, -1):
            inner = (self.lines.get(root + keys[:end]) for root in around)
            found = found or next(filter(None, inner), None)
        if found is None:
            return self
        file, line = found
        text = f"{file}, line {line}" if line else file
        return f"{text}: {self.within}" if self.within else text

    def inside(self, within: str, *names: str) -> Place:
        """A part of it, under one of these names, which may be in any of its places.

        What is not found there is looked for around it: a setting of all stages, for instance.
        """
        ends = range(len(names), 0, -1)
        inner = [root + names[:end] for root in self.roots for end in ends]
        within = f"{self.within}: {within}" if self.within else within
        return Place(self.file, self.lines, within, (*inner, *self.roots))

    def part(self, within: str, *roots: Keys) -> Place:
        """A part of it with its places."""
        return Place(self.file, self.lines, within, roots)

    def with_copies(self, copies: Mapping[Keys, Keys]) -> Place:
        """The same, where what stands under one path of keys is found under another one too."""
        lines = dict(self.lines)
        for new, old in copies.items():
            size = len(old)
            lines |= {new + k[size:]: v for k, v in self.lines.items() if k[:size] == old}
        return Place(self.file, lines, self.within, self.roots)

    def over(self, lines: Lines) -> Place:
        """The same, with these lines over its own."""
        return Place(self.file, {**self.lines, **lines}, self.within, self.roots)


# What has settings of many parts: it does not tell where one of them begins.
_ELSEWHERE = {("over",), ("when",), ("vary",), ("settings",)}


def at(where: str, *keys: str | int) -> str:
    """`Place.at`; any other text is itself."""
    return where.at(*keys) if isinstance(where, Place) else where


def inside(where: str, name: str, more: str = "") -> str:
    """`Place.inside`; any other text with the part's name."""
    names = (name, more) if more else (name,)
    return where.inside(name, *names) if isinstance(where, Place) else f"{where}: {name}"


def lines_of(path: Path, name: str | None = None) -> Lines:
    """The lines of all keys of a YAML file that `load_yaml` has read; list entries by number.

    A key with dots (finetune.lisa) is found under its parts, too.

    Args:
        path: the file.
        name: what it is called in messages.
    """
    lines: Lines = {}
    root = yaml.compose(path.read_bytes().decode("utf-8-sig"), Loader=Loader)
    _walk(root, (), name or str(path), lines, set())
    return lines


def words_lines(settings: Mapping[str, Any], where: str, above: Keys = ()) -> Lines:
    """The same for settings that are in no file."""
    lines: Lines = {}
    for key, value in settings.items():
        lines[(*above, key)] = where, 0
        if isinstance(value, Mapping):
            lines |= words_lines(value, where, (*above, key))
    return lines


def _walk(node: Any, above: Keys, name: str, lines: Lines, seen: set[int]) -> None:
    if id(node) in seen:  # an alias (*NAME), perhaps of what it is itself in
        return
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for number, entry in enumerate(node.value):
            lines[(*above, number)] = name, entry.start_mark.line + 1
            _walk(entry, (*above, number), name, lines, seen)
    elif isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.tag == "tag:yaml.org,2002:merge":
                _walk(value, above, name, lines, seen)
                continue
            path = (*above, str(key.value))
            lines[path] = name, key.start_mark.line + 1
            _walk(value, path, name, lines, seen)
            if "." in path[-1]:
                parts = (*above, *path[-1].split("."))
                size = len(path)
                copies = {parts + k[size:]: v for k, v in lines.items() if k[:size] == path}
                lines.update(copies)
