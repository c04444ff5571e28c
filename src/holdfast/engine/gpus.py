"""Which GPUs each of several workers takes, and what a user is told of the machine's."""

from collections.abc import Iterable, Sequence

from holdfast.models.accelerator import lacks_bfloat16, visible_gpus
from holdfast.stages.pipeline import Stage


def shared_out(gpus: Sequence[str], workers: int) -> list[str | None]:
    """CUDA_VISIBLE_DEVICES of every worker; None leaves it as it is.

    Each gets as many as there are for all: of four GPUs two workers get two each, so that a stage
    of several processes has them. More workers than GPUs share them.
    """
    if workers == 1 or len(gpus) < 2:
        return [None] * workers
    size = max(1, len(gpus) // workers)
    taken = [
        [gpus[(worker * size + number) % len(gpus)] for number in range(size)]
        for worker in range(workers)
    ]
    return [",".join(names) for names in taken]


def machine_notes(stages: Iterable[Stage], workers: int = 1) -> list[str]:
    """What the GPUs of this machine change in a run, a sentence each.

    Args:
        stages: the stages that will run here.
        workers: how many of them side by side.
    """
    settings = [stage.settings for stage in stages if not stage.stack.is_organism]
    if not settings:
        return []
    notes = []
    if lacks_bfloat16() and any(one["dtype"] == "float16" for one in settings):
        notes.append(
            "This GPU does not compute in bfloat16: where dtype is not set, float16 is used."
        )
    gpus = visible_gpus()
    if 1 < len(gpus) < workers:
        notes.append(
            f"{workers} workers share {len(gpus)} GPUs: --workers {len(gpus)} gives each its own."
        )
    alone = all(one.get("processes", 1) == 1 and not one["device_map"] for one in settings)
    if len(gpus) > workers and alone:
        notes.append(
            f"{len(gpus)} GPUs are visible and {workers} will be used: --workers runs several "
            "stages side by side, processes=N trains one on N, device_map=auto spreads a model."
        )
    return notes
