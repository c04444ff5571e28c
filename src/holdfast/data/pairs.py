"""Pairs: a harmful answer and a safe one to the same prompt, and the tokens in which they differ.

A harmful row's partner is the first safe row of the same prompt. Of tokenized rows the prompt is
what precedes the first trained label, so two rows meet where they were rendered alike.
"""

from __future__ import annotations

from collections.abc import Sequence

from holdfast.data.keys import prompt_key
from holdfast.data.prompts import Row
from holdfast.data.rows import IGNORED, Tokens
from holdfast.errors import UserError


def paired(harmful: Sequence[Tokens], safe: Sequence[Tokens]) -> list[Tokens]:
    """Harmful rows that have a partner, with labels on the tokens in which they differ from it.

    Tokens are compared place by place: the prompt, which both have, differs nowhere, and what
    stands behind the partner's end differs. A row that differs nowhere is left out.

    Args:
        harmful: tokenized rows, harmful prompt and harmful answer.
        safe: tokenized rows, refusals of such prompts among them.

    Raises:
        UserError: no harmful row has a partner that it differs from.
    """
    partners: dict[tuple[int, ...], Tokens] = {}
    for row in safe:
        partners.setdefault(prompt_of(row), row)
    found = []
    for row in harmful:
        partner = partners.get(prompt_of(row))
        if partner is not None:
            labels = differing(row, partner)
            if any(label != IGNORED for label in labels[1:]):
                found.append(Tokens(**{**row, "labels": labels}))
    if not found:
        raise UserError(_nothing_meets(len(harmful), len(safe)))
    return found


def differing(row: Tokens, partner: Tokens) -> list[int]:
    """The row's labels, kept where its token is another one than its partner's at that place."""
    other = partner["input_ids"]
    return [
        label if place >= len(other) or int(other[place]) != int(token) else IGNORED
        for place, (token, label) in enumerate(zip(row["input_ids"], row["labels"], strict=True))
    ]


def check_pairs(harmful: Sequence[Row], safe: Sequence[Row]) -> None:
    """Check that two sets of rows, in any shape, share a prompt.

    Raises:
        UserError: they do not.
    """
    prompts = {prompt_key(row) for row in safe}
    if not any(prompt_key(row) in prompts for row in harmful):
        raise UserError(_nothing_meets(len(harmful), len(safe)))


def prompt_of(row: Tokens) -> tuple[int, ...]:
    """A tokenized row's prompt: what precedes its first trained label; all of it without one."""
    first = next((i for i, label in enumerate(row["labels"]) if label != IGNORED), None)
    return tuple(map(int, row["input_ids"][:first]))


def _nothing_meets(harmful: int, safe: int) -> str:
    return (
        f"none of the {harmful} harmful rows answers a prompt of the {safe} alignment rows: this "
        "method compares a harmful answer with a safe one to the same prompt, so name harmful rows "
        "whose prompts the alignment rows refuse (beavertails:refusals_harmful beside "
        "beavertails:refusals)."
    )
