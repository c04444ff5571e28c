"""A study's search for its variants' settings, with an equal number of tries for each.

    search:
      tries: 4                             # for every variant that has a space
      seeds: [100, 101]                    # none of the study's own
      at: {harmful_ratio: 0.1}             # where on the study's axes; of the others at the first
      sampler: tpe                         # or random, if not given
      max_accuracy_loss: 3                 # points of FA that a choice may cost
      spaces:
        Vaccine: {align.rho: [5, 10, 22, 40]}
        Lisa: {finetune.rho: {low: 0.003, high: 0.3}, finetune.alignment_steps: [5, 10]}

Spaces belong to variants, not to methods, for a variant is what a table has a row of, and what
tries are counted of. A setting is written STAGE.SETTING, as under ``vary``, with the values that it
may take, or a range, whose values are drawn evenly on a logarithmic scale; the ends of a range have
names, for [0.003, 0.3] would be two values. The axes stand under ``at``, a level of their own, for
they may have any name. ``baseline`` (plain SFT if not given) is the variant that accuracy is
compared with, ``min_coherence`` (90) the share of coherent answers, in percent, that a choice has
with every seed. How one is chosen: `holdfast.studies.choosing`.

The first try of a variant is what it has without a search, so a search cannot do worse by its own
measure. The others are drawn from its space, each different. The draws at random depend on the
space and the variant's methods alone, and more tries begin with the same ones, so what was tried is
not run again. With ``tpe`` a round of them comes first, and every further round is asked for when
the one before has run (`holdfast.studies.tpe`); more tries begin with the same ones there, too. A
space that has fewer settings than tries is a mistake: variants with fewer tries than others would
not be compared fairly. A chosen setting holds at all places of the study's axes.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from holdfast.errors import UserError
from holdfast.settings import Place, check, fields_of, nearest
from holdfast.stages.making import make_pipeline
from holdfast.stages.pipeline import Pipeline, Stage
from holdfast.studies.grid import axes_of, point_at
from holdfast.studies.search_spaces import Space, draw, read_space
from holdfast.studies.study import Study
from holdfast.studies.tpe import ROUND, next_tries
from holdfast.studies.variants import METHOD_KINDS


@dataclass(frozen=True)
class Search:
    """A search as a study asks for it.

    Args:
        tries: settings for each variant that has a space.
        seeds: the seeds that they are tried on.
        spaces: by variant and "STAGE.SETTING" a list of values, or {"low": …, "high": …}.
        at: values of the study's axes.
        sampler: what draws the settings.
        max_accuracy_loss: points of fine-tune accuracy against the baseline.
        min_coherence: percent of coherent answers, with every seed.
        baseline: a variant; None for plain SFT.
    """

    tries: int
    seeds: list[int]
    spaces: dict[str, Any]
    at: dict[str, Any] = field(default_factory=dict)
    sampler: Literal["random", "tpe"] = "random"
    max_accuracy_loss: float = 3.0
    min_coherence: float = 90.0
    baseline: str | None = None


@dataclass(frozen=True)
class Try:
    """One setting of a variant, and its pipelines, one for each seed of the search."""

    settings: dict[str, Any]
    pipelines: tuple[Pipeline, ...]


@dataclass(frozen=True)
class Tries:
    """All that a search tries, or has tried so far.

    Args:
        search: what was asked for.
        where: the study's file, for messages.
        baseline: the baseline's name.
        base: its pipelines.
        of: the tries by variant.
        spaces: what they are drawn from, by variant.
        make: makes a try of a variant and its settings.
        unsearched: the variants beside the baseline that have no space.
        word: what the study calls it: search, or attacker for one who wants harm.
    """

    search: Search
    where: str
    baseline: str
    base: tuple[Pipeline, ...]
    of: dict[str, list[Try]]
    spaces: dict[str, Space]
    make: Callable[[str, dict[str, Any]], Try]
    unsearched: tuple[str, ...] = ()
    word: str = "search"

    def pipelines(self) -> list[Pipeline]:
        """Those of the baseline and of every try."""
        tried = (one.pipelines for tries in self.of.values() for one in tries)
        return [*self.base, *chain.from_iterable(tried)]

    def known(self) -> "Tries":
        """Those that are known before any has run: with TPE the first round."""
        count = ROUND if self.search.sampler == "tpe" else self.search.tries
        return replace(self, of={variant: own[:count] for variant, own in self.of.items()})

    def and_next(self, order: Mapping[str, Sequence[int]], root: Path, ask: bool = True) -> "Tries":
        """With one round more; the same where all were tried.

        Args:
            order: by variant the tries' numbers, the best first.
            root: the run's folder.
            ask: whether to ask for it where nobody knows it; else it is the same.

        Raises:
            UserError: the folder cannot be written, or a setting that comes next is a mistake.
        """
        of = {}
        for variant, own in self.of.items():
            settings = [one.settings for one in own]
            count = min(ROUND, self.search.tries - len(own))
            new = next_tries(self.spaces[variant], settings, order[variant], count, root, ask)
            if len(new) < count:
                return self
            of[variant] = [*own, *(self.make(variant, one) for one in new)]
        return replace(self, of=of)

    def filled(self, drawn: "Tries") -> "Tries":
        """With as many tries as the search has: others that were drawn, for a plan to count."""
        of = {}
        for variant, own in self.of.items():
            others = [one for one in drawn.of[variant] if one not in own]
            of[variant] = [*own, *others[: self.search.tries - len(own)]]
        return replace(self, of=of)

    def first(self) -> dict[str, dict[str, Any]]:
        """The first try's settings by variant: what the variants have without a search."""
        return {variant: tries[0].settings for variant, tries in self.of.items()}


