"""Gradient: a row is flagged that would pull the weights where known harmful rows pull them.

    score(x) = cos(g_x, ḡ_H) − cos(g_x, ḡ_S)      ḡ_K = Σ_{k in K} g_k / ‖g_k‖

g_x is the gradient of the loss on the first `tokens` tokens of the row's answer with respect to the
matrices of one decoder layer, of all of them together one vector [weights]; H are the known harmful
rows, S the known safe ones (without any the second term is 0). This is the gradient matching of He
et al. 2024 (arXiv 2404.01099), whose features are the gradients of the first ten tokens of an
answer, with their anchors on both sides. The layer is the one that LARF's scaling finds (arXiv
2507.18631, see `holdfast.screen.layers`; LARF itself compares representations, as the screen
``similarity`` does). A row costs a forward and a backward pass of its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize
from transformers import PreTrainedTokenizerBase

from holdfast.data.rows import IGNORED, Tokens, readable
from holdfast.errors import UserError
from holdfast.models.blocks import decoder_layers
from holdfast.models.loading import is_quantized
from holdfast.models.modes import evaluation_mode
from holdfast.screen.base import Known, Row, Scored, ScreenConfig, check_known
from holdfast.screen.decide import check_decision
from holdfast.screen.layers import chosen_layer
from holdfast.screen.reading import in_their_places, known_tokens


@dataclass
class GradientScreenConfig(ScreenConfig):
    """Settings of the screen ``gradient``.

    Args:
        tokens: how many of the answer's first tokens the loss is of; 0 for all.
        layer: the decoder layer, from 0, whose weights' gradient is compared; if not given, the one
            that refusals among the alignment rows rest on most, without such rows the middle one.
        max_length: the longest row in tokens; more of it is not read, as in a training.
    """

    tokens: int = field(default=10, metadata={"range": "[0, inf)"})
    layer: int | None = field(default=None, metadata={"range": "[0, inf)"})
    max_length: int = field(default=512, metadata={"range": "[1, inf)"})


class GradientScreen:
    """Compares the gradient of a row with those of known ones."""

    def __init__(
        self,
        config: GradientScreenConfig,
        model: Any,
        processing_class: PreTrainedTokenizerBase,
        harmful_dataset: Sequence[Row] = (),
        alignment_dataset: Sequence[Row] = (),
    ):
        check_known(harmful_dataset, "the screen 'gradient'", "probe_data")
        check_decision(config, bool(alignment_dataset))
        if is_quantized(model):
            raise UserError(
                "the screen 'gradient' needs gradients of weights, and those of this model are "
                "quantized: load it in full precision."
            )
        self._config, self._model, self._tokenizer = config, model, processing_class
        self.layer = chosen_layer(model, processing_class, config.layer, alignment_dataset)
        model.requires_grad_(False)
        layer = decoder_layers(model)[self.layer]
        self._weights = [one for one in layer.parameters() if one.ndim >= 2]
        for weight in self._weights:
            weight.requires_grad_(True)
        harmful = self._known_tokens(harmful_dataset, "known harmful")
        safe = self._known_tokens(alignment_dataset, "alignment")
        self._harmful, self._safe = self._sum(harmful), self._sum(safe)
        self.known = None
        if config.finds_threshold:
            self.known = Known(
                [self._cosines(row, of_harmful=True) for row in harmful],
                [self._cosines(row, of_safe=True) for row in safe],
            )

    def score(self, rows: Sequence[Row]) -> list[Scored]:
        """One score for each row."""
        tokens = readable(rows, self._tokenizer, self._config.max_length)
        return in_their_places(
            tokens, lambda there: [Scored(self._cosines(row), "by its gradient") for row in there]
        )

    def _known_tokens(self, rows: Sequence[Row], what: str) -> list[Tokens]:
        size = self._config.max_length
        return list(known_tokens(rows, self._tokenizer, size, what).values())

    def _sum(self, tokens: Sequence[Tokens]) -> Tensor | None:
        """The sum of the rows' gradients of length one, [weights]."""
        total: Tensor | None = None
        for row in tokens:
            one = self._direction(row)
            total = one if total is None else total.add_(one)
        return total

    def _cosines(self, row: Tokens, of_harmful: bool = False, of_safe: bool = False) -> float:
        """The row's score; of a row that is among the known ones, as if it were not."""
        g = self._direction(row)
        return _cosine(g, self._harmful, of_harmful) - _cosine(g, self._safe, of_safe)

    def _direction(self, row: Tokens) -> Tensor:
        """The row's gradient with length one, float32 [weights]."""
        labels = list(row["labels"])
        if self._config.tokens:
            answer = [place for place, label in enumerate(labels) if label != IGNORED]
            for place in answer[self._config.tokens :]:
                labels[place] = IGNORED
        device = self._model.device
        with torch.enable_grad(), evaluation_mode(self._model):
            loss = self._model(
                input_ids=torch.tensor([list(row["input_ids"])], device=device),
                attention_mask=torch.tensor([list(row["attention_mask"])], device=device),
                labels=torch.tensor([labels], device=device),
                use_cache=False,
            ).loss
            parts = torch.autograd.grad(loss, self._weights)
        return normalize(torch.cat([part.float().flatten() for part in parts]), dim=0)


def _cosine(g: Tensor, total: Tensor | None, itself: bool) -> float:
    """cos(g, total), or cos(g, total − g) for a g that is one of the sum's; g has length one."""
    if total is None:
        return 0.0
    return float(g @ normalize(total - g if itself else total, dim=0))
