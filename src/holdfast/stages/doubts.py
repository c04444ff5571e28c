"""What a user is told of settings that are allowed, and hardly what was meant, before a run."""

import math
from collections.abc import Iterable

from holdfast.errors import UserError
from holdfast.plans import Plan
from holdfast.registry import plan_of
from holdfast.stages.pipeline import Stage
from holdfast.stages.rows import stage_rows


def doubts(stages: Iterable[Stage]) -> list[str]:
    """One sentence for each doubtful setting of the stages, each once."""
    found = {_of(stage) for stage in stages if stage.kind in ("align", "finetune")}
    return sorted(line for line in found if line)


def _of(stage: Stage) -> str | None:
    """See `holdfast.plans.Plan.doubt`."""
    settings, plan = stage.settings, plan_of(stage.kind, stage.settings["method"])
    if type(plan).doubt is Plan.doubt:  # nothing to ask, so no rows need be read
        return None
    rows = settings["rows"]
    if rows is None:
        try:
            rows = len(stage_rows(stage.kind, settings, stage.stack.is_organism)["train"])
        except UserError:  # a plan may be made without the data
            return None
    steps = settings["max_steps"] if settings["max_steps"] > 0 else None
    batch = settings["per_device_train_batch_size"] * settings["processes"]
    batches = math.ceil(settings["num_train_epochs"] * math.ceil(rows / batch))
    user = math.ceil(batches / settings["gradient_accumulation_steps"])
    return plan.doubt(settings, user, steps)
