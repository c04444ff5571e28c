"""The values that a setting may have, declared beside its field.

    rho: float = field(default=1.0, metadata={"range": "[0, inf)"})

A range is written as in mathematics, `[0, 1)` for 0 ≤ x < 1, alternatives joined by "or":
`-1 or [1, inf)`. `holdfast.settings.fields` reads it from the source, so that the commands check
the settings of all stages before the first one runs; a config that is made in Python checks itself
with `check_ranges`. For `transformers.TrainingArguments`, which declares none, they stand here.
"""

from __future__ import annotations

import dataclasses
import math
import re
from functools import cache
from typing import Any, NamedTuple, get_args

from holdfast.errors import UserError

# The largest seed that all libraries take.
SEED = "[0, 4294967295]"

# What TrainingArguments' fields may be; elsewhere it is told late, by a traceback, or not at all.
TRANSFORMERS = {
    "per_device_train_batch_size": "[1, inf)",
    "per_device_eval_batch_size": "[1, inf)",
    "gradient_accumulation_steps": "[1, inf)",
    "eval_accumulation_steps": "[1, inf)",
    "num_train_epochs": "(0, inf)",
    "max_steps": "-1 or [1, inf)",
    "learning_rate": "(0, 10]",
    "warmup_steps": "[0, inf)",
    "weight_decay": "[0, inf)",
    "adam_beta1": "[0, 1)",
    "adam_beta2": "[0, 1)",
    "adam_epsilon": "[0, inf)",
    "max_grad_norm": "[0, inf)",
    "label_smoothing_factor": "[0, 1)",
    "neftune_noise_alpha": "[0, inf)",
    "torch_empty_cache_steps": "[1, inf)",
    "logging_steps": "(0, inf)",
    "eval_steps": "(0, inf)",
    "eval_delay": "[0, inf)",
    "save_steps": "(0, inf)",
    "save_total_limit": "[1, inf)",
    "seed": SEED,
    "data_seed": SEED,
    "dataloader_num_workers": "[0, inf)",
    "dataloader_prefetch_factor": "[1, inf)",
    "ddp_bucket_cap_mb": "[1, inf)",
    "ddp_timeout": "[1, inf)",
}


class Interval(NamedTuple):
    """An interval of numbers; both ends may belong to it or not."""

    low: float
    high: float
    with_low: bool
    with_high: bool

    def holds(self, value: float) -> bool:
        """Whether the value lies in it."""
        above = value >= self.low if self.with_low else value > self.low
        below = value <= self.high if self.with_high else value < self.high
        return above and below

    def words(self) -> str:
        """It in words."""
        if self.low == self.high:
            return f"{self.low:.10g}"
        if self.high == math.inf:
            return f"{self.low:.10g} or more" if self.with_low else f"above {self.low:.10g}"
        low = "from" if self.with_low else "above"
        high = "to" if self.with_high else "to below"
        if not self.with_low:
            high = "and at most" if self.with_high else "and below"
        return f"{low} {self.low:.10g} {high} {self.high:.10g}"


@cache
def parsed(text: str) -> tuple[Interval, ...]:
    """The intervals that a range is written as.

    Raises:
        ValueError: it is no range.
    """
    found = []
    for part in text.split(" or "):
        ends = re.fullmatch(r"([\[(])(\S+), (\S+)([\])])", part)
        if ends:
            left, low, high, right = ends.groups()
            found.append(Interval(float(low), float(high), left == "[", right == "]"))
        else:
            found.append(Interval(float(part), float(part), True, True))
    return tuple(found)


def check_range(value: object, allowed: str, name: str) -> None:
    """Check a value, or each item of a list; what is no number is not looked at.

    Raises:
        UserError: it lies outside.
    """
    if isinstance(value, list | tuple | set):
        for item in value:
            check_range(item, allowed, name)
        return
    if not allowed or isinstance(value, bool) or not isinstance(value, int | float):
        return
    intervals = parsed(allowed)
    if not any(interval.holds(value) for interval in intervals):
        words = " or ".join(interval.words() for interval in intervals)
        raise UserError(f"{name} is {value:.10g}; it must be {words}.")


def check_ranges(config: Any) -> None:
    """Check the fields of a config, a dataclass, that declare a range.

    Raises:
        UserError: one of them has a value outside of it.
    """
    for field in dataclasses.fields(config):
        value, allowed = getattr(config, field.name), field.metadata.get("range", "")
        if value in [word for one in get_args(field.type) for word in get_args(one)]:
            continue  # a word that stands for a number: `int | Literal["auto"]`
        if allowed and value is not None and type(value) not in (int, float):
            raise UserError(f"{field.name} is {value!r}; it must be a number.")
        check_range(value, allowed, field.name)
