"""Load the weights of a GGUF file, unpacked, and keep the last one that was read."""

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    GgufConfig,
    modeling_gguf_pytorch_utils,
)

from holdfast.models import gguf

_KEPT_PARAMETERS = 500_000_000


def load_gguf(file: Path, options: dict[str, Any]) -> tuple[Any, Any]:
    """A model out of a GGUF file, and what is missing; unpacked, it is a plain one.

    Unpacking takes seconds, and a worker loads the same base for stage after stage: on the
    processor a small one's weights are kept.
    """
    if "device_map" in options or gguf.parameters(gguf.header(file)) > _KEPT_PARAMETERS:
        return _unpack(file, options)
    about = file.stat()
    kept, report = _kept(file, about.st_mtime_ns, about.st_size, options["dtype"])
    weights = kept.state_dict()
    model = type(kept).from_pretrained(
        None,
        config=deepcopy(kept.config),
        state_dict={name: weight.clone() for name, weight in weights.items()},
        **options,
    )
    return model, report


def _unpack(file: Path, options: dict[str, Any]) -> tuple[Any, Any]:
    with _no_bar():
        loaded: Any = AutoModelForCausalLM.from_pretrained(  # a pair, by output_loading_info
            str(file.parent),
            gguf_file=file.name,
            quantization_config=GgufConfig(dequantize=True),
            trust_remote_code=False,
            output_loading_info=True,
            **options,
        )
    return loaded


@contextmanager
def _no_bar() -> Iterator[None]:
    """Without the bar of transformers' reader, which no setting of transformers reaches."""
    reader: Any = modeling_gguf_pytorch_utils
    bar = reader.tqdm
    reader.tqdm = partial(bar, disable=True)
    try:
        yield
    finally:
        reader.tqdm = bar


@lru_cache(maxsize=1)
def _kept(file: Path, changed: int, size: int, dtype: torch.dtype) -> tuple[Any, Any]:
    return _unpack(file, {"dtype": dtype})
