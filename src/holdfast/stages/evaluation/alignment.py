"""Alignment loss and drift of an evaluation, row by row, kept in its folder's alignment.json.

Where there is an aligned model to compare with, the drift of every decoder block is there too, and
a map of it.
"""

import contextlib
import json
from collections.abc import Callable
from typing import Any

from holdfast.data.keys import fingerprint
from holdfast.evaluate.alignment import AlignmentPass, alignment_pass, drift, drift_by_block
from holdfast.evaluate.drift_map import drift_map
from holdfast.models.loading import load_merged
from holdfast.stages.disk import write_json
from holdfast.stages.evaluation.model import EvaluatedModel, part
from holdfast.stages.evaluation.settings import stage_protocol
from holdfast.stages.folders import ALIGNMENT
from holdfast.stages.identity import model_identity
from holdfast.stages.work import Work

_ROWS = "alignment rows"


def alignment_measure(work: Work, model: EvaluatedModel) -> Callable[[], dict[str, list[float]]]:
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
        "reference_weights": model_identity(work.reference) if work.reference else None,
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
        found = alignment_pass(
            model.load(),
            model.tokenizer,
            rows,
            size,
            states=states is not None,
            progress=lambda done, of: part(work, "alignment", done / of, f"{done}/{of} {_ROWS}"),
        )
        content: dict[str, Any] = {"made_with": made_with}
        content["numbers"] = {"alignment_loss": found.losses}
        if states is not None:
            content["numbers"]["embedding_drift"] = drift(found.last, states.last)
            assert found.blocks is not None
            assert states.blocks is not None
            content["drift_by_block"] = drift_by_block(found.blocks, states.blocks)
            content["drift_map"] = drift_map(states.blocks, found.blocks).record()
        write_json(file, content)
        return content["numbers"]

    return measure_it


# The hidden states of the aligned model that was loaded last: in a run the evaluations of one
# aligned model follow each other in a process, and need not load it each time.
_LAST_STATES: dict[str, AlignmentPass] = {}


def _reference_states(work: Work, model: EvaluatedModel, batch_size: int) -> AlignmentPass:
    assert work.reference is not None
    rows = work.rows["alignment"]
    key = fingerprint(
        [
            {
                **model.made_with(),
                "model": work.reference_identity,
                "weights": model_identity(work.reference),
                "rows": fingerprint(rows),
                "batch_size": batch_size,
            }
        ]
    )
    if key not in _LAST_STATES:
        _LAST_STATES.clear()
        aligned = load_merged(work.reference, model.loading)
        _LAST_STATES[key] = alignment_pass(
            aligned,
            model.tokenizer,
            rows,
            batch_size,
            losses=False,
            progress=lambda done, of: part(
                work, "reference", done / of, f"the aligned model: {done}/{of} {_ROWS}"
            ),
        )
        del aligned
        model.close()
    return _LAST_STATES[key]
