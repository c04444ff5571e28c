"""How a linear layer's squared error on given rows bends: H = (2/N) Σ X Xᵀ of its inputs."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedTokenizerBase

from holdfast.data.rows import tokenize
from holdfast.errors import UserError
from holdfast.models.modes import evaluation_mode


@torch.no_grad()
def hessians(
    model: nn.Module,
    layers: Mapping[str, nn.Module],
    rows: Iterable[Mapping[str, Any]],
    max_length: int,
    tokenizer: PreTrainedTokenizerBase | None,
    answers: bool = False,
) -> dict[str, torch.Tensor]:
    """(2/N) Σ_n X^(n) X^(n)ᵀ of every layer's inputs, [in, in], on the processor.

    Args:
        model: the model.
        layers: linear layers of it, by name; all matrices are held at once.
        rows: N rows, one pass without padding for each.
        max_length: longest row in tokens; what is longer is cut on the right.
        tokenizer: not needed for tokenized rows.
        answers: count the inputs at the answers' tokens alone.

    Raises:
        UserError: no rows, or text without a tokenizer.
    """
    sums: dict[str, Any] = dict.fromkeys(layers, 0)
    device, number = next(model.parameters()).device, 0
    counted: list[torch.Tensor] = []
    with evaluation_mode(model), _watched(layers, sums, counted):
        for row in rows:
            if "input_ids" not in row:
                if tokenizer is None:
                    raise UserError("the rows are text: pass processing_class, the tokenizer.")
                row = tokenize(row, tokenizer, max_length)
            ids = torch.tensor([row["input_ids"][:max_length]], device=device)
            if answers:
                counted[:] = [torch.tensor(row["labels"][:max_length], device=device) != -100]
            model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False)
            number += 1
    if not number:
        raise UserError("alignment_dataset is empty: at least one safe row is needed.")
    return {name: 2 / number * total for name, total in sums.items()}


@contextmanager
def _watched(
    layers: Mapping[str, nn.Module], sums: dict[str, Any], counted: list[torch.Tensor]
) -> Iterator[None]:
    def adds(name: str) -> Callable[[nn.Module, Any], None]:
        def add(_layer: nn.Module, inputs: Any) -> None:
            x = inputs[0].reshape(-1, inputs[0].shape[-1]).float()
            for places in counted:
                x = x[places.to(x.device)]
            sums[name] = sums[name] + (x.T @ x).cpu()

        return add

    handles = [layer.register_forward_pre_hook(adds(name)) for name, layer in layers.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
