"""Rows that their chat template cannot write, found before a run.

The training finds them too, but after models were loaded, and perhaps after hours of other stages.
A template that raises, leaves out what a row says, or depends on the day does so with every row of
a kind: the first rows of each set are rendered, for which the tokenizer alone is needed. Where it
is not at hand (a model of the Hub), nothing is looked at.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from holdfast.attacks import ATTACKS
from holdfast.data.keys import fingerprint
from holdfast.data.rendering import prompt_text
from holdfast.data.rows import tokenize
from holdfast.data.system_prompt import with_system
from holdfast.errors import UserError
from holdfast.models.attacked import read_attack
from holdfast.models.stack import Stack
from holdfast.models.system_prompt import check_place, read_system_prompt
from holdfast.registry import plan_of
from holdfast.settings import at
from holdfast.stages.lengths import is_at_hand, tokenizer_of
from holdfast.stages.pipeline import Stage

Rows = Sequence[Mapping[str, Any]]

_FIRST = 8
_LONG = 2**31  # what is cut away is `holdfast.stages.lengths`'s to tell
_KNOWN: dict[tuple[Any, ...], str | None] = {}


def check_rendering(
    kind: str,
    settings: Mapping[str, Any],
    sets: Mapping[str, Rows],
    stack: Stack,
    template: str | None,
    where: str,
    system: str | None = None,
) -> None:
    """Check that the first rows of each set can be rendered as the stage will render them.

    Args:
        kind: the stage's kind.
        settings: its resolved settings.
        sets: its rows by the setting that names them.
        stack: its model.
        template: how rows become prompts: the stage's own setting, or what it inherits.
        where: where the settings are from, for messages.
        system: what the model must be asked with.

    Raises:
        UserError: one cannot; with the setting, the row's number from 1, and what is wrong.
    """
    if not is_at_hand(stack):
        return
    for key, rows in sets.items():
        first = [row for row in rows[:_FIRST] if "input_ids" not in row]
        if not first:
            continue
        asked_only = kind == "evaluate" and key != "alignment_data"
        train_on = None if asked_only else settings.get("train_on", "all")
        known = (stack, stack.tokenizer, template, train_on, system, fingerprint(first))
        if known not in _KNOWN:
            try:
                tokenizer = tokenizer_of(stack, template)
            except UserError as error:
                place = at(where, "template" if template else "model")
                raise UserError(f"{place}: {error}") from None
            _KNOWN[known] = _first_wrong(first, tokenizer, train_on, system)
        if _KNOWN[known]:
            raise UserError(f"{at(where, key)}: {key}, {_KNOWN[known]}")


def used(kind: str, settings: Mapping[str, Any], files: Mapping[str, Rows]) -> dict[str, Rows]:
    """Of the rows in a stage's files those that it may come to, as far as a plan knows."""
    counts = {"harmful_data": "harmful_rows", "alignment_data": "alignment_rows"}
    counts["probe_data"] = "probe_rows"
    if kind == "evaluate":
        counts = dict.fromkeys(files, "limit")
    unmixed = kind == "finetune" and not settings["harmful_ratio"]
    unmixed = unmixed and ATTACKS[settings["attack"]].mixes
    return {
        key: rows[: settings.get(counts.get(key, "rows"))]
        for key, rows in files.items()
        if not (unmixed and key == "harmful_data")
    }


def prompt_asked(
    kind: str, settings: Mapping[str, Any], parent: Stage | None, stack: Stack, by_name: bool
) -> str | None:
    """The system prompt that a stage's model must be asked with, as far as its plan knows."""
    if kind == "evaluate" and settings["system_prompt"] is not None:
        return settings["system_prompt"]
    own = None if kind == "evaluate" else plan_of(kind, settings["method"]).asked_with(settings)
    while own is None and parent is not None:
        own = plan_of(parent.kind, parent.settings["method"]).asked_with(parent.settings)
        parent = parent.parent
    if own is None and not by_name and (below := read_system_prompt(stack)):
        own = below.text
    return own


def attack_below(parent: Stage | None, stack: Stack, by_name: bool) -> str | None:
    """The attack of the last fine-tuning that an evaluation's model comes from; None for none."""
    tuned = [stage for stage in (parent.lineage() if parent else []) if stage.kind == "finetune"]
    if tuned:
        return tuned[-1].settings["attack"]
    return None if by_name else read_attack(stack)


def check_asked(
    kind: str, system: str | None, stack: Stack, template: str | None, where: str
) -> None:
    """Check that a model's template has a place for the system prompt that it must be asked with.

    Args:
        kind: the kind of the stage that leaves, repairs or measures it.
        system: the system prompt, None for none.
        stack: the model.
        template: how rows become prompts, as above.
        where: where the settings are from, for messages.

    Raises:
        UserError: it has none.
    """
    if not system or not is_at_hand(stack):
        return
    what = "system_prompt" if kind == "evaluate" else "method" if kind == "finetune" else "model"
    try:
        check_place(tokenizer_of(stack, template), system, f"the {kind} stage")
    except UserError as error:
        raise UserError(f"{at(where, what)}: {error}") from None


def _first_wrong(rows: Rows, tokenizer: Any, train_on: Any, system: str | None) -> str | None:
    """What is wrong with the first row that cannot be rendered, if any cannot."""
    for number, given in enumerate(rows, start=1):
        try:
            row = with_system(given, system)
            if train_on is None:
                prompt_text(row, tokenizer)
            else:
                tokenize(row, tokenizer, _LONG, train_on)
        except UserError as error:
            return f"row {number}: {error}"
    return None
