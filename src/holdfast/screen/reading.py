"""Rows as a model reads them, and what comes out of one of its layers."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from holdfast.data.rows import Tokens, readable
from holdfast.errors import UserError
from holdfast.evaluate.batching import longest_first
from holdfast.models.modes import evaluation_mode
from holdfast.models.outputs import tensor_of
from holdfast.screen.base import Row, Scored

CUT = Scored(None, "does not fit into max_length")


def known_tokens(
    rows: Sequence[Row], tokenizer: PreTrainedTokenizerBase, max_length: int, what: str
) -> dict[int, Tokens]:
    """The known rows that a model can read, by their numbers from 1 among all of them.

    Raises:
        UserError: there is none of which the answer is not cut away.
    """
    read = readable(rows, tokenizer, max_length)
    found = {number: row for number, row in enumerate(read, start=1) if row is not None}
    if rows and not found:
        raise UserError(
            f"the answers of all {what} rows are cut away at max_length={max_length}: raise it."
        )
    return found


class _Enough(Exception):  # noqa: N818  it is no error
    """The layer that was asked for is computed."""


def last_states(model: Any, layer: nn.Module, rows: Sequence[Tokens], batch_size: int) -> Tensor:
    """What a decoder layer gives out at every row's last token, float32 [rows, hidden].

    Rows are padded on the right, where no real token sees the padding. Layers behind this one, and
    the head, are not computed.
    """
    kept: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: Any, output: Any) -> None:
        kept.append(tensor_of(output))
        raise _Enough

    def read(batch: list[int]) -> list[Tensor]:
        kept.clear()
        ids = [list(rows[i]["input_ids"]) for i in batch]
        width = max(map(len, ids))
        inputs = torch.tensor([one + [0] * (width - len(one)) for one in ids])
        mask = torch.tensor([[1] * len(one) + [0] * (width - len(one)) for one in ids])
        with suppress(_Enough):
            model(
                input_ids=inputs.to(model.device),
                attention_mask=mask.to(model.device),
                use_cache=False,
            )
        states = kept.pop()
        last = torch.tensor([len(one) - 1 for one in ids], device=states.device)
        chosen = states[torch.arange(len(ids), device=states.device), last]
        return list(chosen.float().cpu())

    handle = layer.register_forward_hook(keep)
    try:
        with torch.no_grad(), evaluation_mode(model):
            found, _ = longest_first([len(row["input_ids"]) for row in rows], read, batch_size)
    finally:
        handle.remove()
    return torch.stack(found)


def in_their_places(
    tokens: Sequence[Tokens | None], scores: Callable[[list[Tokens]], Sequence[Scored]]
) -> list[Scored]:
    """The scores of the rows that can be read, and `CUT` in the places of the others."""
    there = [row for row in tokens if row is not None]
    found = iter(scores(there) if there else ())
    return [CUT if row is None else next(found) for row in tokens]
