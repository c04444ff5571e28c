"""Alignment loss and drift of an evaluation, row by row, kept in its folder's alignment.json.

Where there is an aligned model to compare with, the drift of every decoder block is there too.
"""

import contextlib
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from holdfast.data.rows import fingerprint
from holdfast.evaluate.alignment import block_states, drift_by_block, hidden_states
from holdfast.evaluate.metrics import alignment_numbers
from holdfast.models.loading import load_merged
from holdfast.studies.evaluation_settings import stage_protocol
from holdfast.studies.folders import ALIGNMENT, write_json

if TYPE_CHECKING:
    from holdfast.studies.evaluation import EvaluatedModel
    from holdfast.studies.work import Work


def alignment_measure(
    work: "Work", model: "EvaluatedModel"
) -> Callable[[], dict[str, list[float]]]:
    """Gives what measures alignment loss and drift, row by row; called when the answers are there.

    The aligned model's part is done at once, before the model under evaluation is loaded: one after
    the other, for two large models may not fit.
    """
    rows = work.rows.get("alignment")
    if not rows:
        return dict
    made_with = {
        **model.made_with(),
        "rows": fingerprint(rows),
        "reference": work.reference_identity,
    }
    file = work.folder / ALIGNMENT
    for other in [file, *sorted(work.folder.parent.glob(f"*/{ALIGNMENT}"))]:
        # Not there, its stage ends just now, or it is damaged.
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            content = json.loads(other.read_text(encoding="utf-8"))
            if content["made_with"] == made_with:
                write_json(file, content)
                return lambda: content["numbers"]
    size = stage_protocol(work.settings).batch_size
    states = None if work.reference is None else _reference_states(work, model, size)

    def measure_it() -> dict[str, list[float]]:
        numbers = alignment_numbers(
            model.load(), model.tokenizer, {"alignment": rows}, size, states and states[0]
        )
        content: dict[str, Any] = {"made_with": made_with, "numbers": numbers}
        if states is not None:
            own = block_states(model.load(), model.tokenizer, rows, size)
            content["drift_by_block"] = drift_by_block(own, states[1])
        write_json(file, content)
        return numbers

    return measure_it


# The hidden states of the aligned model that was loaded last, of its last block and of all blocks:
# in a run the evaluations of one aligned model follow each other in a process, and need not load it
# each time.
_States = tuple[list[torch.Tensor], torch.Tensor]
_LAST_STATES: dict[str, _States] = {}


def _reference_states(work: "Work", model: "EvaluatedModel", batch_size: int) -> _States:
    assert work.reference is not None
    rows = work.rows["alignment"]
    key = fingerprint(
        [
            {
                **model.made_with(),
                "model": work.reference_identity,
                "rows": fingerprint(rows),
                "batch_size": batch_size,
            }
        ]
    )
    if key not in _LAST_STATES:
        _LAST_STATES.clear()
        aligned = load_merged(work.reference, model.loading)
        given = (aligned, model.tokenizer, rows, batch_size)
        _LAST_STATES[key] = (hidden_states(*given), block_states(*given))
        del aligned
        model.close()
    return _LAST_STATES[key]
