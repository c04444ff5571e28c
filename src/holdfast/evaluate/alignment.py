"""What is left of the alignment inside the model: its loss on alignment rows, and its drift."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.functional import cross_entropy
from transformers import PreTrainedTokenizerBase

from holdfast.data.prompts import Row
from holdfast.data.rows import IGNORED, Tokens, tokenize
from holdfast.errors import UserError
from holdfast.evaluate.batching import longest_first
from holdfast.evaluate.generation import positions
from holdfast.models.blocks import decoder_layers
from holdfast.models.modes import evaluation_mode

if TYPE_CHECKING:
    from holdfast.evaluate.generation import Model

# How many positions' logits are float32 at once: of 128,000 tokens they are 130 MB.
_AT_ONCE = 256


@dataclass(frozen=True)
class AlignmentPass:
    """What one pass over alignment rows found, everything in the order of the rows.

    Args:
        losses: every row's mean negative log-likelihood per answer token, end token included, in
            nats: L_r = −1/|y_r| · Σ_t log p(y_rt | x_r, y_r,<t). The alignment loss is the mean of
            L_r, so that a short refusal counts as much as a long one. Empty if not asked for.
        last: what the last decoder block gives out (before the final norm) on prompt and answer,
            for each row float32 [tokens of the row, hidden], on the CPU. Empty if not asked for.
        blocks: what every decoder block gives out at the position that predicts the first token
            of the answer, the prompt's last: there a model decides how its answer begins. float32
            [rows, blocks, hidden], on the CPU. None if not asked for.
    """

    losses: list[float]
    last: list[torch.Tensor]
    blocks: torch.Tensor | None


def alignment_pass(
    model: Model,
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[Row],
    batch_size: int = 32,
    losses: bool = True,
    states: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> AlignmentPass:
    """Read alignment rows once: loss, and the hidden states that drift is measured by.

    Rows are read the longest first, a batch padded on the right to its own longest, where no
    position is moved and no real token sees the padding; what is padding counts nowhere. Logits
    are made for the labels' positions only. A batch that does not fit in memory is halved, and so
    are all after it. The states of an aligned model can be kept while it is fine-tuned, so that
    drift needs no second model.

    Args:
        model: a causal language model of transformers, bare or wrapped by PEFT.
        tokenizer: its tokenizer.
        rows: prompts with their safe answers.
        batch_size: the most rows at once.
        losses: whether the losses are wanted.
        states: whether the hidden states are.
        progress: called with (rows read, rows in all) after every batch.

    Raises:
        UserError: As `holdfast.data.rows.tokenize`; the row's end is the model's last position; the
            model has no decoder blocks.
        torch.OutOfMemoryError: even one row alone does not fit in memory.
    """
    limit = positions(model)
    tokens = [_unpadded(tokenize(row, tokenizer, limit)) for row in rows]
    reader = _Reader(model, losses, states)
    with torch.no_grad(), evaluation_mode(model), reader.listening():
        found, _ = longest_first(
            [len(row["input_ids"]) for row in tokens],
            lambda batch: reader.read([tokens[i] for i in batch]),
            batch_size,
            progress,
        )
    return AlignmentPass(
        [one.loss for one in found] if losses else [],
        [one.last for one in found] if states else [],
        torch.stack([one.blocks for one in found]) if states else None,
    )


def drift(a: Sequence[torch.Tensor], b: Sequence[torch.Tensor]) -> list[float]:
    """Every row's mean L2 distance between two models' hidden states at the same positions.

    D_r = 1/T_r · Σ_t ‖a_rt − b_rt‖₂, in the unit of the hidden states. The embedding drift is the
    mean of D_r over rows.

    Args:
        a: `AlignmentPass.last` of one model, row by row [T_r, hidden].
        b: that of the other on the same rows.

    Raises:
        UserError: The rows differ in number or in shape.
    """
    if [tuple(row.shape) for row in a] != [tuple(row.shape) for row in b]:
        raise UserError(
            "embedding drift compares the hidden states of two models of one width on the same "
            "rows, and these differ in their number or shapes"
        )
    return [(x - y).norm(dim=1).mean().item() for x, y in zip(a, b, strict=True)]


def drift_by_block(a: torch.Tensor, b: torch.Tensor) -> list[float]:
    """Every block's mean L2 distance between two models' `AlignmentPass.blocks`.

    D_l = 1/N · Σ_r ‖a_rl − b_rl‖₂ over N rows r, in the unit of the hidden states.
    """
    return (a - b).norm(dim=2).mean(0).tolist()


@dataclass(frozen=True)
class _Found:
    """What a row gave: see `AlignmentPass`."""

    loss: float
    last: torch.Tensor
    blocks: torch.Tensor


class _Reader:
    """Reads batches, and takes what is wanted out of the model while it computes."""

    def __init__(self, model: Model, losses: bool, states: bool):
        self.model, self.losses, self.states = model, losses, states
        self.places: tuple[torch.Tensor, ...]  # (row, position) of every label's logits
        self.first: torch.Tensor  # [rows], the position that predicts the answer's first token
        self.last = torch.empty(0)
        self.blocks: list[torch.Tensor] = []

    @contextmanager
    def listening(self) -> Iterator[None]:
        """The hooks are in the model."""
        layers = decoder_layers(self.model) if self.states else []
        self.blocks = [torch.empty(0)] * len(layers)
        handles = [
            layer.register_forward_hook(partial(self._keep, place))
            for place, layer in enumerate(layers)
        ]
        # Any: transformers says Module, and None is what a model without a head of this kind gives.
        head: Any = self.model.get_output_embeddings()
        if head is not None:
            handles.append(head.register_forward_pre_hook(self._only_labels))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def read(self, rows: Sequence[Tokens]) -> list[_Found]:
        """What is wanted of every row of a batch."""
        width = max(len(row["input_ids"]) for row in rows)
        self.last = torch.empty(0)  # of a batch that did not fit

        def padded(column: str, fill: int) -> torch.Tensor:
            lists = [list(row[column]) for row in rows]
            return torch.tensor([row + [fill] * (width - len(row)) for row in lists])

        targets = padded("labels", IGNORED)[:, 1:]
        counted = targets != IGNORED
        self.first = counted.int().argmax(1)
        wanted = counted if self.losses else torch.zeros_like(counted)
        self.places = wanted.nonzero(as_tuple=True)
        logits = self.model(
            input_ids=padded("input_ids", 0).to(self.model.device),
            attention_mask=padded("attention_mask", 0).to(self.model.device),
            use_cache=False,
        ).logits
        losses = self._losses(logits, targets[self.places], counted.sum(1))
        if not self.states:
            return [_Found(loss, torch.empty(0), torch.empty(0)) for loss in losses]
        last, blocks = self.last.float().cpu(), torch.stack(self.blocks, dim=1)
        self.last = torch.empty(0)
        return [
            # A copy, for a view would keep the batch's padding in memory.
            _Found(loss, last[i, : len(row["input_ids"])].clone(), blocks[i])
            for i, (row, loss) in enumerate(zip(rows, losses, strict=True))
        ]

    def _losses(
        self, logits: torch.Tensor, targets: torch.Tensor, counts: torch.Tensor
    ) -> list[float]:
        """Every row's mean loss over its labels; targets are those of all rows, one by one."""
        if not self.losses:
            return [0.0] * len(counts)
        if logits.shape[:2] == (1, len(targets)):
            chosen = logits[0]
        else:  # a model whose head is not the module that it names
            chosen = logits[tuple(one.to(logits.device) for one in self.places)]
        each = torch.cat(
            [
                cross_entropy(some.float(), wanted.to(some.device), reduction="none").cpu()
                for some, wanted in zip(
                    chosen.split(_AT_ONCE), targets.split(_AT_ONCE), strict=True
                )
            ]
        )
        return [float(row.mean()) for row in each.split(counts.tolist())]

    def _keep(
        self, place: int, _module: torch.nn.Module, _args: object, output: torch.Tensor | tuple
    ) -> None:
        states = output if isinstance(output, torch.Tensor) else output[0]
        rows, first = torch.arange(len(states)), self.first
        chosen = states[rows.to(states.device), first.to(states.device)]
        self.blocks[place] = chosen.float().cpu()
        if place == len(self.blocks) - 1:
            self.last = states

    def _only_labels(self, _module: torch.nn.Module, args: tuple) -> tuple | None:
        """Gives the head the states at the labels' positions, [1, labels, hidden], and no others.

        What a model does to its logits after the head is done to each by itself (scaling, a soft
        cap). Where no loss is wanted one position is enough.
        """
        if not args or args[0].dim() != 3:
            return None
        states, *rest = args
        rows, places = (one.to(states.device) for one in self.places)
        chosen = states[rows, places] if self.losses else states[0, :1]
        return (chosen[None], *rest)


def _unpadded(row: Tokens) -> Tokens:
    """The row without the padding that a tokenized row may bring, on whichever side.

    Raises:
        UserError: no label is left that another token precedes.
    """
    kept = [i for i, seen in enumerate(row["attention_mask"]) if seen]
    if len(kept) == len(row["input_ids"]):
        return row
    bare: Tokens = {
        "input_ids": [row["input_ids"][i] for i in kept],
        "attention_mask": [1] * len(kept),
        "labels": [row["labels"][i] for i in kept],
    }
    if all(label == IGNORED for label in bare["labels"][1:]):
        raise UserError(
            "a tokenized row has no label where its attention_mask is 1, so there is no loss"
        )
    return bare
