"""What a search may give a variant's settings, and the settings that are drawn from it at random.

Optuna's random sampler is not asked: it draws other settings, so every search that was made before
would run again, and of `draw` it would save three lines.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from holdfast.errors import UserError
from holdfast.settings import Place, check
from holdfast.stages.making import SHARED
from holdfast.stages.pipeline import Stage
from holdfast.stages.settings import method_fields, stage_fields
from holdfast.studies.variants import METHOD_KINDS

_DIGITS = 3  # of a value that is drawn from a range, so that a paper can name it exactly
_DRAWS = 1000  # for one try, before a range counts as used up
_LEFT = object()  # in the place of a setting that is left to the trainer's own default
# What makes another study of it, and is nothing to choose by its results.
_NOT_SEARCHED = ("method", "data", "harmful_data", "alignment_data", "probe_data", *SHARED)


@dataclass(frozen=True)
class Range:
    """Values between two ends, drawn evenly on a logarithmic scale.

    Args:
        low: the smallest, above 0.
        high: the largest.
        whole: whether they are whole numbers.
    """

    low: float
    high: float
    whole: bool = False

    def at(self, share: float) -> float:
        """low · (high / low)^share, rounded."""
        return self.rounded(self.low * (self.high / self.low) ** share)

    def rounded(self, value: float) -> float:
        """A value as it is tried: a whole number, or three digits."""
        value = round(value) if self.whole else float(f"{value:.{_DIGITS}g}")
        return min(max(value, self.low), self.high)

    def count(self) -> float:
        """How many values there are."""
        return self.high - self.low + 1 if self.whole else math.inf


@dataclass(frozen=True)
class Space:
    """A variant's space.

    Args:
        values: by "STAGE.SETTING" the values, or the range that they are drawn from.
        first: what the variant has without a search.
        methods: the variant's methods by stage.
        where: for messages.
    """

    values: dict[str, list[Any] | Range]
    first: dict[str, Any]
    methods: dict[str, str]
    where: str

    def text(self) -> str:
        """What decides the settings that are drawn."""
        return json.dumps([self.methods, self.values], sort_keys=True, default=repr)


def draw(space: Space, tries: int) -> list[dict[str, Any]]:
    """So many different settings, the first of them what the variant has without a search.

    The space and the methods decide them: fewer tries are the first ones of more.

    Raises:
        UserError: there are fewer.
    """
    values = space.values
    count = math.prod(v.count() if isinstance(v, Range) else len(v) for v in values.values())
    count += not all(n in space.first and holds(v, space.first[n]) for n, v in values.items())
    if count < tries:
        raise _too_few(space, int(count), tries)
    # `Random.random` alone is promised to give the same numbers in every version of Python.
    random = Random(space.text())
    found = [space.first]
    while len(found) < tries:
        for _ in range(_DRAWS):
            parts = {name: _value(values[name], random.random()) for name in sorted(values)}
            new = {name: parts[name] for name in values}
            if new not in found:
                found.append(new)
                break
        else:
            raise _too_few(space, len(found), tries)
    return found


def _value(values: Sequence[Any] | Range, share: float) -> Any:
    """The value at a share, from 0 to below 1, of all."""
    return values.at(share) if isinstance(values, Range) else values[int(share * len(values))]


def holds(values: Sequence[Any] | Range, value: Any) -> bool:
    """Whether a value is one of a list, or in a range."""
    if isinstance(values, Range):
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return is_number and values.low <= value <= values.high
    return value in values


def _too_few(space: Space, count: int, tries: int) -> UserError:
    return UserError(
        f"{space.where} has {count} different settings, counting the variant's own, and tries is "
        f"{tries}: give it more values, or all variants fewer tries."
    )


def read_space(
    given: Any, stages: Mapping[str, Stage], axes: Mapping[str, Any], where: Place
) -> Space:
    """A variant's space, its values checked and their types put right.

    Args:
        given: what the study's file holds.
        stages: the variant's stages.
        axes: the study's axes of the variant, which are not to be searched.
        where: for messages.

    Raises:
        UserError: a setting that the variant does not have, or values that it cannot have.
    """
    if not isinstance(given, Mapping) or not given:
        raise UserError(f"{where.at()}: it must hold settings, such as {{align.rho: [1, 2]}}.")
    values: dict[str, list[Any] | Range] = {}
    first = {}
    for name, own in given.items():
        place = where.inside(str(name), str(name)).at()
        kind, _, key = str(name).partition(".")
        if kind not in METHOD_KINDS or not key:
            raise UserError(
                f"{place} must be written STAGE.SETTING, such as align.rho; the stages are "
                f"{', '.join(METHOD_KINDS)}."
            )
        if kind not in stages:
            raise UserError(f"{place}: the variant has no stage '{kind}'.")
        if key in _NOT_SEARCHED:
            raise UserError(f"{place} is nothing to choose by its results: it asks something else.")
        if name in axes:
            raise UserError(f"{place} is an axis of the study: vary it, or search it.")
        if isinstance(own, Mapping):
            values[name] = _range(own, stages[kind], key, place)
        elif isinstance(own, list) and own:
            found = [_checked(stages[kind], key, value, place) for value in own]
            if any(value in found[:i] for i, value in enumerate(found)):
                raise UserError(f"{place} holds a value twice.")
            values[name] = found
        else:
            raise UserError(
                f"{place} must be a list of values, or {{low: 0.1, high: 10}}, and is {own!r:.40}."
            )
        if (now := _inner(stages[kind].settings, key)) is not _LEFT:
            first[name] = now
    methods = {k: stages[k].settings["method"] for k in METHOD_KINDS if k in stages}
    return Space(values, first, methods, where.at())


def _range(given: Mapping[str, Any], stage: Stage, key: str, where: str) -> Range:
    if {*given} != {"low", "high"}:
        raise UserError(f"{where} must be {{low: 0.1, high: 10}}, and has {', '.join(given)}.")
    low, high = (_checked(stage, key, given[end], where) for end in ("low", "high"))
    numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in (low, high))
    if not numbers or not 0 < low < high:
        raise UserError(
            f"{where}: a range is drawn from on a logarithmic scale: low and high must be numbers, "
            "with 0 < low < high."
        )
    return Range(low, high, all(isinstance(end, int) for end in (low, high)))


def _checked(stage: Stage, key: str, value: Any, where: str) -> Any:
    """A value of a stage's setting, its type put right."""
    fields = {**stage_fields(stage.kind), **method_fields(stage.kind, stage.settings["method"])}
    nested = value
    for part in reversed(key.split(".")):
        nested = {part: nested}
    if isinstance(fields.get(key), Mapping):
        raise UserError(f"{where} holds settings itself: name one of them, such as {key}.r.")
    return _inner(check(nested, fields, where), key)


def _inner(settings: Mapping[str, Any], key: str) -> Any:
    """A setting, perhaps nested; `_LEFT` where it is left to the trainer's own default."""
    value: Any = settings
    for part in key.split("."):
        value = value.get(part, _LEFT) if isinstance(value, Mapping) else _LEFT
    return value
