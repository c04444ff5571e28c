"""Run the searches of studies, and say what was chosen."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from holdfast.commands.pipelines import failed_run, run_shown, tell_failures, together
from holdfast.engine.record import write_record
from holdfast.engine.run import Launch
from holdfast.engine.schedule import Outcome
from holdfast.errors import UserError
from holdfast.estimate.plan import is_there
from holdfast.report.stage_files import evaluation_of
from holdfast.stages.folders import claim_root
from holdfast.stages.pipeline import Pipeline, all_stages, stage_folder
from holdfast.studies.attacker import WORD as ATTACKER
from holdfast.studies.choosing import Choice, Rule, Score, choose, score_of
from holdfast.studies.search import Search, Tries


@dataclass(frozen=True)
class Found:
    """What a search has found.

    Args:
        chosen: by variant the chosen settings, by "STAGE.SETTING".
        record: what study.json keeps of it: the rule, all tries with their scores, the choices.
        notes: the same in sentences.
        pipelines: all that were tried.
    """

    chosen: dict[str, dict[str, Any]]
    record: dict[str, Any]
    notes: list[str]
    pipelines: list[Pipeline]


def run_searches(
    searches: Sequence[Tries],
    root: Path,
    launch: Launch,
    console: Console,
    about: Mapping[str, Any],
) -> tuple[list[Found], Outcome]:
    """Run what is missing of all searches, and choose; tells also how their stages ended.

    What is known to be tried runs at once; then, with TPE, round after round.

    Args:
        searches: what they try.
        root: the folder of the run.
        launch: who runs the stages.
        console: where to show it.
        about: what study.json says of the run.

    Raises:
        UserError: nothing can be chosen, since a metric is missing or by a user's mistake.
        FailedStagesError: nothing can be chosen, since stages failed.
        Stopped: Ctrl-C; the same call goes on from there.
    """
    claim_root(root)
    searches, outcome, number = [tries.known() for tries in searches], Outcome(), 0
    pipelines: list[Pipeline] = []
    while len(all_of := [p for tries in searches for p in tries.pipelines()]) > len(pipelines):
        ran = {pipeline.evaluation.identity for pipeline in pipelines}
        pipelines, number = all_of, number + 1
        stages = all_stages(pipelines)
        # The record of a finished run stays until the study's own follows.
        if not all(is_there(one, root) for one in stages):
            write_record(root, [], about, also=pipelines)
        title = "search" if number == 1 else f"search, round {number}"
        new = [pipeline for pipeline in pipelines if pipeline.evaluation.identity not in ran]
        outcome = together(outcome, run_shown(new, root, launch, console, title))
        searches = [_and_next(tries, root, outcome) for tries in searches]
    stages = all_stages(pipelines)
    found = [_found(tries, root, outcome) for tries in searches]
    if None in found:
        write_record(root, [], about, outcome, also=pipelines)
        tell_failures(stages, outcome, console)
        raise failed_run(stages, outcome)
    return [one for one in found if one is not None], outcome


def planned(tries: Tries, root: Path) -> Tries:
    """What a search will try as far as its folder tells; random tries stand in for the rest."""
    so_far, count = tries.known(), 0
    while count < len(stages := all_stages(so_far.pipelines())):
        count = len(stages)
        if all(is_there(one, root) for one in stages):
            done = Outcome({one.identity: stage_folder(root, one) for one in stages})
            so_far = _and_next(so_far, root, done, ask=False)
    return so_far.filled(tries)


def _found(tries: Tries, root: Path, outcome: Outcome) -> Found | None:
    """The choices of a search; None where the baseline, or all tries of a variant, failed."""
    search, rule = tries.search, _rule(tries, root, outcome)
    if rule is None:
        return None
    chosen, variants, lines = {}, {}, []
    for variant, own in tries.of.items():
        scores = _scores(tries, variant, root, outcome)
        choice = choose(scores, rule)
        if choice is None:
            return None
        best = own[choice.number].settings
        chosen[variant] = best
        told = _sentence(variant, best, scores[choice.number], choice, tries.word)
        lines.append(told)
        variants[variant] = {
            "tries": len(own),
            "chosen": best,
            "note": choice.note,
            "tried": [
                {
                    "settings": one.settings,
                    **(asdict(score) if score else {"failed": True}),
                    "admissible": admissible,
                    "evaluations": _names(one.pipelines),
                }
                for one, score, admissible in zip(own, scores, choice.admissible, strict=True)
            ],
        }
    record = {
        "study": tries.where,
        **({"attacker": True} if tries.word == ATTACKER else {}),
        **{key: value for key, value in asdict(search).items() if key != "spaces"},
        "baseline": {
            "variant": tries.baseline,
            **asdict(rule.base),
            "evaluations": _names(tries.base),
        },
        "spaces": search.spaces,
        "variants": {
            **variants,
            **{
                variant: {"tries": 1}
                for variant in (tries.baseline, *tries.unsearched)
                if variant not in variants
            },
        },
    }
    if tries.unsearched and tries.word != ATTACKER:
        lines.append(f"Not searched, so with one try each: {', '.join(tries.unsearched)}.")
    told = _told(search, tries.baseline, rule.base, tries.word)
    return Found(chosen, record, [told, *lines], tries.pipelines())


def _and_next(tries: Tries, root: Path, outcome: Outcome, ask: bool = True) -> Tries:
    """With one round more where one is left; none can be asked for where the baseline failed."""
    rule = _rule(tries, root, outcome)
    if rule is None:
        return tries
    order = {v: rule.ranking(_scores(tries, v, root, outcome)) for v in tries.of}
    return tries.and_next(order, root, ask)


def _rule(tries: Tries, root: Path, outcome: Outcome) -> Rule | None:
    """What a search chooses by; None where its baseline failed."""
    where = f"{tries.where}: {tries.word}: {tries.baseline}"
    base = _score(tries.base, root, outcome, where, tries.word)
    search = tries.search
    harm = tries.word == ATTACKER
    return Rule(base, search.max_accuracy_loss, search.min_coherence, harm) if base else None


def _scores(tries: Tries, variant: str, root: Path, outcome: Outcome) -> list[Score | None]:
    where = f"{tries.where}: {tries.word}: {variant}"
    own = tries.of[variant]
    return [_score(one.pipelines, root, outcome, where, tries.word) for one in own]


def _names(pipelines: Sequence[Pipeline]) -> list[str]:
    return [pipeline.evaluation.name for pipeline in pipelines]


def _score(
    pipelines: Sequence[Pipeline], root: Path, outcome: Outcome, where: str, word: str
) -> Score | None:
    """The score over the seeds; None where a stage of one failed."""
    if any(pipeline.evaluation.identity not in outcome.folders for pipeline in pipelines):
        return None
    measured = (evaluation_of(stage_folder(root, one.evaluation)) for one in pipelines)
    try:
        return score_of([one["metrics"] for one in measured], harm=word == ATTACKER)
    except KeyError as error:
        raise UserError(
            f"{where}: the evaluation has no {error.args[0]}, by which a search chooses: name a "
            "protocol and a task that measure it."
        ) from None


def _told(search: Search, baseline: str, base: Score, word: str) -> str:
    seeds = f"{'seeds' if len(search.seeds) > 1 else 'seed'} {', '.join(map(str, search.seeds))}"
    by = "by TPE " if search.sampler == "tpe" else ""
    place = "".join(f", at {_words({axis: value})}" for axis, value in search.at.items())
    if word == ATTACKER:
        return (
            f"An attacker searched {by}with {search.tries} tries against each variant on "
            f"{seeds}{place}: its best is the highest mean HS of those that keep the FA within "
            f"{search.max_accuracy_loss:g} points of {baseline}'s ({base.finetune_accuracy:.1f} "
            f"there) and the answers coherent ({search.min_coherence:g} %)."
        )
    return (
        f"Settings were searched {by}with {search.tries} tries a variant on {seeds}{place}: chosen "
        f"is the lowest mean HS of those that cost at most {search.max_accuracy_loss:g} points of "
        f"{baseline}'s FA ({base.finetune_accuracy:.1f} there) and are coherent with every seed "
        f"({search.min_coherence:g} %)."
    )


def _sentence(
    variant: str, settings: Mapping[str, Any], score: Score | None, choice: Choice, word: str
) -> str:
    assert score is not None  # a failed try is not chosen
    told = f"HS {score.harmful_score:.1f}, FA {score.finetune_accuracy:.1f}"
    words = _words(settings) or "its own settings"
    whose = "The attacker's best against" if word == ATTACKER else "Chosen for"
    return f"{whose} {variant}: {words} ({told}{'; ' + choice.note if choice.note else ''})."


def _words(settings: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{name} = {value:g}" if isinstance(value, float) else f"{name} = {value}"
        for name, value in settings.items()
    )


def counted(pipelines: Sequence[Pipeline], tries: Tries | None) -> list[Pipeline]:
    """A study's pipelines with the number of tries of each: 1 where nothing was searched."""
    of = tries.of if tries else {}
    return [replace(p, tries=len(of.get(p.coords["variant"], ())) or 1) for p in pipelines]
