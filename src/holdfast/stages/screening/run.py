"""Run a screening as a stage: what it keeps of a user's rows, for the fine-tuning to read.

In the stage's folder: ``scores.jsonl`` (a line for each row, written as they come, see
`holdfast.screen.scoring`), ``kept.json`` (the numbers of the rows that are kept, from 0) and
``screen.json`` (how many rows of which kinds were kept and flagged).
"""

from typing import Any

import numpy as np
import transformers

from holdfast.models.loading import Loading, load_merged
from holdfast.models.stack import Stack
from holdfast.models.tokenizers import check_vocabulary, load_tokenizer
from holdfast.screen.decide import threshold_of
from holdfast.screen.scoring import decide, read_scores, score_rows
from holdfast.settings import fields_of
from holdfast.stages.disk import write_json
from holdfast.stages.folders import SCORES
from holdfast.stages.methods import load_method
from holdfast.stages.screening.kept import KEPT
from holdfast.stages.settings import config_settings
from holdfast.stages.work import Work

REPORT = "screen.json"


def run_screen(work: Work) -> dict[str, Any]:
    """Screen a user's rows; gives the stage's budget.

    Raises:
        UserError: whatever is wrong with the model, the known rows or the judge.
        Stopped: asked to; the scores that were there are kept.
    """
    rows = work.rows["train"]
    screen, threshold, share = make_screen(work.settings, work.model, work.rows)
    total = max(1, len(rows))
    score_rows(
        screen,
        rows,
        work.folder / SCORES,
        lambda done: work.progress(done / total, f"{done}/{total} rows screened"),
    )
    found = decide(lambda: read_scores(work.folder / SCORES), threshold, share)
    write_json(work.folder / REPORT, found.record())
    write_json(work.folder / KEPT, np.flatnonzero(~found.flagged).tolist())
    return {"screened": len(rows), "flagged": int(found.flagged.sum())}


def make_screen(settings: Any, model: Stack, sets: Any) -> tuple[Any, float | None, float | None]:
    """A screen that is ready, and the threshold or the share that decides.

    Args:
        settings: a screening's resolved settings.
        model: the aligned model, loaded only for a method that asks for it.
        sets: the known rows by their role, ``probe`` and ``alignment``.

    Raises:
        UserError: whatever is wrong with the model, the known rows or the judge, or nothing
            decides.
    """
    screen_class, config_class, method = load_method("screen", settings["method"])
    own = config_settings("screen", settings)
    if "seed" in fields_of(method.config):
        own["seed"] = settings["seed"]
    config = config_class(**own)
    given: dict[str, Any] = {
        "config": config,
        "harmful_dataset": sets.get("probe", []),
        "alignment_dataset": sets.get("alignment", []),
    }
    if {"model", "processing_class"} & method.asks:
        given["processing_class"] = load_tokenizer(model, settings["template"])
        given["model"] = load_merged(model, Loading.of(settings))
        check_vocabulary(given["model"], given["processing_class"])
    transformers.set_seed(settings["seed"])
    screen = screen_class(**{k: v for k, v in given.items() if k in method.asks})
    return screen, threshold_of(config, getattr(screen, "known", None)), config.share
