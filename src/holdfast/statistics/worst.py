"""The worst case over the attacker's settings: how harmful does a method become at the most?"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from holdfast.statistics.estimates import LEVEL, Estimate

# What an attacker chooses: the last part of an axis's name.
_ATTACK = ("attack", "asked", "attacker", "harmful_ratio", "learning_rate", "num_train_epochs")


@dataclass(frozen=True)
class Worst:
    """The largest harmful score of a variant over the attacker's settings.

    Args:
        variant: The variant's name.
        axes: Its place on all other axes.
        setting: The attacker's setting that is the worst.
        estimate: The harmful score there, with the interval of the maximum; see `worst_cases`.
        settings: How many settings the maximum is over.
        seeds: How many seeds.
    """

    variant: str
    axes: dict[str, Any]
    setting: dict[str, Any]
    estimate: Estimate
    settings: int
    seeds: int


def is_attack(axis: str) -> bool:
    """Whether an axis is the attacker's to choose: a setting of the user's fine-tuning."""
    stage, _, name = axis.rpartition(".")
    return name in _ATTACK and stage in ("", "finetune", "attack")


def worst_cases(
    places: Sequence[tuple[str, Mapping[str, Any], int]],
    interval: Callable[[int, float], Estimate | None],
) -> list[Worst]:
    """The worst case of every variant, at every place of the axes that are not the attacker's.

    The truth that an interval is of is max_k μ_k over the K settings. Its upper end is the largest
    of the settings' own 95 % upper ends: the setting that is truly the worst is below its own with
    97.5 %, and so below the largest. Its lower end is the largest lower end at the level
    1 − 0.05/K (Bonferroni), since the largest of K lower ends is too high too often. It covers the
    maximum with 95 % or more: 97 to 99 % of simulated studies with 3 and 5 seeds, 4 and 8 settings
    and 200 prompts (benchmarks/coverage.md). The value, the largest mean, is a little above the
    largest μ on average: the more so, the more settings are near it.

    Args:
        places: the rows: variant, axes, how many seeds.
        interval: the mean of a row by its index, with its interval at a level; None where it cannot
            be had.

    Returns:
        Every variant, also one with a single setting; nothing where no variant has several.
    """
    groups: dict[tuple[str, str], list[int]] = {}
    for i, (variant, axes, _) in enumerate(places):
        rest = {axis: value for axis, value in axes.items() if not is_attack(axis)}
        groups.setdefault((variant, repr(rest)), []).append(i)
    found = []
    for (variant, _), rows in groups.items():
        means = {i: own for i in rows if (own := interval(i, LEVEL)) is not None}
        if not means:
            continue
        level = 1 - (1 - LEVEL) / len(means)
        lower = [own.low for i in means if (own := interval(i, level)) is not None]
        worst = max(means, key=lambda i: means[i].value)
        _, axes, seeds = places[worst]
        high = max(own.high for own in means.values())
        estimate = Estimate(means[worst].value, max(lower), high, means[worst].n)
        setting = {axis: value for axis, value in axes.items() if is_attack(axis)}
        rest = {axis: value for axis, value in axes.items() if not is_attack(axis)}
        found.append(Worst(variant, rest, setting, estimate, len(means), seeds))
    return found if any(one.settings > 1 for one in found) else []
