"""``holdfast run``: studies from files or by the name of a paper's experiment."""

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import typer
from rich.console import Console

from holdfast import protocols
from holdfast.errors import Stopped, UserError
from holdfast.models.stack import ORGANISM
from holdfast.protocols import papers
from holdfast.report.published_table import published_markdown, published_table
from holdfast.settings import merge, parse_overrides
from holdfast.studies.commands import COMMAND_LINE, run_pipelines
from holdfast.studies.folders import disk_errors, write_text
from holdfast.studies.grid import expand, points
from holdfast.studies.on_organism import on_organism
from holdfast.studies.plan import Pipeline
from holdfast.studies.planning import print_plan
from holdfast.studies.running import Launch
from holdfast.studies.slurm import SlurmSettings, slurm_settings
from holdfast.studies.study import Study, read_study, with_words

_LARGE = 1000  # pipelines


@dataclass(frozen=True)
class _Asked:
    """A study that was asked for, and what a reader of its results must know."""

    study: Study
    notes: list[str]


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
    asked = [_asked(name, said) for name in names]
    pipelines = _named([expand(one.study, by_name=plan) for one in asked], names)
    title = names[0].removeprefix(papers.PREFIX).removesuffix(".yaml").strip("./")
    root = output or Path("results") / title.replace("/", "-")
    for one in asked:
        _introduce(one, console)
    if plan:
        print_plan(pipelines, root, console)
        return
    if len(pipelines) > _LARGE and not yes:
        _ask(len(pipelines))
    about = {
        "title": " and ".join(one.study.title for one in asked),
        "command": _command(words, seeds, model),
        "about": [{**one.study.about, "title": one.study.title} for one in asked],
        "notes": [note for one in asked for note in one.notes],
        "published": [entry for one in asked for entry in one.study.published],
    }
    launch = replace(launch or Launch(), slurm=_slurm(asked))
    results = run_pipelines(pipelines, root, launch, console, Path(title).name, about)
    for one in asked:
        if one.study.published:
            _show_published(one, results, root, console)


def _ask(count: int) -> None:
    """Let the user confirm a very large grid; where nobody can answer, ask for --yes."""
    if not sys.stdin.isatty():
        raise UserError(
            f"the grid has {count:,} pipelines: look at --plan, then add --yes to run it."
        )
    if not typer.confirm(f"The grid has {count:,} pipelines. Run them?"):
        raise Stopped


def _slurm(asked: Sequence[_Asked]) -> SlurmSettings:
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


def _asked(name: str, said: dict[str, Any]) -> _Asked:
    path = papers.find(name) if name.startswith(papers.PREFIX) else Path(name)
    study, notes = read_study(path, name), []
    if said.get("model") == ORGANISM and study.shared.get("model", ORGANISM) != ORGANISM:
        study, notes = on_organism(study)
        said = {key: value for key, value in said.items() if key != "model"}
    return _Asked(with_words(study, said, COMMAND_LINE), notes)


def _named(made: list[list[Pipeline]], names: Sequence[str]) -> list[Pipeline]:
    """All pipelines, told apart by the file where two files have the same place in a grid."""
    places = [{str(sorted(p.coords.items())) for p in pipelines} for pipelines in made]
    clash = any(a & b for i, a in enumerate(places) for b in places[:i])
    found = []
    for name, pipelines in zip(names, made, strict=True):
        for pipeline in pipelines:
            coords = dict(pipeline.coords)
            if clash:
                coords["variant"] = f"{Path(name).stem}: {coords['variant']}"
            found.append(replace(pipeline, coords=coords))
    return [_told_apart(pipeline, found) for pipeline in found]


def _told_apart(pipeline: Pipeline, others: Sequence[Pipeline]) -> Pipeline:
    """A table names pipelines by their methods; those that are alike there get their own name."""
    own = pipeline.coords["variant"]
    alike = (p for p in others if p.methods() == pipeline.methods())
    return (
        replace(pipeline, variant=own)
        if any(p.coords["variant"] != own for p in alike)
        else pipeline
    )


def _introduce(asked: _Asked, console: Console) -> None:
    study = asked.study
    if study.about:
        where = ", ".join(study.about[key] for key in ("paper", "source") if key in study.about)
        console.print(f"{study.title} ({where})", markup=False, highlight=False, style="bold")
    for line in [study.about.get("note"), *asked.notes]:
        if line:
            console.print(line, markup=False, highlight=False)


def _show_published(asked: _Asked, results: dict[str, Any], root: Path, console: Console) -> None:
    places = [point.coords for point in points(asked.study)]
    differences = [*asked.notes, *_differences(asked.study, results)]
    reduced = "changed" in results["protocol"]["version"]
    given = (results, asked.study.published, places, differences, reduced)
    console.print(published_table(*given))
    with disk_errors(root / "published.md"):
        write_text(root / "published.md", published_markdown(*given))


def _differences(study: Study, results: dict[str, Any]) -> list[str]:
    """How this run's measuring differs from the paper's."""
    used = results["protocol"]
    wanted = study.settings.get("evaluate", {}).get("protocol")
    found = [f"Measured by {used['name']} (version {used['version']}): {used['description']}"]
    if wanted and wanted != used["name"]:
        theirs = protocols.get(wanted)
        found.append(f"The paper's protocol is {wanted}: {theirs.description}")
    if "note" in study.about:
        found.append(study.about["note"])
    seeds = {record["seed"] for record in results["records"]}
    if len(seeds) == 1:
        found.append("One seed, as in the paper: the difference may be the seed's.")
    return found
