"""Rows of tokens as a padded batch."""

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from peft import PeftModel
from transformers import PreTrainedTokenizerBase

from holdfast.errors import UserError
from holdfast.models.padding import padding_leaks


class Collator:
    """Pads tokenized rows to the longest of the batch, on the tokenizer's padding side.

    Args:
        tokenizer: gives the padding token and side.
        left: pad on the left; by default on the tokenizer's side.
        position_ids: also give positions that do not count padding on the left; the model must
            accept ``position_ids``.

    Returns (called with a list of rows): ``input_ids``, ``attention_mask``, ``labels`` and perhaps
    ``position_ids``, int64 tensors [rows, tokens]; labels are -100 on padding.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        position_ids: bool = True,
        left: bool | None = None,
    ):
        pad: Any = (
            tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
        )
        if pad is None:
            raise UserError(
                "the tokenizer has neither a padding token nor an end token: set pad_token."
            )
        self.fill = {"input_ids": int(pad), "attention_mask": 0, "labels": -100}
        self.left = tokenizer.padding_side == "left" if left is None else left
        self.position_ids = position_ids and self.left

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Make one batch."""
        length = max(len(row["input_ids"]) for row in rows)
        batch = {
            key: torch.tensor([self._pad(row[key], length, fill) for row in rows])
            for key, fill in self.fill.items()
        }
        if self.position_ids:
            batch["position_ids"] = (batch["attention_mask"].cumsum(-1) - 1).clamp(min=0)
        return batch

    def _pad(self, values: Sequence[int], length: int, fill: int) -> list[int]:
        padding = [fill] * (length - len(values))
        return padding + list(values) if self.left else list(values) + padding


def collator_for(model: Any, tokenizer: Any) -> Collator:
    """The collator for a model and its tokenizer."""
    base = model.get_base_model() if isinstance(model, PeftModel) else model
    accepted = inspect.signature(base.forward).parameters
    # Where the model would read padding as text it stands on the right, where nothing sees it.
    left = tokenizer.padding_side == "left" and not padding_leaks(model)
    return Collator(tokenizer, "position_ids" in accepted, left)