def tries_of(
    study: Study,
    by_name: bool = False,
    known: dict[str, Stage] | None = None,
    word: str = "search",
) -> Tries | None:
    """What a study's search tries; None where it has none.

    TPE's tries that are not known yet are drawn at random, for a plan to count.

    Args:
        study: the study.
        by_name: see `holdfast.studies.grid.expand`.
        known: the stages that were made before, see `make_pipeline`.
        word: what the study calls it, see `Tries`.

    Raises:
        UserError: whatever is wrong with the search or one of its pipelines.
    """
    search = _read(study, word)
    if search is None:
        return None
    known = {} if known is None else known

    @cache
    def plain(variant: str) -> tuple[Pipeline, ...]:
        return made(variant, {})

    def one_try(variant: str, settings: dict[str, Any]) -> Try:
        return Try(settings, made(variant, settings))

    def made(variant: str, settings: dict[str, Any]) -> tuple[Pipeline, ...]:
        one = replace(study, chosen={variant: {**study.chosen.get(variant, {}), **settings}})
        points = [point_at(one, variant, search.at, seed) for seed in search.seeds]
        where = _place(study, word).inside(variant, "spaces", variant)
        return tuple(
            make_pipeline(p.spec, where, coords=p.coords, known=known, by_name=by_name)
            for p in points
        )

    baseline = search.baseline or _plain_sft(study, plain, word)
    of: dict[str, list[Try]] = {}
    read: dict[str, Space] = {}
    for variant, given in search.spaces.items():
        place = _place(study, word).inside("spaces", "spaces").inside(variant, variant)
        stages = plain(variant)[0].stages
        if "finetune" not in stages:
            raise UserError(
                f"{place.at()}: the variant is not fine-tuned: it has no accuracy to keep."
            )
        read[variant] = read_space(given, stages, axes_of(study, variant), place)
        of[variant] = [one_try(variant, own) for own in draw(read[variant], search.tries)]
    others = tuple(v for v in study.variants if v not in of and v != baseline)
    others = others if word == "search" else ()  # who is not attacked has had no tries at all
    base = plain(baseline)
    return Tries(search, study.where, baseline, base, of, read, one_try, others, word)


