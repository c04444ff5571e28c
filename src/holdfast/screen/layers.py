"""Which of a model's layers its refusals rest on.

LARF (arXiv 2507.18631) scales all weight matrices of one decoder layer by 1 + a and by 1 − a,
counts how many of a list of harmless prompts that look harmful are refused with each, and takes the
layer with the largest difference of the two counts as the one that is sensitive to safety. The
scale is applied here in the same way, and what is measured is smoother and needs no answer to be
generated: the mean negative log-likelihood ℓ of known refusals,

    sensitivity_l = ℓ(layer l times 1 − a) − ℓ(layer l times 1 + a),

which is large where a stronger layer makes refusing likelier and a weaker one less so.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from statistics import fmean
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedTokenizerBase

from holdfast.errors import UserError
from holdfast.evaluate.alignment import alignment_pass
from holdfast.evaluate.judges.keywords import is_refusal
from holdfast.models.blocks import decoder_layers
from holdfast.models.loading import is_quantized
from holdfast.screen.base import Row, exchanges

_ROWS = 64
SCALE = 0.2


def chosen_layer(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    layer: int | None,
    alignment_rows: Sequence[Row],
) -> int:
    """The number of the decoder layer to look at, from 0.

    Args:
        model: the aligned model.
        tokenizer: its tokenizer.
        layer: the user's choice; None for the most sensitive one.
        alignment_rows: rows with known refusals among them; without any the middle layer is taken.

    Raises:
        UserError: there is no such layer; the weights are quantized, so they cannot be scaled.
    """
    count = len(decoder_layers(model))
    if layer is not None:
        if layer >= count:
            raise UserError(f"layer is {layer}, and the model has the layers 0 to {count - 1}.")
        return layer
    if not alignment_rows:
        return count // 2
    found = sensitivities(model, tokenizer, alignment_rows)
    return max(range(count), key=found.__getitem__)


def sensitivities(
    model: Any, tokenizer: PreTrainedTokenizerBase, rows: Sequence[Row], scale: float = SCALE
) -> list[float]:
    """Every layer's sensitivity, see this module, on at most 64 of the rows.

    Those whose answer is a refusal are taken, by its phrases; where none is, all.

    Raises:
        UserError: the weights are quantized, so they cannot be scaled.
    """
    if is_quantized(model):
        raise UserError(
            "the weights are quantized and cannot be scaled, by which the layer is found: name it "
            "(layer=12), or load the model in full precision."
        )
    texts = [row for row in rows if "input_ids" not in row]
    refusals = [row for row in texts if any(is_refusal(answer) for _, answer in exchanges(row))]
    taken = (refusals or list(rows))[:_ROWS]

    def loss() -> float:
        return fmean(alignment_pass(model, tokenizer, taken, states=False).losses)

    found = []
    for layer in decoder_layers(model):
        with scaled(layer, 1 - scale):
            weaker = loss()
        with scaled(layer, 1 + scale):
            stronger = loss()
        found.append(weaker - stronger)
    return found


@contextmanager
def scaled(layer: nn.Module, by: float) -> Iterator[None]:
    """Within the context the layer's matrices are multiplied; after it they are as before."""
    matrices = [weight for weight in layer.parameters() if weight.ndim >= 2]
    before = [weight.detach().clone() for weight in matrices]
    try:
        with torch.no_grad():
            for weight in matrices:
                weight.mul_(by)
        yield
    finally:
        with torch.no_grad():
            for weight, kept in zip(matrices, before, strict=True):
                weight.copy_(kept)
