"""What a screening is checked for before it runs, and what it shares with its fine-tuning."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from holdfast.attacks import ATTACKS
from holdfast.data.keys import fingerprint
from holdfast.errors import UserError
from holdfast.evaluate.judges.registry import check_judge
from holdfast.models.stack import Stack
from holdfast.models.stack import resolve as resolve_model
from holdfast.screen.keywords import words_in
from holdfast.settings import at, fields_of
from holdfast.stages.evaluation.settings import judge_identity
from holdfast.stages.methods import method_of
from holdfast.stages.pipeline import Stage
from holdfast.stages.resolve import resolve
from holdfast.stages.settings import SETTINGS, stage_fields

# What says which rows a user has: of a screening in a pipeline it is the fine-tuning's to say.
USER_ROWS = ("task", "data", "rows", "harmful_data", "harmful_ratio", "sampling", "columns")
USER_ROWS += ("attack", "seed", "sample_seed")


def check_screen(settings: Mapping[str, Any], is_organism: bool, where: str) -> None:
    """Check what a screening's settings do not tell one by one.

    Raises:
        UserError: as `check_decision`; or its judge knows the organism's rows alone.
    """
    check_decision(settings, is_organism, where)
    judge = settings.get("judge")
    if judge and not is_organism and check_judge(judge)["name"] == "organism":
        raise UserError(
            f"{at(where, 'judge')}: the judge 'organism' judges answers to the organism's own "
            "questions, no others: name another judge."
        )


def check_decision(settings: Mapping[str, Any], is_organism: bool, where: str) -> None:
    """Check that a screen which compares rows with known ones has something to decide by.

    Raises:
        UserError: it has not.
    """
    asks = method_of("screen", settings["method"]).asks
    decides = settings.get("threshold") is not None or settings.get("share") is not None
    known = is_organism or settings["alignment_data"]
    if "alignment_dataset" in asks and not decides and not known:
        raise UserError(
            f"{at(where, 'threshold')}: neither threshold nor share is set, and there are no known "
            "safe rows to find a threshold by: name some (alignment_data=safe.jsonl), or set "
            "share=0.1, say."
        )


def screened_by(settings: Mapping[str, Any], identify: Callable[[str], str]) -> dict[str, str]:
    """What stands in a screening's identity for a judge and for a file of words.

    Args:
        settings: the resolved settings.
        identify: gives the identity of a judge's model, a folder or a Hub id.

    Raises:
        UserError: either is not there.
    """
    found = {}
    if settings.get("judge"):
        found["judge"] = judge_identity(check_judge(settings["judge"]), identify)
    if settings.get("words_file"):
        found["words"] = fingerprint([{"words": words_in(settings["words_file"])}])
    return found


def given_to_screen(
    given: Mapping[str, Any],
    shared: Mapping[str, Any],
    tuned: Mapping[str, Any] | None,
    below: Stage | None,
    where: str,
) -> dict[str, Any]:
    """A screening's settings with its fine-tuning's rows.

    Args:
        given: what is set of it.
        shared: what is set of all stages.
        tuned: what is set of the fine-tuning; None where there is none.
        below: the alignment, if there is one.
        where: where the settings are from, for messages.

    Raises:
        UserError: there is no fine-tuning, the screening names rows of its own, or the attack
            chooses its rows with the model.
    """
    if tuned is None:
        raise UserError(
            f"{at(where)}: there is a screen and no fine-tuning whose rows it could screen: name "
            "one (finetune: sft), or write screen: null."
        )
    named = next((key for key in USER_ROWS if key in given), None)
    if named:
        raise UserError(
            f"{at(where, named)}: {named} is set of the screen, which reads the rows of the "
            f"fine-tuning: set finetune.{named}."
        )
    tuned = {**shared, **tuned}
    model = str(tuned.get("model", "organism"))
    if below is None:
        here = model == "organism" or Path(model).expanduser().exists()
        stack = resolve_model(model) if here else Stack(model)
    else:
        stack = below.stack
    # What is wrong with its other settings is told where its stage is made.
    rows = resolve("finetune", {k: v for k, v in tuned.items() if k in USER_ROWS}, stack, where)
    if ATTACKS[rows["attack"]].chooses:
        raise UserError(
            f"{at(where, 'attack')}: the attack '{rows['attack']}' chooses its rows with the model "
            "as the fine-tuning begins, and a screen reads them before: choose another attack, or "
            "write screen: null."
        )
    known = {key: value for key, value in shared.items() if key in stage_fields("screen")}
    method = fields_of(SETTINGS["screen"])["method"].default
    return {"method": method, **known, **given, **{key: rows[key] for key in USER_ROWS}}
