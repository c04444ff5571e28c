"""What the commands do, once their words are read."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from holdfast.errors import FailedStagesError, Stopped, UserError
from holdfast.evaluate.judges.registry import check_keys
from holdfast.models.stack import ABOUT
from holdfast.models.stack import resolve as resolve_model
from holdfast.report.comparison import compare, read_run
from holdfast.report.table import comparison_table, markdown_table
from holdfast.settings import (
    Place,
    check,
    lines_of,
    load_yaml,
    merge,
    parse_overrides,
    words_lines,
)
from holdfast.studies.demo import demo_pipelines
from holdfast.studies.display import Display, told_apart
from holdfast.studies.doubts import doubts
from holdfast.studies.engine import Outcome
from holdfast.studies.folders import (
    checked_output,
    claim_root,
    disk_errors,
    put_aside,
    write_json,
    write_text,
)
from holdfast.studies.gpus import machine_notes
from holdfast.studies.methods import short_name
from holdfast.studies.plan import Pipeline, Stage, all_stages, make_stage
from holdfast.studies.record import write_record
from holdfast.studies.remembered import keep
from holdfast.studies.results import collect
from holdfast.studies.running import Launch, run_stages
from holdfast.studies.scratch import scratch_folder
from holdfast.studies.seen import recorded_overlaps, told
from holdfast.studies.stages import method_fields, resolve, stage_fields
from holdfast.studies.whole import is_finished

COMMAND_LINE = "the command line"


def run_stage(
    kind: str, words: Sequence[str], config: Path | None, output: Path | None, console: Console
) -> None:
    """Run one stage in this process: ``holdfast align``, ``finetune``, ``repair``, ``evaluate``.

    Several models after ``evaluate`` are compared.
    """
    if output is not None:
        is_root = kind == "evaluate" and sum("=" not in word for word in words) > 1
        output = checked_output(output, is_root)
    models, given = _given(kind, words, config)
    if len(models) > 1 and kind == "evaluate":
        from holdfast.studies.model_comparison import compare_models

        compare_models(models, given, output, console, COMMAND_LINE)
        return
    stage = stage_of(kind, words, config)
    if output is None:
        output = _default_output(stage)
        output = output and checked_output(output)
    if kind == "evaluate" and output is None:
        with scratch_folder() as folder:
            _run_here(stage, folder, console)
        return
    assert output is not None
    _run_here(stage, output, console)
    console.print(f"the result is in {output}", highlight=False, markup=False)


def stage_of(kind: str, words: Sequence[str], config: Path | None) -> Stage:
    """The stage that a command's words and file ask for; a word without ``=`` is the model.

    Raises:
        UserError: more than one model, or whatever is wrong with the stage.
    """
    models, given = _given(kind, words, config)
    if len(models) > 1:
        raise UserError(
            f"{COMMAND_LINE}: '{models[1]}' is one model too many; settings are written key=value."
        )
    said = words_lines(parse_overrides([word for word in words if "=" in word]), COMMAND_LINE)
    written = lines_of(config) if config else {}
    return make_stage(kind, given, where=Place(COMMAND_LINE, {**written, **said}))


def _given(
    kind: str, words: Sequence[str], config: Path | None
) -> tuple[list[str], dict[str, Any]]:
    """The models that the words name, and the settings of file and words together."""
    models = [word for word in words if "=" not in word]
    said = parse_overrides([word for word in words if "=" in word])
    if models:
        said = {**said, "model": models[0]}
    written = load_yaml(config) if config else {}
    given = merge(written, said)
    if config and written:
        # Settings that a resolved config.yaml holds beside a stage's own, for its readers.
        for key in ("stage", *ABOUT):
            written.pop(key, None)
            given.pop(key, None)
        # What a word replaces is not looked at: it may be what the word mends.
        kept = {k: v for k, v in written.items() if isinstance(said.get(k, {}), Mapping)}
        _check_file(kind, kept, given, Place(str(config), lines_of(config)))
    return models, given


def _check_file(
    kind: str, written: Mapping[str, Any], given: Mapping[str, Any], where: Place
) -> None:
    stack = resolve_model(str(given.get("model", "organism")))
    resolve(kind, {k: v for k, v in given.items() if k in ("method", "model")}, stack, where)
    method = str(given.get("method", getattr(stage_fields(kind).get("method"), "default", "")))
    check(written, {**stage_fields(kind), **method_fields(kind, method)}, where)


def _default_output(stage: Stage) -> Path | None:
    """A repair goes beside its model; other stages are told where to go."""
    model = Path(str(stage.settings["model"])).expanduser().resolve()
    if stage.kind == "evaluate":
        return None
    if stage.kind == "repair" and model.is_dir():
        return model.with_name(f"{model.name}-{short_name(stage.settings['method'])}")
    raise UserError(f"{COMMAND_LINE}: --output is missing: name a new folder for the result.")


def _run_here(stage: Stage, output: Path, console: Console) -> None:
    if is_finished(output, stage.identity):
        console.print(f"{output} holds this result already.", highlight=False, markup=False)
        _show_outcome(stage, output, console)
        return
    check_keys(stage.settings.get("judges", ()))
    if (aside := put_aside(output, stage.identity)) is not None:
        console.print(
            f"note: an interrupted run with other settings is kept in {aside}: those settings go "
            "on from it, or remove it.",
            highlight=False,
            markup=False,
        )
    _tell_doubts([stage], console)
    with Display(console, [stage], stage.kind) as display:
        for note in machine_notes([stage]):
            display.told(note)
        display.begun(stage)
        from holdfast.studies.execute import execute, stop_on_interrupt

        model = resolve_model(stage.settings["model"])
        reference = stage.settings.get("reference")
        with stop_on_interrupt() as stopping:
            execute(
                stage,
                output,
                model,
                resolve_model(reference) if reference else None,
                progress=lambda share, note: display.moved(stage, share, note),
                stopping=stopping,
            )
        display.ended(stage, "done")
    _show_outcome(stage, output, console)


def _show_outcome(stage: Stage, output: Path, console: Console) -> None:
    from holdfast.report.single import evaluation_table, judges_table, repair_summary

    if stage.kind == "evaluate":
        console.print(evaluation_table(output / "evaluation.json"))
        agreement = judges_table(output / "evaluation.json")
        if agreement is not None:
            console.print(agreement)
    elif (output / "repair_report.json").is_file():
        console.print(repair_summary(output / "repair_report.json"), highlight=False)
    _tell_overlaps([output], console)


def _tell_doubts(stages: Iterable[Stage], console: Console) -> None:
    for line in doubts(stages):
        console.print(f"note: {line}", highlight=False, markup=False)


def _tell_overlaps(folders: Iterable[Path], console: Console) -> None:
    """Say which rows of stages are alike without being a mistake, in one line for each case."""
    lines = (told(recorded_overlaps(folder)) for folder in folders)
    for line in dict.fromkeys(line for line in lines if line):
        console.print(f"note: {line}.", highlight=False, markup=False)


def run_demo(output: Path, seeds: int, workers: int | None, console: Console) -> None:
    """Run the demo: the phenomenon and the defenses, a table, a picture and results.json."""
    if seeds < 1:
        raise UserError(f"--seeds is {seeds}; it must be 1 or more.")
    title = "Harmful fine-tuning, and the defenses against it, on the model organism"
    about = {"title": title, "command": f"holdfast demo --seeds {seeds}"}
    pipelines = list(demo_pipelines(seeds))
    run_pipelines(pipelines, output, Launch(workers=workers), console, "demo", about)
    from holdfast.report.figure import comparison_figure

    run = read_run(output)
    comparison = compare(run)
    with disk_errors(output / "comparison.png"):
        comparison_figure(run, comparison, output / "comparison.png")
        write_text(output / "table.md", markdown_table(run, comparison))
    for line in (
        f"picture: {output / 'comparison.png'}",
        f"a page of it all: holdfast report {output} --format html",
    ):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def run_pipelines(
    pipelines: list[Pipeline],
    root: Path,
    launch: Launch,
    console: Console,
    title: str,
    about: Mapping[str, Any] | None = None,
    before: tuple[Sequence[Pipeline], Outcome] | None = None,
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
    _tell_doubts(all_stages(pipelines), console)
    outcome = run_shown(pipelines, root, launch, console, title)
    outcome = _together(ended, outcome)
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
    console.print(comparison_table(run, compare(run)))
    console.print(f"numbers: {root / 'results.json'}", highlight=False, markup=False)
    _tell_overlaps(outcome.folders.values(), console)
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


def _together(first: Outcome, then: Outcome) -> Outcome:
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
