"""How long a stage takes on one GPU, and how much memory: an estimate before anything runs.

The steps are exact; the rest is arithmetic on the model's sizes, right to perhaps a factor of two.
What it assumes stands in `holdfast.estimate.cost_model`.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from holdfast.estimate.cost_model import (
    BANDWIDTH,
    CORE_OPERATIONS,
    CORE_START,
    DECODING,
    JUDGE_PARAMETERS,
    JUDGE_TOKENS,
    LONGEST,
    ORGANISM_TOKENS,
    OTHER_TOKENS,
    PROCESSOR_OPERATIONS,
    RESERVE,
    TOKENS,
    batch_rows,
    evaluation_bytes,
    operations_a_second,
    training_bytes,
    training_operations,
    weight_bytes,
)
from holdfast.estimate.model_size import ModelSize, model_size
from holdfast.evaluate.judges.registry import check_judge
from holdfast.finetune.schedule import SWAPPED
from holdfast.models.accelerator import has_accelerator
from holdfast.plans import Pass, Plan
from holdfast.registry import plan_of
from holdfast.stages.evaluation.settings import prompts_asked, stage_protocol
from holdfast.stages.methods import is_own, method_of
from holdfast.stages.pipeline import Stage

_SHORT_ANSWERS = {"sst2": 4, "agnews": 4}
_JUDGE = JUDGE_PARAMETERS * 2 * JUDGE_TOKENS  # operations for an answer
NO_SIZE = "the model's size is in no name and no file"
NO_ROWS = "the number of rows is in the data"
OWN = "what a method from outside costs is not known"


@dataclass(frozen=True)
class Estimate:
    """What a stage needs; None where it cannot be told.

    Args:
        steps: optimizer steps; exact; 0 for a stage that trains nothing.
        tokens: tokens that pass through the model, padding included.
        gpu_seconds: on the GPU that this module assumes; 0 for the organism, which needs none.
        peak_bytes: the most memory at once.
        unknown: why something is None, in a few words.
        core_seconds: on one core of a processor.
    """

    steps: int | None
    tokens: int | None
    gpu_seconds: float | None
    peak_bytes: int | None
    unknown: str = ""
    core_seconds: float | None = 0.0


_UNKNOWN = Estimate(None, None, None, None, OWN, None)


def estimate_stage(
    kind: str,
    settings: Mapping[str, Any],
    model: ModelSize | None,
    rows: int | None = None,
    organism: bool = False,
    on_processor: bool = False,
) -> Estimate:
    """What one stage needs.

    Weights of float32 count as bfloat16 where this machine has no accelerator: that is what "auto"
    became here, and not what it will be on a GPU.

    Args:
        kind: "align", "screen", "finetune", "repair" or "evaluate".
        settings: its resolved settings.
        model: the base's size, None if nobody knows.
        rows: how many rows it has, where the settings do not say.
        organism: the base is the organism: on the CPU, with short rows.
        on_processor: it will run on this machine's processor, so weights keep their type.
    """
    if not on_processor and _is_taken_as_bfloat16(settings, organism):
        settings = {**settings, "dtype": "bfloat16"}
    if kind == "evaluate":
        return _evaluation(settings, model, organism)
    if is_own(settings["method"]):
        return Estimate(None, None, 0.0, None, OWN, None) if organism else _UNKNOWN
    count = settings.get("rows") or rows
    if kind == "screen":
        return _screen(settings, model, count, organism)
    if kind == "repair":
        return _repair(settings, model, rows, organism)
    if count is None and settings["max_steps"] <= 0:
        return Estimate(None, None, None, None, NO_ROWS, None)
    count = plan_of(kind, settings["method"]).rows(settings, count or 1)
    steps = training_steps(kind, settings, count)
    tokens = _seen_tokens(kind, settings, count, steps, organism)
    if model is None:
        return Estimate(steps, tokens, None, None, NO_SIZE, None)
    operations = tokens * training_operations(kind, settings, model, steps)
    peak = training_bytes(kind, settings, model, organism)
    if organism:
        core = CORE_START + operations / CORE_OPERATIONS
        return Estimate(steps, tokens, 0.0, peak, core_seconds=core)
    a_second = operations_a_second(settings) * settings.get("processes", 1)
    core = operations / PROCESSOR_OPERATIONS
    return Estimate(steps, tokens, operations / a_second, peak, core_seconds=core)


def _is_taken_as_bfloat16(settings: Mapping[str, Any], organism: bool) -> bool:
    return not organism and settings["dtype"] == "float32" and not has_accelerator()


def training_steps(kind: str, settings: Mapping[str, Any], rows: int) -> int:
    """The optimizer steps of a training stage; exact."""
    if settings["max_steps"] > 0:
        return settings["max_steps"]
    return _steps(kind, settings, rows)[0]


def _steps(kind: str, settings: Mapping[str, Any], rows: int) -> tuple[int, int]:
    """All steps without ``max_steps``, and those on alignment rows alone among them."""
    plan = plan_of(kind, settings["method"])
    batches, split = math.ceil(rows / batch_rows(settings)), settings["gradient_accumulation_steps"]
    if type(plan).steps is Plan.steps:  # the last step of every epoch may be a smaller one
        return math.ceil(settings["num_train_epochs"] * math.ceil(batches / split)), 0
    passed = math.ceil(settings["num_train_epochs"] * batches)  # all epochs are one pass
    return plan.steps({**settings, "rows": rows}, math.ceil(passed / split))


def row_tokens(settings: Mapping[str, Any], organism: bool = False) -> int:
    """The length of a stage's rows with padding; of mixed rows the mean."""
    longest = settings.get("max_length") or OTHER_TOKENS
    if organism:
        return min(longest, ORGANISM_TOKENS)
    own = _known(settings.get("data") or settings.get("task"))
    ratio = settings.get("harmful_ratio") or 0.0
    harmful = _known(settings.get("harmful_data"))
    mixed = min(longest, own) * (1 - ratio) + min(longest, harmful) * ratio
    return round(mixed)


