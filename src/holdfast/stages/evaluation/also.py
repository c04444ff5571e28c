"""What an evaluation measures beside its protocol: perplexity, attention drift, lm-eval's tasks."""

import contextlib
import json
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from holdfast.data.keys import fingerprint
from holdfast.data.sources import load
from holdfast.evaluate.attention_drift import attention_drift, attention_outputs
from holdfast.evaluate.perplexity import perplexity
from holdfast.models.loading import load_merged
from holdfast.stages.disk import write_json
from holdfast.stages.evaluation.model import EvaluatedModel
from holdfast.stages.evaluation.settings import (
    ATTENTION_DRIFT,
    LM_EVAL,
    WIKITEXT2,
    stage_protocol,
)
from holdfast.stages.folders import ALSO
from holdfast.stages.work import Work

# Attention drift is of so many rows, as the papers' code reads 100 batches of one: all that their
# attention blocks give out is kept (50 MB a row of 200 tokens for a model of 7B in 16 bits).
_DRIFT_ROWS = 100

Measured = dict[str, Mapping[str, float | None]]


def also_measured(work: Work, model: EvaluatedModel) -> Measured:
    """The numbers that the setting ``also`` asks for, by metric.

    They are kept in also.json, and taken from an evaluation beside this one that has the same.
    """
    asked = work.settings["also"] or []
    if not asked:
        return {}
    texts = [row["text"] for row in load("wikitext2:test")] if WIKITEXT2 in asked else []
    made_with = {
        **model.made_with(),
        "also": asked,
        "limit": work.settings["limit"],
        "texts": fingerprint([{"texts": texts}]),
    }
    if ATTENTION_DRIFT in asked:
        made_with["reference"] = work.reference_identity
        made_with["rows"] = fingerprint(work.rows.get("alignment", [])[:_DRIFT_ROWS])
    file = work.folder / ALSO
    for other in [file, *sorted(work.folder.parent.glob(f"*/{ALSO}"))]:
        # Not there, its stage ends just now, or it is damaged.
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            content = json.loads(other.read_text(encoding="utf-8"))
            if content["made_with"] == made_with:
                write_json(file, content)
                return content["numbers"]
    numbers = _measure(work, model, asked, texts)
    write_json(file, {"made_with": made_with, "numbers": numbers})
    return numbers


def _measure(
    work: Work, model: EvaluatedModel, asked: Sequence[str], texts: Sequence[str]
) -> Measured:
    found: Measured = {}
    if texts:
        result: Any = perplexity(model.load(), model.tokenizer, texts)
        found["wikitext2_perplexity"] = {"value": result.perplexity, "n": result.tokens}
        found["wikitext2_bits_per_byte"] = {"value": result.bits_per_byte, "n": result.tokens}
    tasks = [name.removeprefix(LM_EVAL) for name in asked if name.startswith(LM_EVAL)]
    if tasks:
        from holdfast.evaluate.lm_eval import run_tasks

        protocol = stage_protocol(work.settings)
        scores = run_tasks(
            model.load(), model.tokenizer, tasks, work.settings["limit"], protocol.batch_size
        )
        for task, metrics in scores.items():
            for metric, score in metrics.items():
                found[f"{task}: {metric}"] = score
    if ATTENTION_DRIFT in asked and work.reference is not None:
        found[ATTENTION_DRIFT] = _drift(work, model)  # the last, for it needs the model's place
    return found


def _drift(work: Work, model: EvaluatedModel) -> dict[str, float | None]:
    """The mean attention drift from the aligned model; one of the two is loaded at a time."""
    assert work.reference is not None
    rows = work.rows["alignment"][:_DRIFT_ROWS]
    kept = list(attention_outputs(model.load(), model.tokenizer, rows))
    model.close()
    aligned = load_merged(work.reference, model.loading)
    each = attention_drift(kept, attention_outputs(aligned, model.tokenizer, rows))
    return {"value": fmean(each), "n": len(each)}
