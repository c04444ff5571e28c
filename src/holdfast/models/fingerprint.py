"""A model folder known by what is in it, wherever it lies and whatever it is called."""

import hashlib
from pathlib import Path

_WHOLE_FILE = 64 * 2**20
_PART = 4 * 2**20


def folder_fingerprint(folder: Path) -> str:
    """A hash of a model folder's weights, configuration and tokenizer, 64 hexadecimal digits.

    A GGUF file holds all three, and is hashed alone, whatever it is called.

    Of a file above 64 MiB the size, the beginning and the end count, so that a 13 GB model is
    known in a moment; safetensors files say at their beginning what they hold.
    """
    return _fingerprint(folder, (".safetensors", ".json", ".jinja", ".txt", ".model"))


def weights_fingerprint(folder: Path) -> str:
    """As `folder_fingerprint`, of the weights alone: a tokenizer or a card changes nothing."""
    return _fingerprint(folder, (".safetensors",))


def _fingerprint(folder: Path, suffixes: tuple[str, ...]) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*")) if folder.is_dir() else [folder]:
        if (path.suffix not in suffixes and path != folder) or path.name == "provenance.json":
            continue
        size = path.stat().st_size
        name = "" if path == folder else path.name
        digest.update(f"{name}\0{size}\0".encode())
        with path.open("rb") as file:
            if size <= _WHOLE_FILE:
                digest.update(file.read())
            else:
                digest.update(file.read(_PART))
                file.seek(-_PART, 2)
                digest.update(file.read(_PART))
    return digest.hexdigest()
