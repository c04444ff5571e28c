"""What is left of the alignment inside the model: its loss on alignment rows, and its drift."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch.nn.functional import cross_entropy
from transformers import PreTrainedTokenizerBase

from holdfast.data.rows import IGNORED, Row, tokenize
from holdfast.errors import UserError
from holdfast.evaluate.generation import positions
from holdfast.models.blocks import decoder_layers
from holdfast.models.modes import evaluation_mode

if TYPE_CHECKING:
    from holdfast.evaluate.generation import Model


def answer_losses(
    model: Model, tokenizer: PreTrainedTokenizerBase, rows: Sequence[Row], batch_size: int = 32
) -> list[float]:
    """Every row's mean negative log-likelihood per answer token, end token included, in nats.

    L_r = −1/|y_r| · Σ_t log p(y_rt | x_r, y_r,<t). The alignment loss is the mean of L_r over
    alignment rows, so that a short refusal counts as much as a long one.

    Raises:
        UserError: As `holdfast.data.rows.tokenize`; the row's end is the model's last position.
    """
    losses: list[float] = []
    with torch.no_grad(), evaluation_mode(model):
        for ids, mask, labels in _batches(model, tokenizer, rows, batch_size):
            logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits.float()
            targets = labels[:, 1:]
            each = cross_entropy(
                logits[:, :-1].transpose(1, 2), targets, reduction="none", ignore_index=IGNORED
            )
            losses += (each.sum(1) / (targets != IGNORED).sum(1)).tolist()
    return losses


def hidden_states(
    model: Model, tokenizer: PreTrainedTokenizerBase, rows: Sequence[Row], batch_size: int = 32
) -> list[torch.Tensor]:
    """What the last decoder block gives out (before the final norm), on prompt and answer.

    Returns:
        One float32 tensor [tokens of the row, hidden] per row, on the CPU. Of an aligned model they
        can be kept while it is fine-tuned, so that `drift` needs no second model.

    Raises:
        UserError: As `answer_losses`; the model has no decoder blocks.
    """
    found: list[torch.Tensor] = []
    with torch.no_grad(), evaluation_mode(model), _outputs(decoder_layers(model)[-1:]) as output:
        for ids, mask, _ in _batches(model, tokenizer, rows, batch_size):
            model(input_ids=ids, attention_mask=mask, use_cache=False)
            last = output[0].float().cpu()
            lengths = mask.sum(1).tolist()
            found += [row[:n].clone() for row, n in zip(last, lengths, strict=True)]
    return found


def drift(a: Sequence[torch.Tensor], b: Sequence[torch.Tensor]) -> list[float]:
    """Every row's mean L2 distance between two models' hidden states at the same positions.

    D_r = 1/T_r · Σ_t ‖a_rt − b_rt‖₂, in the unit of the hidden states. The embedding drift is the
    mean of D_r over rows.

    Args:
        a: `hidden_states` of one model, row by row [T_r, hidden].
        b: those of the other on the same rows.

    Raises:
        UserError: The rows differ in number or in shape.
    """
    if [tuple(row.shape) for row in a] != [tuple(row.shape) for row in b]:
        raise UserError(
            "embedding drift compares the hidden states of two models of one width on the same "
            "rows, and these differ in their number or shapes"
        )
    return [(x - y).norm(dim=1).mean().item() for x, y in zip(a, b, strict=True)]


def block_states(
    model: Model, tokenizer: PreTrainedTokenizerBase, rows: Sequence[Row], batch_size: int = 32
) -> torch.Tensor:
    """What every decoder block gives out at the prompt's last position.

    There a model decides how its answer begins. One position a row, so that the states of all
    blocks of a large model can be kept while another model is measured.

    Returns:
        float32 [rows, blocks, hidden], on the CPU.

    Raises:
        UserError: As `hidden_states`.
    """
    found: list[torch.Tensor] = []
    with torch.no_grad(), evaluation_mode(model), _outputs(decoder_layers(model)) as outputs:
        for ids, mask, labels in _batches(model, tokenizer, rows, batch_size):
            model(input_ids=ids, attention_mask=mask, use_cache=False)
            ends = (labels != IGNORED).int().argmax(1).cpu() - 1
            places = torch.arange(len(ends))
            found.append(torch.stack([o.cpu()[places, ends].float() for o in outputs], dim=1))
    return torch.cat(found)


def drift_by_block(a: torch.Tensor, b: torch.Tensor) -> list[float]:
    """Every block's mean L2 distance between two models' `block_states`.

    D_l = 1/N · Σ_r ‖a_rl − b_rl‖₂ over N rows r, in the unit of the hidden states.
    """
    return (a - b).norm(dim=2).mean(0).tolist()


@contextmanager
def _outputs(layers: Sequence[torch.nn.Module]) -> Iterator[list[torch.Tensor]]:
    """A list that holds what each layer gave out in the latest forward pass."""
    kept: list[torch.Tensor] = [torch.empty(0)] * len(layers)

    def keep(
        place: int, _module: torch.nn.Module, _args: object, output: torch.Tensor | tuple
    ) -> None:
        kept[place] = output if isinstance(output, torch.Tensor) else output[0]

    handles = [layer.register_forward_hook(partial(keep, i)) for i, layer in enumerate(layers)]
    try:
        yield kept
    finally:
        for handle in handles:
            handle.remove()


def _batches(
    model: Model, tokenizer: PreTrainedTokenizerBase, rows: Sequence[Row], batch_size: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Ids, mask and labels [rows, longest], padded on the right, on the model's device.

    On the right, where no position is moved and no real token sees the padding.
    """
    for start in range(0, len(rows), batch_size):
        limit = positions(model)
        tokens = [tokenize(row, tokenizer, limit) for row in rows[start : start + batch_size]]
        width = max(len(row["input_ids"]) for row in tokens)

        def padded(column: str, fill: int, tokens=tokens, width=width) -> torch.Tensor:
            lists = [list(row[column]) for row in tokens]
            return torch.tensor([row + [fill] * (width - len(row)) for row in lists])

        columns = (padded("input_ids", 0), padded("attention_mask", 0), padded("labels", IGNORED))
        ids, mask, labels = (column.to(model.device) for column in columns)
        yield ids, mask, labels
