"""Run pipelines in one folder and show their table: for ``run``, ``demo`` and searches."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from holdfast.commands.answers import answer
from holdfast.engine.display import Display, told_apart
from holdfast.engine.record import write_record
from holdfast.engine.results import collect
from holdfast.engine.run import Launch, run_stages
from holdfast.engine.schedule import Outcome
from holdfast.errors import FailedStagesError, Stopped, UserError
from holdfast.report import export
from holdfast.report.comparison import compare, read_run
from holdfast.report.table import comparison_table
from holdfast.stages.disk import disk_errors, write_json
from holdfast.stages.doubts import doubts
from holdfast.stages.folders import claim_root
from holdfast.stages.pipeline import Pipeline, Stage, all_stages
from holdfast.stages.remembered import keep
from holdfast.stages.seen import recorded_overlaps, told

COMMAND_LINE = "the command line"


def tell_doubts(stages: Iterable[Stage], console: Console) -> None:
    """Say of stages what is no mistake, and may not be what was meant."""
    for line in doubts(stages):
        console.print(f"note: {line}", highlight=False, markup=False)


def tell_overlaps(folders: Iterable[Path], console: Console) -> None:
    """Say which rows of stages are alike without being a mistake, in one line for each case."""
    lines = (told(recorded_overlaps(folder)) for folder in folders)
    for line in dict.fromkeys(line for line in lines if line):
        console.print(f"note: {line}.", highlight=False, markup=False)


def run_pipelines(
    pipelines: list[Pipeline],
    root: Path,
    launch: Launch,
    console: Console,
    title: str,
    about: Mapping[str, Any] | None = None,
    before: tuple[Sequence[Pipeline], Outcome] | None = None,
    command: str = "run",
) -> dict[str, Any]:
    """Run pipelines in one folder, write results.json there, show the table; gives its content.

    Args:
        pipelines: the pipelines.
        root: the folder of the run.
        launch: who runs the stages.
        console: where to show it.
        title: what the run is.
        about: what study.json says of it beside that.
        before: the pipelines of a search that were run for it, and how that ended.
        command: the command's name, for its JSON document.

    Raises:
        UserError: what is wrong with the request, or all that failed did so by a user's mistake.
        FailedStagesError: a stage failed; the others went on, and their results are written.
        Stopped: Ctrl-C; the same call goes on from there.
    """
    claim_root(root)
    keep(root)
    searched, ended = before or ((), Outcome())
    about = {"title": title, **(about or {})}
    write_record(root, pipelines, about, also=searched)
    tell_doubts(all_stages(pipelines), console)
    outcome = run_shown(pipelines, root, launch, console, title)
    outcome = together(ended, outcome)
    stages = all_stages([*searched, *pipelines])
    write_record(root, pipelines, about, outcome, also=searched)
    tell_failures(stages, outcome, console)
    finished = [p for p in pipelines if p.evaluation.identity in outcome.folders]
    if not finished:
        raise failed_run(stages, outcome)
    results = collect(finished, root)
    with disk_errors(root / "results.json"):
        write_json(root / "results.json", results)
    run = read_run(root)
    comparison = compare(run)
    content = export.content(run, comparison)
    answer(console, command, content, comparison_table(run, comparison))
    console.print(f"numbers: {root / 'results.json'}", highlight=False, markup=False)
    tell_overlaps(outcome.folders.values(), console)
    if outcome.failures:
        raise failed_run(stages, outcome)
    return results


def run_shown(
    pipelines: Sequence[Pipeline], root: Path, launch: Launch, console: Console, title: str
) -> Outcome:
    """Run the stages of pipelines, shown on the terminal.

    Raises:
        UserError: the disk is full, or the launcher is not there.
        Stopped: Ctrl-C; the same call goes on from there.
    """
    stages = all_stages(pipelines)
    with Display(console, stages, title) as display:
        try:
            return run_stages(stages, root, display, launch)
        except KeyboardInterrupt:
            raise Stopped from None


def together(first: Outcome, then: Outcome) -> Outcome:
    """How two runs in one folder ended."""
    return Outcome(
        {**first.folders, **then.folders},
        {**first.failures, **then.failures},
        {**first.mistakes, **then.mistakes},
        [*first.skipped, *then.skipped],
    )


def tell_failures(stages: Sequence[Stage], outcome: Outcome, console: Console) -> None:
    """Show what went wrong in which stage."""
    names = told_apart(stages) if outcome.failures else {}
    for stage in stages:
        if stage.identity in outcome.failures:
            name = escape(names[stage.identity])
            console.print(f"[red]{name} failed:[/red]", highlight=False)
            console.print(outcome.failures[stage.identity], markup=False, highlight=False)


def failed_run(stages: Sequence[Stage], outcome: Outcome) -> UserError | FailedStagesError:
    """What to end with; where only mistakes were met, the first of them."""
    failures, mistakes = outcome.failures, outcome.mistakes
    count = f"{len(failures)} of {len(stages)} stages failed"
    if failures.keys() == mistakes.keys():
        first = next(iter(mistakes.values()))
        return UserError(first if len(mistakes) == 1 else f"{count}; the first: {first}")
    return FailedStagesError(f"{count}; see above. --retry-failed tries them again.")
