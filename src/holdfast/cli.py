"""The command line, ``holdfast``.

Nothing here imports torch before a command has checked its words: a mistake is answered at once.
"""

from pathlib import Path
from typing import Annotated, Any, Literal, cast

import typer

from holdfast import __version__
from holdfast.commands import service
from holdfast.commands.ending import run_program
from holdfast.commands.groups import data_app, organism_app
from holdfast.commands.help import App, StageCommand
from holdfast.commands.mistakes import in_range, one_of
from holdfast.commands.options import (
    Config,
    Format,
    HelpAll,
    Output,
    Run,
    Seeds,
    Words,
    Workers,
    console,
    console_for,
)
from holdfast.commands.screen_words import screen

app = App(
    "Keep a language model's safety alignment through fine-tuning: align, fine-tune, repair, "
    "evaluate, published defenses at each stage."
)
app.add_typer(organism_app, name="organism")
app.add_typer(data_app, name="data")


def _show_version(asked: bool) -> None:
    if asked:
        print(f"holdfast {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """Options of the program itself."""


@app.command()
def demo(
    output: Annotated[Path, typer.Option(metavar="DIR", help="The folder of the run.")] = Path(
        "results/demo"
    ),
    seeds: Annotated[int, Seeds] = 1,
    workers: Workers = None,
    form: Format = "text",
) -> None:
    """Show harmful fine-tuning and the defenses on the built-in model organism, in a minute."""
    from holdfast.commands.demo import run_demo

    run_demo(output, seeds, workers, console_for(form))


def _stage(
    kind: str, words: list[str] | None, config: Path | None, output: Path | None, form: str
) -> None:
    from holdfast.commands.stage import run_stage

    run_stage(kind, words or [], config, output, console_for(form))


@app.command(cls=StageCommand)
def align(
    words: Words = None,
    config: Config = None,
    output: Output = None,
    form: Format = "text",
    help_all: HelpAll = False,
) -> None:
    """Stage 1: train a base model to refuse (sft, vaccine, and more)."""
    _stage("align", words, config, output, form)


app.command(cls=StageCommand)(screen)


@app.command(cls=StageCommand)
def finetune(
    words: Words = None,
    config: Config = None,
    output: Output = None,
    form: Format = "text",
    help_all: HelpAll = False,
) -> None:
    """Stage 2: train the aligned model on a user's rows, some of them harmful (lisa and more)."""
    _stage("finetune", words, config, output, form)


@app.command(cls=StageCommand)
def repair(
    words: Words = None,
    config: Config = None,
    output: Output = None,
    form: Format = "text",
    help_all: HelpAll = False,
) -> None:
    """Stage 3: repair a fine-tuned model or adapter, whoever trained it (antidote, and more).

    Without --output the result goes beside the adapter, its name with the method's added.
    """
    _stage("repair", words, config, output, form)


@app.command(cls=StageCommand)
def evaluate(
    words: Words = None,
    config: Config = None,
    output: Output = None,
    form: Format = "text",
    help_all: HelpAll = False,
) -> None:
    """Stage 4: measure a model: harmful score, accuracy, refusal, over-refusal, coherence, drift.

    Several models are compared, each with the first: did my fine-tuning break the safety? Without
    --output the numbers are shown and not kept.
    """
    _stage("evaluate", words, config, output, form)


app.command()(service.check)
app.command()(service.merge)


@app.command()
def run(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE [FILE ...] [KEY=VALUE ...]",
            help="YAML files, a pipeline or a whole study each, or papers' experiments such as "
            "paper/vaccine/table1; settings over theirs.",
        ),
    ],
    seeds: Annotated[int | None, Seeds] = None,
    model: Annotated[
        str | None,
        typer.Option(help="In the place of the files'; organism runs real models' studies small."),
    ] = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="Show what would run and what it costs; run nothing.")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="The folder of the run; results/NAME if not given."),
    ] = None,
    workers: Workers = None,
    launcher: Annotated[
        str,
        typer.Option(
            callback=one_of("local", "slurm"),
            help="Who runs the stages: local, this machine, or slurm, jobs of a cluster.",
        ),
    ] = "local",
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try again what failed in an earlier run.")
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="Run a very large grid without asking.")
    ] = False,
    form: Format = "text",
) -> None:
    """Run pipelines and studies from files into one table; stages that are there are used again."""
    from holdfast.commands.run import run_files
    from holdfast.engine.run import Launch

    launch = Launch(workers, cast(Literal["local", "slurm"], launcher), retry_failed=retry_failed)
    run_files(words, seeds, output, console_for(form), launch, model, plan, yes)


