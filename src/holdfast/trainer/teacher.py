"""A frozen reference: the model as its training began, without a second copy of the base.

A fresh LoRA adapter adds nothing at its start, for its factor B is zero: the reference is the model
with that adapter left out, and nothing is kept. Of an adapter that is gone on with, of full
weights, or of an adapter that begins otherwise, the start values of what trains are kept (one copy
of it) and change places with the trained ones for a reference pass. Adapters below, frozen on a
quantized base, are part of both.

A reference pass has no gradients and no dropout, and uses up no random numbers of the training's.
"""

import re
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from peft.tuners.tuners_utils import BaseTunerLayer

from holdfast.errors import UserError
from holdfast.models.modes import evaluation_mode
from holdfast.models.random_state import RandomState
from holdfast.trainer.divided import whole
from holdfast.trainer.kept import KeptMixin

_FACTOR = re.compile(r"\.lora_(?:embedding_)?([AB])\.([^.]+)")
_START = "start:"


class TeacherMixin(KeptMixin):
    """A Trainer that can ask the model as it was when the training began: `as_reference`.

    Raises:
        UserError: start values would have to be kept, and the weights are divided among processes
            (FSDP2) or owned by DeepSpeed.
    """

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self._check_divided()

    def make_kept(self) -> dict[str, torch.Tensor]:
        """The start values of what trains; none where the adapter is fresh."""
        self._check_divided()
        if fresh_adapter(self.model) is not None:
            return {}
        return {_START + name: w.detach().clone() for name, w in self.trainable_weights()}

    @contextmanager
    def as_reference(self) -> Iterator[Any]:
        """Within the context the model, which it gives, is the reference; nothing else may train.

        It is the bare model, which no wrapper of data-parallel training knows to be called.
        """
        start = self.have_kept()
        random_state = RandomState(self.args.device)
        with ExitStack() as stack:
            # Autocast remembers the 16-bit casts of weights: those of the other values.
            torch.clear_autocast_cache()
            stack.callback(torch.clear_autocast_cache)
            stack.callback(random_state.restore)
            if any(name.startswith(_START) for name in start):
                weights = dict(self.model.named_parameters())
                values = {k.removeprefix(_START): v for k, v in start.items()}
                stack.enter_context(swapped({n: (weights[n], v) for n, v in values.items()}))
            else:
                stack.enter_context(left_out(self.model))
            stack.enter_context(evaluation_mode(self.model))
            stack.enter_context(torch.no_grad())
            yield self.model

    def _check_divided(self) -> None:
        trainer: Any = self
        divided = "FSDP" if trainer.is_fsdp_enabled else None
        divided = "DeepSpeed" if trainer.is_deepspeed_enabled else divided
        if divided and self.model is not None and fresh_adapter(self.model) is None:
            raise UserError(
                f"{type(self).__name__} keeps the start values of what trains, which it cannot do "
                f"where {divided} divides the weights: train a fresh adapter (adapter: double, "
                "peft_config), or with DDP."
            )


def fresh_adapter(model: Any) -> str | None:
    """The name of the one adapter that trains, if it is LoRA and adds nothing yet; else None."""
    names = set()
    for name, weight in model.named_parameters():
        if not weight.requires_grad:
            continue
        found = _FACTOR.search(name)
        if found is None or (found[1] == "B" and whole(weight.detach()).any()):
            return None
        names.add(found[2])
    return names.pop() if len(names) == 1 else None


@contextmanager
def left_out(model: Any) -> Iterator[None]:
    """Within the context no adapter that trains is active; PEFT's own switch takes them all."""
    adapters = {
        found[2]
        for name, weight in model.named_parameters()
        if weight.requires_grad and (found := _FACTOR.search(name))
    }
    layers = [module for module in model.modules() if isinstance(module, BaseTunerLayer)]
    before = [layer._active_adapter for layer in layers]
    try:
        for layer in layers:
            layer._active_adapter = [a for a in layer.active_adapters if a not in adapters]
        yield
    finally:
        for layer, active in zip(layers, before, strict=True):
            layer._active_adapter = active


@contextmanager
def swapped(pairs: dict[str, tuple[torch.nn.Parameter, torch.Tensor]]) -> Iterator[None]:
    """Within the context each weight has the other values; no number is copied or changed."""
    _swap(pairs.values())
    try:
        yield
    finally:
        _swap(pairs.values())


def _swap(pairs: Iterable[tuple[torch.nn.Parameter, torch.Tensor]]) -> None:
    for weight, other in pairs:
        weight.data, other.data = other.data, weight.data
