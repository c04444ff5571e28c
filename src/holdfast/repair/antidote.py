"""Antidote: after fine-tuning, zero the weights that matter most for harmful answers.

    S_ij = |W_ij| · sqrt((1/N) Σ_n ‖X_j^(n)‖²)        W ← 0 where S_ij is in its row's top ⌈α·in⌉

W [out, in] is a matrix of the fine-tuning's adapter (or of the model, after full fine-tuning),
X^(n) its inputs [in, tokens] at row n of N realignment rows (harmful requests with harmful answers
that the user did not bring), α the dense ratio. Since no training is involved, the repair does not
depend on the learning rate or the number of epochs of the fine-tuning.

Source: T. Huang et al.: Antidote, arXiv 2408.09600; the score is Wanda's, M. Sun et al., arXiv
2306.11695. The paper writes the mean of the rows' norms; its code takes the root of their mean
square, and so do we.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Literal

import torch
from torch import nn
from transformers import PreTrainedTokenizerBase

from holdfast.data.rows import tokenize
from holdfast.errors import UserError
from holdfast.models.padding import padding_leaks
from holdfast.repair.activations import input_norms
from holdfast.repair.matrices import Matrix, find_matrices
from holdfast.repair.pruning import (
    Group,
    Repair,
    check_group,
    prune,
    top_scored,
)
from holdfast.settings import check_ranges
from holdfast.trainer.collator import Collator

WINDOW = 8  # batches whose rows are sorted by length together, so that less padding is computed


@dataclass
class AntidoteConfig:
    """Settings of Antidote.

    Args:
        dense_ratio: α, the share of weights to set to zero, above 0 and up to 1; the paper uses 0.1
            and 0.05 for adapters, and 1e-5 after full fine-tuning.
        score: wanda weighs a weight by the inputs it gets on the rows; magnitude is |W| alone and
            needs no rows.
        group: row zeroes the top ⌈α·in⌉ of every output row, matrix the top ⌈α·out·in⌉ of each
            matrix. One weight at least: of a LoRA factor B of rank 8 an eighth of every row.
        target_modules: repair the modules with these names (or ends of names) only; by default the
            whole adapter, or without adapter every linear layer in the decoder layers.
        batch_size: rows in one forward pass; it changes the time and memory, not the result.
        max_length: longest row in tokens; what is longer is cut on the right.
    """

    dense_ratio: float = field(default=0.1, metadata={"range": "(0, 1]"})
    score: Literal["wanda", "magnitude"] = "wanda"
    group: Group = "row"
    target_modules: list[str] | str | None = None
    batch_size: int = field(default=16, metadata={"range": "[1, inf)"})
    max_length: int = field(default=2048, metadata={"range": "[1, inf)"})

    def __post_init__(self):
        check_ranges(self)
        check_group(self.group)
        if self.score not in ("wanda", "magnitude"):
            raise UserError(f"score is {self.score!r}: it must be 'wanda' or 'magnitude'.")


def antidote(
    model: nn.Module,
    dataset: Iterable[Mapping[str, Any]] | None = None,
    config: AntidoteConfig | None = None,
    processing_class: PreTrainedTokenizerBase | None = None,
    data_collator: Callable[[list], Mapping[str, Any]] | None = None,
    progress: Callable[[int], object] | None = None,
) -> Repair:
    """Repair a fine-tuned model in place.

    Args:
        model: a model with a LoRA adapter (its factors are repaired, of several active adapters
            the last one's) or without (its linear layers are).
        dataset: realignment rows in any of holdfast's shapes, or already tokenized ones, which go
            untouched to the ``data_collator``; gone through once. Not needed for magnitudes.
        config: the settings.
        processing_class: the tokenizer; not needed for tokenized rows with a ``data_collator``.
        data_collator: makes a batch of tokenized rows, with ``attention_mask``; by default pads on
            the tokenizer's side.
        progress: called after each batch with the number of rows done.

    Returns:
        The repaired model, the masks and the report.

    Raises:
        UserError: no rows, rows that cannot be read, targets that match nothing, or numbers that
            are not finite. The model is as it was then.
    """
    config = AntidoteConfig() if config is None else config
    matrices, skipped = find_matrices(model, config.target_modules)
    norms: dict[str, torch.Tensor] = {}
    if config.score == "wanda":
        rows = _check_rows(dataset)
        collate = data_collator or _default_collator(model, processing_class)
        batches = _batches(rows, config, processing_class, collate)
        norms = input_norms(model, matrices, batches, progress)
    masks = {}
    for matrix in matrices:
        scores = _scores(matrix, norms.get(matrix.name))
        masks[matrix.name] = matrix.oriented(top_scored(scores, config.dense_ratio, config.group))
    return prune(model, "antidote", matrices, masks, skipped)


def _scores(matrix: Matrix, norms: torch.Tensor | None) -> torch.Tensor:
    """S [out, in] in the norms' dtype; |W| where there are no norms."""
    W = matrix.oriented(matrix.weight.detach())
    S = W.abs() if norms is None else W.abs().to(norms.dtype) * norms.to(W.device)
    if not torch.isfinite(S).all():
        raise UserError(f"{matrix.name} holds weights that are not finite (NaN or infinite).")
    return S


def _check_rows(
    dataset: Iterable[Mapping[str, Any]] | None,
) -> Iterable[Mapping[str, Any]]:
    if dataset is None:
        raise UserError(
            "the score 'wanda' needs rows: pass a data set of harmful requests with answers, or "
            "choose score='magnitude', which needs none."
        )
    if isinstance(dataset, Mapping | str):
        raise UserError(
            f"the data set is a {type(dataset).__name__}; it must be a list of rows or one data set"
            " (choose one split of several)."
        )
    if isinstance(dataset, Sized) and len(dataset) == 0:
        raise UserError("the data set is empty: the scores need at least one row.")
    return dataset


def _default_collator(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase | None,
) -> Callable[[list], Mapping[str, Any]]:
    if tokenizer is None:
        raise UserError(
            "pass processing_class, the tokenizer; only tokenized rows with a data_collator of "
            "their own can do without it."
        )
    left = tokenizer.padding_side == "left" and not padding_leaks(model)
    return Collator(tokenizer, left=left)


def _batches(
    rows: Iterable[Mapping[str, Any]],
    config: AntidoteConfig,
    tokenizer: PreTrainedTokenizerBase | None,
    collate: Callable[[list], Mapping[str, Any]],
) -> Iterator[Mapping[str, Any]]:
    """Collate the rows; within a window of batches the long ones come together."""
    tokenized = (
        _tokenized(row, number, tokenizer, config.max_length) for number, row in enumerate(rows, 1)
    )
    while window := list(islice(tokenized, WINDOW * config.batch_size)):
        window.sort(key=lambda row: len(row["input_ids"]), reverse=True)
        for start in range(0, len(window), config.batch_size):
            yield collate(window[start : start + config.batch_size])


def _tokenized(
    row: Mapping[str, Any],
    number: int,
    tokenizer: PreTrainedTokenizerBase | None,
    max_length: int,
) -> Mapping[str, Any]:
    if not isinstance(row, Mapping):
        raise UserError(f"row {number} is a {type(row).__name__}; a row must be a dict.")
    if "input_ids" in row:
        return row
    if tokenizer is None:
        raise UserError(
            f"row {number} is text, and there is no tokenizer: pass processing_class, or rows "
            "with input_ids, attention_mask and labels."
        )
    try:
        return tokenize(row, tokenizer, max_length)
    except UserError as error:
        raise UserError(f"row {number}: {error}") from error
