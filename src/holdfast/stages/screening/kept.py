"""What a screening leaves for the fine-tuning that stands on it."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from holdfast.errors import UserError
from holdfast.stages.pipeline import Stage
from holdfast.stages.whole import check_whole

KEPT = "kept.json"  # the numbers of the rows that are kept, from 0


def kept_rows(stages: Path, screened: Stage, rows: Sequence[Any]) -> list[Any]:
    """The rows that a finished screening of the same run has kept, in their order.

    Args:
        stages: the folder of the run's stages.
        screened: the screening.
        rows: all of the user's rows.

    Raises:
        UserError: its folder is not what was written there, or it has kept nothing.
    """
    folder = stages / screened.name
    check_whole(folder)
    try:
        numbers = json.loads((folder / KEPT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise UserError(
            f"{folder} lacks its {KEPT}: remove the folder and run the same command again."
        ) from None
    if not numbers:
        raise UserError(
            f"the screen {screened.settings['method']} has flagged all {len(rows)} rows, so "
            "nothing is left to fine-tune on: raise its threshold, or leave the screen out."
        )
    return [rows[number] for number in numbers]
