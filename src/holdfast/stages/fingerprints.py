"""What stands for a stage's rows in its identity, and which of its settings decide them."""

import json
from collections.abc import Mapping
from typing import Any

from holdfast.data.chat_templates import has_marks
from holdfast.data.keys import fingerprint
from holdfast.data.prompts import is_conversation, shape
from holdfast.data.tool_calls import null_arguments
from holdfast.stages.identity import known_attack
from holdfast.stages.methods import method_of
from holdfast.stages.remembered import remembered
from holdfast.stages.rows import stage_rows

FILES = ("data", "harmful_data", "alignment_data", "probe_data", "benign_data", "task_data")
_DECIDE_ROWS = ("protocol", "benign_data", "task_data", "limit", "method", "score", "source")
_DECIDE_ROWS += ("layers",)
_DECIDE_ROWS += ("task", "harmful_ratio", "attack", "rows", "alignment_rows", "harmful_rows")
_DECIDE_ROWS += ("seed", "sample_seed", "sampling", "columns", "data", "harmful_data")
_DECIDE_ROWS += ("alignment_data", "probe_data", "probe_rows")


def row_fingerprints(
    kind: str, settings: Mapping[str, Any], is_organism: bool, template: str
) -> dict[str, str]:
    """The fingerprints of a stage's sets of rows, and what their conversations depend on."""
    what = deciding_rows(settings)
    files = [settings.get(key) for key in FILES]
    if any(files) or not is_organism:
        sets = stage_rows(kind, what, is_organism)
        conversations = _conversations(sets, settings.get("train_on", "all"), template)
        return {role: fingerprint(rows) for role, rows in sets.items()} | conversations
    # The organism's rows follow from the settings alone, and many stages read the same ones.
    version = "" if kind == "evaluate" else method_of(kind, settings["method"]).version
    key = f"{kind} {version} {json.dumps(what, sort_keys=True)}"
    return remembered(
        key,
        lambda: {role: fingerprint(rows) for role, rows in stage_rows(kind, what, True).items()},
    )


def _conversations(sets: Mapping[str, Any], train_on: str, template: str) -> dict[str, str]:
    """What stands in an identity for rows that may have several answers, or none that is trained.

    Of rows of one question and one answer nothing does, whatever `train_on` is.
    """
    rows = [row for some in sets.values() for row in some]
    found = {"conversations": train_on} if any(map(is_conversation, rows)) else {}
    if has_marks(template) and any(shape(row) != "alpaca" for row in rows):
        found["answers"] = "as the template marks them"
    elif (
        found and train_on == "all" and "loop.last" in template
    ):  # it may end a turn otherwise when others follow
        found["answers"] = "with the end that each has"
    if any(map(null_arguments, rows)):  # once they were left out
        found["null arguments"] = "kept"
    return found


def deciding_rows(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Those of a stage's settings that decide which rows it reads."""
    settings = known_attack(settings)
    return {key: settings[key] for key in _DECIDE_ROWS if key in settings}


def names_of_rows(settings: Mapping[str, Any]) -> dict[str, str]:
    """The same as texts, for a plan that reads no rows."""
    found = deciding_rows(settings)
    return {key: str(value) for key, value in found.items() if value is not None}
