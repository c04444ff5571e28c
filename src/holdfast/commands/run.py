"""``holdfast run``: studies from files or by the name of a paper's experiment."""

import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import typer
from rich.console import Console

from holdfast.commands.answers import answer
from holdfast.commands.asked import Asked, introduce, show_published, told_apart
from holdfast.commands.pipelines import COMMAND_LINE, run_pipelines, together
from holdfast.commands.searching import counted, planned, run_searches
from holdfast.engine.run import Launch
from holdfast.engine.schedule import Outcome
from holdfast.engine.slurm import SlurmSettings, check_cluster, slurm_settings
from holdfast.errors import Stopped, UserError
from holdfast.estimate.plan import is_there, plan_of, shown_plan
from holdfast.evaluate.judges.registry import check_keys
from holdfast.models.stack import ORGANISM
from holdfast.protocols import papers
from holdfast.settings import merge, parse_overrides
from holdfast.stages.folders import STAGES, checked_output
from holdfast.stages.pipeline import Pipeline, Stage, all_stages
from holdfast.stages.remembered import recall
from holdfast.studies.attacker import attacks_of, with_attacks
from holdfast.studies.grid import check_conditions, expand, points
from holdfast.studies.on_organism import on_organism
from holdfast.studies.search import Tries, tries_of
from holdfast.studies.study import Study, read_study, with_words

_LARGE = 1000  # pipelines that are run only after a question
_MANY = 50  # pipelines whose rows are not made for a plan


def run_files(
    words: Sequence[str],
    seeds: int | None,
    output: Path | None,
    console: Console,
    launch: Launch | None = None,
    model: str | None = None,
    plan: bool = False,
    yes: bool = False,
) -> None:
    """Run the studies in files, with one table of all.

    Args:
        words: files or papers' experiments (``paper/vaccine/table1``), and settings KEY=VALUE.
        seeds: seeds 0 to this number minus one in the place of the files'.
        output: the folder of the run.
        console: where to show it.
        launch: who runs the stages; what jobs ask of a cluster comes from the files and words.
        model: in the place of the files'; "organism" runs a study of real models small.
        plan: show what would run, and run nothing.
        yes: run a very large grid without asking.

    Raises:
        UserError: whatever is wrong with the words or the files.
        FailedStagesError: a stage failed; the others went on, and their results are written.
        Stopped: Ctrl-C; the same call goes on from there.
    """
    names = [word for word in words if "=" not in word]
    if not names:
        raise UserError(f"{COMMAND_LINE}: no file; name a YAML file, or a paper's experiment.")
    if len(set(names)) < len(names):
        raise UserError(f"{COMMAND_LINE}: the same file stands there twice.")
    said = parse_overrides([word for word in words if "=" in word])
    if seeds is not None:
        said["seeds"] = seeds
    if model is not None:
        said["model"] = model
    asked = told_apart([_asked(name, said) for name in names])
    count = sum(len(points(one.study)) for one in asked)
    if count > _LARGE and not (plan or yes):
        _ask(count, asked)
    title = names[0].removeprefix(papers.PREFIX).removesuffix(".yaml").strip("./")
    root = output or Path("results") / title.replace("/", "-")
    root = checked_output(root, is_root=True)
    if launch is not None and launch.launcher == "slurm" and not plan:
        check_cluster()
    # Of real models a plan reads and downloads nothing; the organism's rows are made in a moment,
    # but not those of thousands of settings, unless there is something of an earlier run to find.
    kept = recall(root)
    large = count > _MANY and not kept and not (root / STAGES).is_dir()
    by_name = plan and (large or not all(_is_of_organism(one.study) for one in asked))
    known: dict[str, Stage] = {}
    tried = [tries_of(one.study, by_name, known) for one in asked]
    searches = [one for one in tried if one]
    first = [one.first() if one else {} for one in tried]
    attacked = _attacks(asked, first, by_name, known)
    # A choice that stands in for the attacker's, which is not known yet.
    last = [{v: t[-1].settings for v, t in one.of.items()} if one else {} for one in attacked]
    pipelines = _pipelines(asked, tried, first, by_name, known, last)
    for one in asked:
        introduce(one, console)
    searched = [p for one in searches for p in planned(one, root).pipelines()]
    attacking = [p for one in attacked if one for p in planned(one, root).pipelines()]
    for stage in all_stages([*pipelines, *searched, *attacking]):
        if not is_there(stage, root):
            check_keys(stage.settings.get("judges", ()))
    if plan:
        stands_in = any(one.search.sampler == "tpe" for one in searches)
        rest = ", with tries at random where TPE's are not known yet" if stands_in else ""
        parts = [plan_of(searched, root, by_name, f"The search{rest}")] if searched else []
        if attacking:
            heading = "The attacker's search, with tries at random where others are not known yet"
            parts.append(plan_of(attacking, root, by_name, heading))
        heading = "The study, with every variant's first try: the choice is not known yet"
        parts.append(plan_of(pipelines, root, by_name, heading if searched or attacking else ""))
        content = {"folder": root, "plans": [part.content() for part in parts]}
        answer(console, "run --plan", content, *(o for p in parts for o in shown_plan(p, root)))
        return
    more = len(searched) + len(attacking)
    if count <= _LARGE < count + more and not yes:
        _ask(count + more, asked)
    about = {
        "title": " and ".join(one.study.title for one in asked),
        "command": _command(words, seeds, model),
        "about": [{**one.study.about, "title": one.study.title} for one in asked],
        "notes": [note for one in asked for note in one.notes],
        "published": [entry for one in asked for entry in one.study.published],
    }
    launch = replace(launch or Launch(), slurm=_slurm(asked))
    before, choices = None, first
    if searches:
        choices, before, about = _searched(tried, root, launch, console, about, before)
    if any(attacked):
        attacked = _attacks(asked, choices, by_name, known)
        last, before, about = _searched(attacked, root, launch, console, about, before)
    if before:
        pipelines = _pipelines(asked, tried, choices, by_name, known, last)
    results = run_pipelines(pipelines, root, launch, console, Path(title).name, about, before)
    show_published(asked, results, root, console)


