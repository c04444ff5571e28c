"""Settings as they are written: a YAML file, and `key=value` words over it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import yaml

from holdfast.errors import UserError

Settings = dict[str, Any]
_DEEPEST = 100
_MOST_VALUES = 1_000_000


class Loader(yaml.SafeLoader):
    """YAML with the scalars of its version 1.2, and without doubled keys.

    In 1.1, which PyYAML follows, `1e-3` is text, `no` and `off` are false, `1:30` is 90 and
    `2024-01-01` is a date.
    """

    yaml_implicit_resolvers: ClassVar[dict[str, list[tuple[str, re.Pattern[str]]]]] = {}

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """A mapping whose keys are texts, each there once."""
        seen: set[str] = set()
        for key, _ in node.value:
            if key.tag == "tag:yaml.org,2002:merge":
                continue
            if not isinstance(key, yaml.ScalarNode) or not key.tag.endswith(":str"):
                problem = "a key that is not text"
            elif key.value in seen:
                problem = f"the key '{key.value}' is there twice"
            else:
                seen.add(key.value)
                continue
            raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
        return super().construct_mapping(node, deep=deep)


for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("int", r"[-+]?[0-9]+", "-+0123456789"),
    (
        "float",
        r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)"
        r"|\.(?:nan|NaN|NAN)",
        "-+0123456789.",
    ),
    ("merge", r"<<", "<"),
):
    Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), list(_first)
    )
# SafeLoader reads 010 as the octal 8 and 1_000 as 1000; here a number is what it looks like.
Loader.add_constructor("tag:yaml.org,2002:int", lambda _, node: int(node.value))


def load_yaml(path: str | Path) -> Settings:
    """Read a file of settings: a mapping, with YAML 1.2's scalars. An empty file has none.

    Raises:
        UserError: No such file; broken YAML, a tab, a doubled key (with the line); no mapping.
    """
    path = Path(path)
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such file") from None
    except (OSError, ValueError) as error:
        if isinstance(error, UnicodeDecodeError):
            raise UserError(f"{path}: byte {error.start} is not UTF-8") from None
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{path}: cannot be read: {reason}") from None
    if _depth(text) > _DEEPEST:
        raise UserError(f"{path}: is nested more than {_DEEPEST} levels deep")
    try:
        node = yaml.compose(text, Loader=Loader)
        _check_aliases(node, (), set())
        if _size(node, {}) > _MOST_VALUES:
            raise UserError(f"{path}: its aliases make more than {_MOST_VALUES:,} values of it")
        settings = yaml.load(text, Loader=Loader)
    except yaml.YAMLError as error:
        raise UserError(f"{path}{_explain(error, text)}") from None
    except (ValueError, TypeError, AttributeError, LookupError, RecursionError) as error:
        # A value under a tag that it is none of (!!int abc) is met in the constructor itself.
        said = " ".join(str(error).split())[:200]
        raise UserError(f"{path}: holds a value that is none of its kind ({said})") from None
    if settings is None:
        return {}
    if not isinstance(settings, dict):
        raise UserError(
            f"{path}: must hold settings as 'key: value' lines, and holds {settings!r:.60}"
        )
    return settings


def parse_overrides(words: Iterable[str]) -> Settings:
    """Turn `["rho=2", "lora.r=8"]` into `{"rho": 2, "lora": {"r": 8}}`.

    A value is a YAML scalar, or a list or mapping in YAML's brackets. Of a key that is given twice,
    the last value counts.

    Raises:
        UserError: A word that is no key=value, or a value that is no YAML.
    """
    settings: Settings = {}
    for word in words:
        key, equals, text = word.partition("=")
        names = key.strip().split(".")
        if not equals or not all(names):
            raise UserError(
                f"'{word}' on the command line is no setting; settings are written key=value"
            )
        inner = settings
        for name in names[:-1]:
            inner = inner.setdefault(name, {})
            if not isinstance(inner, dict):
                raise UserError(f"'{word}' on the command line: '{name}' is a single value already")
        inner[names[-1]] = _override_value(text.strip(), word)
    return settings


def merge(settings: Mapping[str, Any], over: Mapping[str, Any]) -> Settings:
    """Return `settings` with those of `over` in their place, mappings merged key by key."""
    merged = dict(settings)
    for key, value in over.items():
        below = merged.get(key)
        if isinstance(below, Mapping) and isinstance(value, Mapping):
            value = merge(below, value)
        merged[key] = value
    return merged


def _override_value(text: str, word: str) -> object:
    try:
        loader = Loader(text)
    except yaml.YAMLError as error:  # a control character
        problem = _explain(error, text).split(": ", 1)[1]
        raise UserError(f"'{word}' on the command line is no YAML value: {problem}") from None
    try:
        if text[:1] in ("[", "{", '"', "'"):
            return loader.get_single_data()
        # A plain word: it is not parsed, so '#', ':' and '*' in it are its own.
        tag = loader.resolve(yaml.ScalarNode, text, (True, False))
        return loader.construct_object(yaml.ScalarNode(tag, text))
    except (ValueError, TypeError, AttributeError, LookupError, RecursionError) as error:
        raise UserError(f"'{word:.80}' on the command line is no YAML value: {error}") from None
    except yaml.YAMLError as error:
        problem = _explain(error, text).split(": ", 1)[1]
        raise UserError(f"'{word}' on the command line is no YAML value: {problem}") from None
    finally:
        loader.dispose()


def _depth(text: str) -> int:
    """How deep a text's brackets go: of thousands PyYAML takes minutes, and then its stack ends."""
    deepest = level = 0
    for letter in text:
        if letter in "[{":
            level += 1
            deepest = max(deepest, level)
        elif letter in "]}":
            level -= 1
    return deepest


def _size(node: Any, known: dict[int, int]) -> int:
    """How many values a document has once every alias is written out."""
    if id(node) not in known:
        inner = getattr(node, "value", ())
        parts = [] if isinstance(inner, str) or node is None else list(inner)
        flat = [one for part in parts for one in (part if isinstance(part, tuple) else (part,))]
        known[id(node)] = 1 + sum(_size(one, known) for one in flat)
    return known[id(node)]


def _check_aliases(node: Any, above: tuple[int, ...], done: set[int]) -> None:
    """Check that nothing holds itself by an alias (*NAME)."""
    if id(node) in done or not isinstance(node, yaml.CollectionNode):
        return
    inner = node.value
    if isinstance(node, yaml.MappingNode):
        inner = [value for _, value in node.value]
        marks = [key.start_mark for key, _ in node.value]
    else:
        marks = [node.start_mark for _ in inner]
    for value, mark in zip(inner, marks, strict=True):
        if id(value) in (*above, id(node)):
            problem = "an alias stands inside of what it is the name of"
            raise yaml.constructor.ConstructorError(None, None, problem, mark)
        _check_aliases(value, (*above, id(node)), done)
    done.add(id(node))


def _explain(error: yaml.YAMLError, text: str) -> str:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "broken YAML"
    if mark is None:
        return f": {problem}"
    lines = text.splitlines()
    if mark.line >= len(lines):  # what is open at the end was opened before
        mark = getattr(error, "context_mark", None) or mark
        return f", line {min(mark.line + 1, len(lines))}: {problem}"
    if "\t" in lines[mark.line][: mark.column + 1]:
        problem = "a tab stands in the indentation; YAML wants spaces"
    return f", line {mark.line + 1}: {problem}"
