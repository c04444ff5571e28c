"""Fingerprints of the organism's rows, kept in a run's folder from one run to the next.

They follow from settings and from this package's code, and a run needs those of all its stages to
know what is there already. A study of 1,500 stages has 200 sets of rows, which take seconds to make
again. So ``ROOT/rows.json`` holds the fingerprints beside a hash of the code; with other code, or
where it is damaged, it counts for nothing.
"""

import hashlib
import json
import platform
from collections.abc import Callable
from functools import cache
from pathlib import Path

import holdfast
from holdfast.stages.disk import disk_errors, write_json

FILE = "rows.json"
_FOUND: dict[str, dict[str, str]] = {}


def remembered(key: str, make: Callable[[], dict[str, str]]) -> dict[str, str]:
    """The fingerprints of a stage's rows by their role; made where nobody knows them."""
    if key not in _FOUND:
        _FOUND[key] = make()
    return _FOUND[key]


def recall(root: Path) -> bool:
    """Take what an earlier run has kept in its folder; tells whether there is something."""
    kept = _read(root)
    for key, found in kept.items():
        _FOUND.setdefault(key, found)
    return bool(kept)


def keep(root: Path) -> None:
    """Write all that is known into a run's folder.

    Raises:
        UserError: the folder cannot be written, or the disk is full.
    """
    if _FOUND.keys() <= _read(root).keys():
        return
    with disk_errors(root / FILE):
        write_json(root / FILE, {"code": _code(), "fingerprints": _FOUND})


def _read(root: Path) -> dict[str, dict[str, str]]:
    try:
        content = json.loads((root / FILE).read_text(encoding="utf-8"))
        if content["code"] == _code():
            return {
                str(key): {str(role): str(mark) for role, mark in found.items()}
                for key, found in content["fingerprints"].items()
            }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass
    return {}


@cache
def _code() -> str:
    """A hash of all of the package's code, and of the Python that runs it."""
    digest = hashlib.sha256(platform.python_version().encode())
    folder = Path(holdfast.__file__).parent
    for path in sorted(folder.rglob("*.py")):
        digest.update(f"{path.relative_to(folder).as_posix()}\n".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()
