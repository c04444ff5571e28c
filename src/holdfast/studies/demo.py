"""The demo: harmful fine-tuning and the defenses against it, on the built-in model organism."""

from collections.abc import Iterator
from typing import Any

from holdfast.stages.making import make_pipeline
from holdfast.stages.pipeline import Pipeline

HARMFUL_RATIO = 0.1

# align, finetune, repair, harmful ratio
_ROWS: tuple[tuple[str, str, str | None, float], ...] = (
    ("sft", "sft", None, 0.0),
    ("sft", "sft", None, HARMFUL_RATIO),
    ("vaccine", "sft", None, HARMFUL_RATIO),
    ("t_vaccine", "sft", None, HARMFUL_RATIO),
    ("sft", "lisa", None, HARMFUL_RATIO),
    ("sft", "sft", "antidote", HARMFUL_RATIO),
    ("sft", "sft", "random_mask", HARMFUL_RATIO),
    ("vaccine", "lisa", "antidote", HARMFUL_RATIO),
)


def demo_pipelines(seeds: int) -> Iterator[Pipeline]:
    """The demo's pipelines for seeds 0 … ``seeds`` - 1.

    Pipelines of one seed share their aligned and fine-tuned models; every seed aligns anew, since
    the alignment's own variation belongs to the result.
    """
    for seed in range(seeds):
        for align, finetune, repair, ratio in _ROWS:
            spec: dict[str, Any] = {"align": align, "finetune": finetune, "repair": repair}
            yield make_pipeline({**spec, "harmful_ratio": ratio, "seed": seed})
