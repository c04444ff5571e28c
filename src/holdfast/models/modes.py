"""A model's modes."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from holdfast.models.four_bits import keep_unpacked


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Switch dropout off for a while; every module then has the mode it had before.

    Raises:
        UserError: see `keep_unpacked`.
    """
    keep_unpacked(model)
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