def _known(reference: str | None) -> int:
    return TOKENS.get(str(reference).split(":")[0], OTHER_TOKENS)


def _seen_tokens(
    kind: str, settings: Mapping[str, Any], rows: int, steps: int, organism: bool
) -> int:
    """The tokens of all rows that a training stage sees, alignment steps' with their own."""
    size = batch_rows(settings) * settings["gradient_accumulation_steps"]
    own = row_tokens(settings, organism)
    if settings["max_steps"] > 0:
        return steps * size * own
    seen = math.ceil(plan_of(kind, settings["method"]).epochs(settings) * rows)
    aligning = _steps(kind, settings, rows)[1]
    if not aligning:
        return seen * own
    if settings.get("user_rows") == SWAPPED:
        seen -= min(seen, aligning * size)
    other = {"data": settings.get("alignment_data"), "max_length": settings.get("max_length")}
    return seen * own + aligning * size * row_tokens(other, organism)


def _screen(
    settings: Mapping[str, Any], model: ModelSize | None, count: int | None, organism: bool
) -> Estimate:
    """A screening reads the user's rows and the known ones, some of them twice."""
    plan = plan_of("screen", settings["method"])
    if count is None:
        return Estimate(0, None, None, None, NO_ROWS, None)
    tokens = count * row_tokens(settings, organism)
    tokens += sum(settings[key] or 0 for key in ("probe_rows", "alignment_rows")) * OTHER_TOKENS
    reads = plan.passes_a_step or plan.forwards_a_step
    if reads and model is None:
        return Estimate(0, tokens, None, None, NO_SIZE, None)
    n, layers = (model.parameters, model.layers) if model else (0, 1)
    one = Pass(forward=2 * n, again=0, backward=2 * n, weights=2 * n / layers)
    operations = tokens * plan.operations(one, settings, layers, 1)
    if settings.get("judge") and "revision" in check_judge(settings["judge"]):  # it is a model
        operations += count * _JUDGE
    peak = round(weight_bytes(settings, n)) if reads else 0
    if organism:
        return Estimate(0, tokens, 0.0, peak, core_seconds=operations / CORE_OPERATIONS)
    seconds, core = operations / operations_a_second(settings), operations / PROCESSOR_OPERATIONS
    return Estimate(0, tokens, seconds, peak, core_seconds=core)


def _repair(
    settings: Mapping[str, Any], model: ModelSize | None, rows: int | None, organism: bool
) -> Estimate:
    plan = plan_of("repair", settings["method"])
    reads = plan.reads_rows(settings)
    prefix = "alignment_" * ("dataset" not in method_of("repair", settings["method"]).asks)
    count = settings.get(f"{prefix}rows") or rows or 0
    if reads and not count:
        return Estimate(0, None, None, None, NO_ROWS, None)
    read = {**settings, "data": settings.get(f"{prefix}data"), "harmful_ratio": 0.0}
    tokens = count * row_tokens(read, organism) if reads else 0
    if model is None:
        return Estimate(0, tokens, None, None, NO_SIZE, None)
    n = model.parameters
    longest = min(settings.get("max_length") or LONGEST, LONGEST)
    # Without gradients one layer's activations live at a time.
    batch = settings.get("batch_size", 0) * longest * (16 * model.hidden + 6 * model.intermediate)
    peak = round(weight_bytes(settings, n) + RESERVE * batch)
    forward = Pass(forward=2 * n, again=0, backward=0, weights=0)
    operations = tokens * plan.operations(forward, settings, 0, 1)
    if organism:
        return Estimate(0, tokens, 0.0, peak, core_seconds=operations / CORE_OPERATIONS)
    seconds, core = operations / operations_a_second(settings), operations / PROCESSOR_OPERATIONS
    return Estimate(0, tokens, seconds, peak, core_seconds=core)


