"""What an evaluation measures beside its protocol: perplexity, and tasks of lm-eval."""

import contextlib
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from holdfast.data.rows import fingerprint
from holdfast.data.sources import load
from holdfast.evaluate.perplexity import perplexity
from holdfast.studies.evaluation_settings import LM_EVAL, WIKITEXT2, stage_protocol
from holdfast.studies.folders import ALSO, write_json

if TYPE_CHECKING:
    from holdfast.studies.evaluation import EvaluatedModel
    from holdfast.studies.work import Work

Measured = dict[str, Mapping[str, float | None]]


def also_measured(work: "Work", model: "EvaluatedModel") -> Measured:
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
    work: "Work", model: "EvaluatedModel", asked: Sequence[str], texts: Sequence[str]
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
    return found