@app.command()
def report(
    root: Run,
    kind: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="FORMAT",
            help="terminal, markdown, latex, csv, parquet, html or json.",
        ),
    ] = "terminal",
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The file; without it the report is shown (html and parquet: a file in DIR).",
        ),
    ] = None,
    baseline: Annotated[
        str | None, typer.Option(help="The variant to compare with; plain SFT if not given.")
    ] = None,
    metric: Annotated[
        list[str] | None, typer.Option("--metric", help="Only this metric; any number of them.")
    ] = None,
    figures: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="A folder for pictures of all rows and every swept axis."),
    ] = None,
) -> None:
    """Report a run, finished or not: table, worst case, budgets, differences to a baseline."""
    from holdfast.commands.report import show_report

    show_report(root, kind, output, baseline, metric, figures, console_for(kind))


@app.command()
def status(root: Run, form: Format = "text") -> None:
    """Show which stages of a run are done, under way, failed and waiting."""
    from holdfast.commands.status import show_status

    show_status(root, console_for(form))


@app.command()
def logs(
    root: Run,
    stage: Annotated[str | None, typer.Argument(help="A stage's name, or its beginning.")] = None,
    lines: Annotated[
        int, typer.Option(metavar="N", callback=in_range(), help="The last lines.")
    ] = 40,
) -> None:
    """Show what a stage printed; without a stage, what there is, failures first."""
    from holdfast.commands.logs import show_logs

    show_logs(root, stage, lines, console)


@app.command()
def cancel(root: Run) -> None:
    """Stop a run: its stages save a state to go on from, its jobs on a cluster are ended."""
    from holdfast.commands.cancel import cancel_run

    cancel_run(root, console)


@app.command()
def gc(
    root: Run,
    yes: Annotated[bool, typer.Option("--yes", help="Remove without asking.")] = False,
) -> None:
    """Remove the stages that no study of a run's folder needs."""
    from holdfast.commands.gc import collect_garbage

    collect_garbage(root, yes, console)


@app.command()
def push(
    folder: Annotated[
        Path, typer.Argument(help="The folder of an align, finetune, repair or merge.")
    ],
    repo: Annotated[str, typer.Argument(help="The repository on the Hub, OWNER/NAME.")],
    evaluation: Annotated[
        list[Path] | None,
        typer.Option(
            "--evaluation",
            metavar="DIR",
            help="A folder of its evaluation, for the card; any number.",
        ),
    ] = None,
    base: Annotated[
        str | None, typer.Option(help="The base's name on the Hub, where it is a folder here.")
    ] = None,
    private: Annotated[
        bool | None,
        typer.Option("--private/--public", help="Who may see it; a new one is private."),
    ] = None,
    revision: Annotated[str | None, typer.Option(help="A branch; the main one if none.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Send nothing; show the files and the card.")
    ] = False,
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A file for the card, README.md.")
    ] = None,
) -> None:
    """Publish a stage's model on the Hugging Face Hub, with a model card."""
    from holdfast.commands.push import push_command

    push_command(folder, repo, evaluation or [], base, private, revision, dry_run, output, console)


@app.command(name="list")
def list_command(
    what: Annotated[
        str | None,
        typer.Argument(
            help="stages, methods, papers, attacks, protocols, judges or tasks; all if not given."
        ),
    ] = None,
    form: Format = "text",
) -> None:
    """List stages, methods, papers, attacks, protocols, judges and the organism's tasks."""
    from holdfast.commands.list import print_lists

    print_lists(what, console_for(form))


def main() -> Any:
    """Run the command line."""
    return run_program(app)


if __name__ == "__main__":
    main()