def _evaluation(settings: Mapping[str, Any], model: ModelSize | None, organism: bool) -> Estimate:
    protocol = stage_protocol(settings)
    task = settings["task"]
    # How many prompts, how long they are, how many new tokens they get.
    counts = prompts_asked(settings)
    asked = [
        (counts["harmful"] + counts["attacked"] + counts["benign"], 100, protocol.max_new_tokens),
        (
            counts["task"],
            _known(task),
            min(_SHORT_ANSWERS.get(task, protocol.tokens("task")), protocol.tokens("task")),
        ),
    ]
    # Alignment rows are read by the aligned model, too, where the drift from it is measured.
    readers = 2 if settings.get("reference") else 1
    read = sum(n * long for n, long, _ in asked) + readers * counts["alignment"] * OTHER_TOKENS
    tokens = read + sum(n * new for n, _, new in asked)
    if model is None:
        return Estimate(0, tokens, None, None, NO_SIZE, None)
    if organism:
        core = tokens * 2 * model.parameters / CORE_OPERATIONS
        return Estimate(0, tokens, 0.0, 4 * model.parameters, core_seconds=core)
    size, n = protocol.batch_size, model.parameters
    one = max(2 * n / (BANDWIDTH * DECODING), 2 * n * size / operations_a_second(settings))
    seconds = read * 2 * n / operations_a_second(settings)
    seconds += sum(math.ceil(count / size) * new * one for count, _, new in asked)
    judges = sum("revision" in judge for judge in settings["judges"])  # those that are models
    judged = judges * counts["harmful"] * _JUDGE
    seconds += judged / operations_a_second(settings)
    longest = max(long + new for _, long, new in asked)
    core = (tokens * 2 * n + judged) / PROCESSOR_OPERATIONS
    peak = evaluation_bytes(settings, model, size, longest, judges)
    return Estimate(0, tokens, seconds, peak, core_seconds=core)


@dataclass(frozen=True)
class PlanEstimate:
    """What all stages of a plan need.

    Args:
        stages: the estimate of every stage by its identity.
        steps: optimizer steps in all, of the stages that are known.
        gpu_seconds: on one GPU, one stage after another; of the stages that are known.
        core_seconds: on one core of a processor, of the stages that are known.
        peak_bytes: of the largest stage that is known.
        notes: sentences on what is assumed or left out.
    """

    stages: dict[str, Estimate] = field(default_factory=dict)
    steps: int = 0
    gpu_seconds: float = 0.0
    core_seconds: float = 0.0
    peak_bytes: int = 0
    notes: tuple[str, ...] = ()


def estimate_plan(stages: Iterable[Stage], on_processor: bool = False) -> PlanEstimate:
    """What the stages need, each counted once.

    Args:
        stages: stages of a plan, as `holdfast.stages.pipeline.all_stages` gives them.
        on_processor: see `estimate_stage`.
    """
    found: dict[str, Estimate] = {}
    sizes: dict[str, ModelSize | None] = {}
    notes: dict[str, None] = {}
    for stage in stages:
        base, settings = stage.stack.base, stage.settings
        if base not in sizes:
            sizes[base] = model_size(base)
        organism = stage.stack.is_organism
        if not on_processor and _is_taken_as_bfloat16(settings, organism):
            notes["No GPU here: weights are taken in bfloat16, as on one."] = None
        estimate = estimate_stage(
            stage.kind, settings, sizes[base], organism=organism, on_processor=on_processor
        )
        if estimate.unknown == NO_ROWS:
            notes["Stages whose number of rows is in the data alone are not counted."] = None
        if estimate.unknown == OWN and not organism:
            notes[f"{settings['method']}: {OWN}, so it is not counted."] = None
        found[stage.identity] = estimate
    known = found.values()
    named = [base for base, size in sizes.items() if size and size.source == "its name"]
    if named:
        notes[f"Sizes are read from the names: {', '.join(named)}."] = None
    for base in (base for base, size in sizes.items() if size is None):
        notes[f"{base}: {NO_SIZE}, so its time and memory are not counted."] = None
    return PlanEstimate(
        stages=found,
        steps=sum(e.steps or 0 for e in known),
        gpu_seconds=sum(e.gpu_seconds or 0.0 for e in known),
        core_seconds=sum(e.core_seconds or 0.0 for e in known),
        peak_bytes=max((e.peak_bytes or 0 for e in known), default=0),
        notes=tuple(notes),
    )
