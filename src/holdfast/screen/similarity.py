"""Similarity: a row is flagged that the aligned model itself sees as like known harmful rows.

    score(x) = mean of the k largest cos(r_x, r_h) over known harmful rows h
             − mean of the k largest cos(r_x, r_s) over known safe rows s      (0 without any)

r_x [hidden] is what one decoder layer gives out at the row's last token, prompt and answer read
together. It is the score of LARF (arXiv 2507.18631), and of the representation matching with
bi-directional anchors of He et al. 2024 (arXiv 2404.01099): near harmful rows and far from safe
ones. LARF pairs as many safe rows with the harmful ones and takes k = 100 of 100; the layer is
found as it is there but for what `holdfast.screen.layers` says.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize
from transformers import PreTrainedTokenizerBase

from holdfast.data.rows import Tokens, readable
from holdfast.models.blocks import decoder_layers
from holdfast.screen.base import Known, Row, Scored, ScreenConfig, check_known
from holdfast.screen.decide import check_decision
from holdfast.screen.layers import chosen_layer
from holdfast.screen.reading import in_their_places, known_tokens, last_states


@dataclass
class SimilarityScreenConfig(ScreenConfig):
    """Settings of the screen ``similarity``.

    Args:
        nearest: with how many of the nearest known rows a row is compared.
        layer: the decoder layer, from 0, whose output is compared; if not given, the one that
            refusals among the alignment rows rest on most, without such rows the middle one.
        max_length: the longest row in tokens; more of it is not read, as in a training.
        batch_size: rows in a forward pass.
    """

    nearest: int = field(default=10, metadata={"range": "[1, inf)"})
    layer: int | None = field(default=None, metadata={"range": "[0, inf)"})
    max_length: int = field(default=512, metadata={"range": "[1, inf)"})
    batch_size: int = field(default=32, metadata={"range": "[1, inf)"})


class SimilarityScreen:
    """Compares what a layer makes of a row with what it makes of known ones."""

    def __init__(
        self,
        config: SimilarityScreenConfig,
        model: Any,
        processing_class: PreTrainedTokenizerBase,
        harmful_dataset: Sequence[Row] = (),
        alignment_dataset: Sequence[Row] = (),
    ):
        check_known(harmful_dataset, "the screen 'similarity'", "probe_data")
        check_decision(config, bool(alignment_dataset))
        self._config, self._model, self._tokenizer = config, model, processing_class
        self.layer = chosen_layer(model, processing_class, config.layer, alignment_dataset)
        self._numbers, self._harmful = self._known_states(harmful_dataset, "known harmful")
        _, self._safe = self._known_states(alignment_dataset, "alignment")
        self.known = self._known() if config.finds_threshold else None

    def score(self, rows: Sequence[Row]) -> list[Scored]:
        """One score for each row."""
        tokens = readable(rows, self._tokenizer, self._config.max_length)
        return in_their_places(tokens, self._scored)

    def _scored(self, tokens: list[Tokens]) -> list[Scored]:
        states = self._states(tokens)
        scores = self._nearest(states, self._harmful) - self._nearest(states, self._safe)
        closest = (states @ self._harmful.T).argmax(1).tolist()
        return [
            Scored(
                score,
                "compared with known harmful rows",
                f"row {self._numbers[place]} is the nearest",
            )
            for score, place in zip(scores.tolist(), closest, strict=True)
        ]

    def _states(self, tokens: Sequence[Tokens]) -> Tensor:
        layer = decoder_layers(self._model)[self.layer]
        states = last_states(self._model, layer, tokens, self._config.batch_size)
        return normalize(states, dim=1)

    def _known_states(self, rows: Sequence[Row], what: str) -> tuple[list[int], Tensor]:
        """The numbers, from 1, of the known rows that can be read, and their states."""
        tokens = known_tokens(rows, self._tokenizer, self._config.max_length, what)
        states = self._states([*tokens.values()]) if tokens else torch.empty(0, 0)
        return [*tokens], states

    def _nearest(self, states: Tensor, known: Tensor, itself: bool = False) -> Tensor:
        """Each row's mean cosine with the nearest known ones, [rows]; `itself`: it is one of them.

        Cosines are float32, [rows, known].
        """
        if not len(known):
            return torch.zeros(len(states))
        cosines = states @ known.T
        if itself:
            cosines.fill_diagonal_(-torch.inf)
        others = max(len(known) - itself, 1)
        return cosines.topk(min(self._config.nearest, others), dim=1).values.mean(1)

    def _known(self) -> Known:
        """The known rows' own scores, each compared with the others alone."""
        harmful, safe = self._harmful, self._safe
        return Known(
            (self._nearest(harmful, harmful, True) - self._nearest(harmful, safe)).tolist(),
            (self._nearest(safe, harmful) - self._nearest(safe, safe, True)).tolist(),
        )
