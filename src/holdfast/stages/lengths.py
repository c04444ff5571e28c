"""Rows whose answer would be cut away whole by `max_length`, found before a run.

The training finds them too, but after models were loaded, and perhaps after hours of other stages.
Here the tokenizer alone is needed: where it is not at hand (a model of the Hub that was not
downloaded yet), nothing is looked at, nor for rows that are short anyway.
"""

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from holdfast.data.chat_templates import TrainOn
from holdfast.data.keys import fingerprint
from holdfast.data.rows import AnswerCutError, tokenize
from holdfast.errors import UserError
from holdfast.models import hub
from holdfast.models.stack import Stack
from holdfast.settings import at

Rows = Sequence[Mapping[str, Any]]

# Bytes that a template writes around a row at most; where one writes more, the run still tells.
_AROUND = 300
# The settings that name the sets of rows.
_NAMES = {
    "train": "data",
    "probe": "harmful_data",
    "paired": "harmful_data",
    "alignment": "alignment_data",
    "anchors": "harmful_data",
}
_KNOWN: dict[tuple[Any, ...], tuple[int, str] | None] = {}


def setting_of(role: str, settings: Mapping[str, Any]) -> str:
    """The setting that names the rows of a role; the user's harmful rows are no probes."""
    return "probe_data" if role == "probe" and "probe_data" in settings else _NAMES[role]


def check_lengths(
    settings: Mapping[str, Any],
    sets: Mapping[str, Rows],
    stack: Stack,
    template: str | None,
    where: str,
) -> None:
    """Check that something is left of every answer within ``max_length``.

    Args:
        settings: a stage's resolved settings.
        sets: its rows by their role.
        stack: its model, whose tokenizer counts.
        template: how rows become prompts: the stage's own setting, or what it inherits.
        where: where the settings are from, for messages.

    Raises:
        UserError: a row's answer is cut away whole; with the row's number from 1.
    """
    longest = settings.get("max_length")
    if longest is None or settings.get("too_long") == "drop" or not is_at_hand(stack):
        return
    for role, rows in sets.items():
        long = [n for n, row in enumerate(rows) if _bytes(row) + _AROUND >= longest]
        if not long:
            continue
        train_on = settings.get("train_on", "all")
        key = (stack, stack.tokenizer, template, longest, train_on, fingerprint(rows))
        if key not in _KNOWN:
            chosen = [rows[n] for n in long]
            _KNOWN[key] = _first_cut(stack, template, longest, train_on, chosen, long)
        found = _KNOWN[key]
        if found:
            row, why = found
            mixed = "adapter" in settings and settings.get("harmful_ratio")  # no repair's
            drawn = mixed or settings.get("sampling") == "random"
            name = setting_of(role, settings)
            which = f"{name}, row {row}{' of those that are drawn' if drawn else ''}"
            raise UserError(f"{at(where, 'max_length')}: {which}: {why}")


def _first_cut(
    stack: Stack,
    template: str | None,
    longest: int,
    train_on: TrainOn,
    rows: Rows,
    numbers: Sequence[int],
) -> tuple[int, str] | None:
    """The first row whose answer is cut away whole, by its number from 1, and what to say of it."""
    tokenizer = tokenizer_of(stack, template)
    for number, row in zip(numbers, rows, strict=True):
        try:
            tokenize(row, tokenizer, longest, train_on)
        except AnswerCutError as error:
            return number + 1, str(error)
    return None


def tokenizer_of(stack: Stack, template: str | None) -> Any:
    """A model's tokenizer with its chat template, read once."""
    return _tokenizer(stack, stack.tokenizer, template)


@lru_cache(maxsize=4)
def _tokenizer(stack: Stack, place: Any, template: str | None) -> Any:
    del place  # two stacks that differ in it alone are equal
    from holdfast.models.tokenizers import load_tokenizer

    return load_tokenizer(stack, template)


def is_at_hand(stack: Stack) -> bool:
    """Whether the tokenizer can be read without a download."""
    if stack.tokenizer is not None:
        return True
    if stack.revision is None:  # in a plan a model of the Hub is a name alone
        return stack.base_folder() is not None
    return hub.is_downloaded(stack.base, stack.revision, "tokenizer_config.json")


def _bytes(row: Mapping[str, Any]) -> int:
    """No fewer than the row's tokens, of which each is a byte or more."""
    if "input_ids" in row:
        return -_AROUND
    return len(json.dumps(row, ensure_ascii=False, default=str).encode("utf-8", "surrogatepass"))
