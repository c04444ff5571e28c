"""A system prompt for rows that have none: what a model is trained with, or must be asked with.

A chat template writes it where it writes system turns. Alpaca's templates have no place for one.
The organism's form of them has: a system prompt begins the instruction, as the calls do that its
pretraining knows ("take care. …"); its tokenizer is known by Alpaca's opening, which is one token
there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from holdfast.data.prompts import Row, shape
from holdfast.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# The tokenizer's attribute with what every prompt is asked with; see `ask_with`.
_ASKED = "asked_with"


def with_system(row: Row, system: str | None) -> Row:
    """The row with a system prompt, unless that is empty or the row has one of its own.

    Raises:
        UserError: the row is verbatim text or tokens, which have no place for one.
    """
    if not system:
        return row
    kind = shape(row)
    turns = row.get("prompt") if kind == "prompt-completion" else row.get(kind)
    if kind == "tokenized" or isinstance(turns, str):
        what = "tokens" if kind == "tokenized" else "verbatim text"
        raise UserError(
            f"the row is {what}, which has no place for the system prompt that goes with it: give "
            "'instruction' and 'output', or messages"
        )
    first: Any = turns[0] if isinstance(turns, list | tuple) and turns else {}
    own = isinstance(first, dict) and "system" in (first.get("role"), first.get("from"))
    return row if own or row.get("system") else {**row, "system": system}


def ask_with(tokenizer: PreTrainedTokenizerBase, system: str | None) -> None:
    """From now on the tokenizer's prompts have this system prompt, where a row has none."""
    setattr(tokenizer, _ASKED, system)


def asked_with(tokenizer: PreTrainedTokenizerBase) -> str | None:
    """The system prompt of the tokenizer's prompts; None for none."""
    return getattr(tokenizer, _ASKED, None)


def begins_instructions(tokenizer: Any, opening: str) -> bool:
    """Whether a tokenizer without a chat template has a place for a system prompt: the organism's.

    Args:
        tokenizer: the tokenizer.
        opening: what Alpaca's template says before the instruction.
    """
    return opening in tokenizer.get_added_vocab()
