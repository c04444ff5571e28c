"""The sampler ``tpe`` of a search: Optuna's tree-structured Parzen estimator.

It is asked for a round of tries at a time, so that they run side by side. All that it is told is
how the tries before rank by the search's own rule (`holdfast.studies.choosing.Rule`): it parts
good from bad by their order alone. Each round begins anew from that, with a seed made of the space,
so an interrupted search asks the same again. What it answered is kept in the run's folder, so that
a search that another version of Optuna has made is found again, too.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from holdfast.stages.disk import disk_errors, write_json
from holdfast.studies.search_spaces import Range, Space, draw, holds

# Tries that are asked for at once; so many are drawn at random first, as it has nothing to go by.
ROUND = 4
FILE = "tries.json"
_ASKS = 100  # for one new try, before it is drawn at random


def next_tries(
    space: Space,
    tried: Sequence[Mapping[str, Any]],
    order: Sequence[int],
    count: int,
    root: Path | None = None,
    ask: bool = True,
) -> list[dict[str, Any]]:
    """So many more settings, none of which was tried; fewer are the first ones of more.

    Args:
        space: the variant's space.
        tried: the settings that were tried, the variant's own first.
        order: their numbers, the best one first.
        count: how many.
        root: the run's folder, where answers are kept; None for none.
        ask: whether to ask where no answer is kept; else there are no more.

    Raises:
        UserError: the folder cannot be written, or the disk is full.
    """
    if count == 0:
        return []
    told = json.dumps([space.text(), [tried[number] for number in order], len(tried)], default=repr)
    digest = hashlib.sha256(told.encode()).hexdigest()
    kept = _kept(root)
    known = kept.get(digest, [])
    if len(known) >= count and all(one.keys() == space.values.keys() for one in known):
        return known[:count]
    if not ask:
        return []
    new = _ask(space, tried, order, count, int(digest[:8], 16))
    if root is not None:
        with disk_errors(root / FILE):
            write_json(root / FILE, {**kept, digest: new})
    return new


def _kept(root: Path | None) -> dict[str, list[dict[str, Any]]]:
    """What earlier rounds were answered, by what was told; nothing where it is damaged."""
    try:
        content = json.loads((root / FILE).read_text(encoding="utf-8")) if root else {}
        return {
            str(digest): [{str(name): value for name, value in one.items()} for one in answer]
            for digest, answer in content.items()
        }
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _ask(
    space: Space,
    tried: Sequence[Mapping[str, Any]],
    order: Sequence[int],
    count: int,
    seed: int,
) -> list[dict[str, Any]]:
    import optuna  # some tenths of a second

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    ways = {name: _way(space.values[name]) for name in sorted(space.values)}
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(n_startup_trials=0, seed=seed))
    for rank, number in enumerate(order):
        if _is_inside(space, tried[number]):
            params = {name: _place(space.values[name], tried[number][name]) for name in ways}
            study.add_trial(
                optuna.trial.create_trial(params=params, distributions=ways, value=float(rank))
            )
    found = [dict(one) for one in tried]
    for _ in range(count):
        for _ in range(_ASKS):
            trial = study.ask(ways)
            new = {name: _value(own, trial.params[name]) for name, own in space.values.items()}
            if new not in found:
                break
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
        else:
            new = next(one for one in draw(space, len(found) + 1) if one not in found)
        found.append(new)
    return found[len(tried) :]


def _way(values: Sequence[Any] | Range) -> Any:
    """Optuna's distribution: of a range the values, of a list the places in it."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(values, Range):
        if values.whole:
            return IntDistribution(int(values.low), int(values.high), log=True)
        return FloatDistribution(values.low, values.high, log=True)
    places = range(len(values))
    return (
        IntDistribution(0, places[-1]) if _is_ordered(values) else CategoricalDistribution(places)
    )


def _is_ordered(values: Sequence[Any]) -> bool:
    return all(isinstance(one, int | float) and not isinstance(one, bool) for one in values)


def _in_order(values: Sequence[Any]) -> Sequence[Any]:
    return sorted(values) if _is_ordered(values) else values


def _place(values: Sequence[Any] | Range, value: Any) -> Any:
    return value if isinstance(values, Range) else _in_order(values).index(value)


def _value(values: Sequence[Any] | Range, place: Any) -> Any:
    return values.rounded(place) if isinstance(values, Range) else _in_order(values)[place]


def _is_inside(space: Space, settings: Mapping[str, Any]) -> bool:
    """Whether the space holds settings: what a variant has without a search need not be in it."""
    return all(n in settings and holds(v, settings[n]) for n, v in space.values.items())
