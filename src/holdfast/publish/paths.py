"""What must not leave this machine: the names of its folders."""

import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

_DRIVE = re.compile(r"[A-Za-z]:[\\/]|\\\\")
_MARKED = ("/", "~", "./", "../", ".\\", "..\\")
_ELSEWHERE = re.compile(r"hub:|[a-z][a-z0-9+.-]*://")


def without_paths(value: Any) -> Any:
    """The same settings with only the last part of every local path, at any depth.

    A path is a text that begins like one (/, ~, ./, ../, a drive), that has two slashes or more and
    is no address and no reference of the Hub, or that is there on this machine; also as a part of a
    stack, ``BASE+ADAPTER``. Other texts stay as they are.
    """
    if isinstance(value, str):
        return without_path(value)
    if isinstance(value, Mapping):
        return {key: without_paths(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [without_paths(inner) for inner in value]
    return value


def without_path(text: str) -> str:
    """One text; see `without_paths`."""
    if "+" in text and not Path(text).expanduser().exists():
        return "+".join(map(without_path, text.split("+")))
    if not is_path(text):
        return text
    windows = bool(_DRIVE.match(text)) or "\\" in text
    name = (PureWindowsPath(text) if windows else PurePosixPath(text)).name
    return name or "folder"


def is_path(text: str) -> bool:
    """Whether a text names a place on this machine."""
    if _ELSEWHERE.match(text) or "\n" in text:
        return False
    if text.startswith(_MARKED) or _DRIVE.match(text) or text.count("/") > 1:
        return True
    if "/" not in text and "\\" not in text:
        return False
    try:
        return Path(text).exists()
    except (OSError, ValueError):
        return False