def _read(study: Study, word: str) -> Search | None:
    """A study's search, checked against the study."""
    where = _place(study, word)
    if not study.search:
        return None
    checked = check(study.search, fields_of(f"{__name__}:Search"), where)
    for key, example in (("tries", "5"), ("seeds", "[100, 101]"), ("spaces", "{VARIANT: {…}}")):
        if key not in checked:
            raise UserError(f"{where.at()}: '{key}' is missing, such as {key}: {example}.")
    search = Search(**checked)
    if search.tries < 1:
        raise UserError(f"{where.at('tries')}: tries is {search.tries}; it must be 1 or more.")
    if not search.seeds or min(search.seeds) < 0 or len({*search.seeds}) < len(search.seeds):
        raise UserError(
            f"{where.at('seeds')}: seeds must be different whole numbers from 0, at least one."
        )
    both = sorted({*search.seeds} & {*study.seeds})
    if both:
        raise UserError(
            f"{where.at('seeds')}: seed {both[0]} is one of the study's, too: a setting that is "
            "chosen on the seeds of the table looks better than it is."
        )
    if search.max_accuracy_loss < 0:
        raise UserError(f"{where.at('max_accuracy_loss')}: max_accuracy_loss must be 0 or more.")
    if not 0 <= search.min_coherence <= 100:
        raise UserError(f"{where.at('min_coherence')}: min_coherence must be from 0 to 100.")
    if not search.spaces:
        raise UserError(f"{where.at('spaces')}: spaces is empty: name what to search, by variant.")
    named = [("spaces", str(variant)) for variant in search.spaces]
    named += [("baseline", search.baseline)] if search.baseline else []
    for key, variant in named:
        if variant not in study.variants:
            place = where.at(key, variant)
            close = nearest(variant, study.variants)
            hint = f"did you mean '{close}'?" if close else f"it has {', '.join(study.variants)}."
            raise UserError(f"{place}: the study has no variant '{variant}'; {hint}")
    _check_place(study, search, where)
    # What the command line sets is not searched, as it is no axis of the study any more.
    said = {f"{kind}.{key}" for kind, own in study.over.items() for key in own}
    spaces = {
        variant: {k: v for k, v in space.items() if k not in said}
        if isinstance(space, Mapping) and space
        else space
        for variant, space in search.spaces.items()
    }
    kept = {v: space for v, space in spaces.items() if space or not search.spaces[v]}
    return replace(search, spaces=kept) if kept else None


def _place(study: Study, word: str) -> Place:
    """Where a study's search is from: the command line, or its file."""
    return study.where.part(word, ("over", word), (word,))


def _check_place(study: Study, search: Search, where: Place) -> None:
    """Check that the study has the place at which it searches."""
    axes: dict[str, list[Any]] = {
        k: [v] for k, v in study.shared.items() if not isinstance(v, list)
    }
    for variant in study.variants:
        for axis, values in axes_of(study, variant).items():
            known = axes.setdefault(axis, [])
            known += [value for value in values if value not in known]
    for axis, value in search.at.items():
        place = where.at("at", axis)
        if axis not in axes:
            known = ", ".join(axes) or "none"
            raise UserError(f"{place}: at: the study has no axis '{axis}'; it has {known}.")
        if value not in axes[axis]:
            told = ", ".join(map(str, axes[axis]))
            raise UserError(f"{place}: at: {axis} is {value}, and the study has {told}.")


def _plain_sft(study: Study, plain: Callable[[str], Sequence[Pipeline]], word: str) -> str:
    """The study's plain SFT, which accuracy is compared with."""
    for variant in study.variants:
        stages = plain(variant)[0].stages
        methods = {k: stages[k].settings["method"] for k in METHOD_KINDS if k in stages}
        if methods == {"align": "sft", "finetune": "sft"}:
            return variant
    raise UserError(
        f"{_place(study, word).at()}: no variant is plain SFT (align: sft, finetune: sft), which "
        "accuracy is compared with: add it, or name another one as baseline: VARIANT."
    )
