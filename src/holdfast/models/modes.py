"""A model's modes."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from holdfast.models.bare import bare
from holdfast.models.four_bits import keep_unpacked
from holdfast.models.router_loss import adds_router_loss, text_config


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Switch dropout off for a while; every module then has the mode it had before.

    The router's loss of a mixture of experts is not computed meanwhile: it belongs to training, and
    transformers' cannot be computed while an answer is generated.

    Raises:
        UserError: see `keep_unpacked`.
    """
    keep_unpacked(model)
    modes = [(module, module.training) for module in model.modules()]
    config = text_config(model) if adds_router_loss(model) else None
    model.eval()
    try:
        if config is not None:
            config.output_router_logits = False
        yield
    finally:
        if config is not None:
            config.output_router_logits = True
        for module, mode in modes:
            module.training = mode


@contextmanager
def generation_settings(model: Any, settings: Any) -> Iterator[None]:
    """Put `settings` in the place of the model's own.

    `model.generate(generation_config=…)` fills what is None in it from the model's own settings:
    a repetition penalty or suppressed tokens of a published model would change the answers.
    """
    # PEFT's wrapper writes its own `generation_config` onto the model inside, so both are set.
    base = bare(model)
    holders: list[Any] = [model] if base is model else [model, base]
    before = [holder.generation_config for holder in holders]
    for holder in holders:
        holder.generation_config = settings
    try:
        yield
    finally:
        for holder, config in zip(holders, before, strict=True):
            holder.generation_config = config