_Choices = list[dict[str, dict[str, Any]]]
_Before = tuple[list[Pipeline], Outcome] | None


def _searched(
    tried: Sequence[Tries | None],
    root: Path,
    launch: Launch,
    console: Console,
    about: dict[str, Any],
    before: _Before,
) -> tuple[_Choices, _Before, dict[str, Any]]:
    """Run searches; gives what each study's has chosen, what ran for it, and what is to be told."""
    found, ended = run_searches([one for one in tried if one], root, launch, console, about)
    chosen = iter(found)
    choices = [next(chosen).chosen if one else {} for one in tried]
    notes = [note for one in found for note in one.notes]
    for note in notes:
        console.print(note, markup=False, highlight=False)
    about = {
        **about,
        "notes": [*about["notes"], *notes],
        "search": [*about.get("search", []), *(one.record for one in found)],
    }
    ran = [pipeline for one in found for pipeline in one.pipelines]
    if before:
        ran, ended = [*before[0], *ran], together(before[1], ended)
    return choices, (ran, ended), about


def _attacks(
    asked: Sequence[Asked], chosen: _Choices, by_name: bool, known: dict[str, Stage]
) -> list[Tries | None]:
    """What the studies' attackers try against what their searches have chosen."""
    return [
        attacks_of(replace(one.study, chosen=own), by_name, known)
        for one, own in zip(asked, chosen, strict=True)
    ]


def _pipelines(
    asked: Sequence[Asked],
    tried: Sequence[Tries | None],
    chosen: _Choices,
    by_name: bool,
    known: dict[str, Stage],
    attacks: _Choices,
) -> list[Pipeline]:
    """The pipelines of all studies with their chosen settings; where one searches, with tries."""
    made = []
    for one, tries, own, attack in zip(asked, tried, chosen, attacks, strict=True):
        study = replace(one.study, chosen=own)
        new = expand(study, by_name, known)
        new = counted(new, tries) if any(tried) else new
        made += with_attacks(study, new, attack, by_name, known) if attack else new
    return _told_apart(made)


def _is_of_organism(study: Study) -> bool:
    models = [study.shared.get("model", ORGANISM)]
    models += [stages["model"] for stages in study.variants.values() if "model" in stages]
    return all(model == ORGANISM for model in models)


def _ask(count: int, asked: Sequence[Asked]) -> None:
    """Let the user confirm a very large grid; where nobody can answer, ask for --yes."""
    if not sys.stdin.isatty():
        raise UserError(
            f"{' and '.join(one.study.where for one in asked)}: the grid has {count:,} pipelines: "
            "look at --plan, then add --yes to run it."
        )
    if not typer.confirm(f"The grid has {count:,} pipelines. Run them?"):
        raise Stopped


def _slurm(asked: Sequence[Asked]) -> SlurmSettings:
    """What jobs ask of the cluster; where several files say it, the last one's word counts."""
    settings: dict[str, Any] = {}
    for one in asked:
        settings = merge(settings, one.study.slurm)
    return slurm_settings(settings, asked[0].study.where)


def _command(words: Sequence[str], seeds: int | None, model: str | None) -> str:
    """What was typed, but where it was written: that changes nothing."""
    options = [] if seeds is None else ["--seeds", str(seeds)]
    options += [] if model is None else ["--model", model]
    return shlex.join(["holdfast", "run", *words, *options])


def _asked(name: str, said: dict[str, Any]) -> Asked:
    path = papers.find(name) if name.startswith(papers.PREFIX) else Path(name)
    study, notes = read_study(path, name), []
    check_conditions(study)
    if said.get("model") == ORGANISM and study.shared.get("model", ORGANISM) != ORGANISM:
        study, notes = on_organism(study)
        said = {key: value for key, value in said.items() if key != "model"}
    return Asked(name, with_words(study, said, COMMAND_LINE), notes)


def _told_apart(pipelines: Sequence[Pipeline]) -> list[Pipeline]:
    """A table names pipelines by their methods; those that are alike there get their own name."""
    variants: dict[tuple[Any, ...], set[str]] = {}
    for pipeline in pipelines:
        variants.setdefault(pipeline.methods(), set()).add(pipeline.coords["variant"])
    return [
        replace(pipeline, variant=pipeline.coords["variant"])
        if len(variants[pipeline.methods()]) > 1
        else pipeline
        for pipeline in pipelines
    ]
