"""The command line, ``holdfast``.

Nothing here imports torch before a command has checked its words: a mistake is answered at once.
"""

import errno
import os
import signal
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from holdfast import __version__
from holdfast.commands.groups import HELP, console, data_app, organism_app
from holdfast.errors import FailedStagesError, Stopped, UserError
from holdfast.streams import speak_utf8


class Launcher(StrEnum):
    """Who runs the stages of a study."""

    local = "local"
    slurm = "slurm"


app = typer.Typer(
    help="Keep a language model's safety alignment through fine-tuning: align, fine-tune, repair, "
    "evaluate, any published defense at any stage.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings=HELP,
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


class StageCommand(TyperCommand):
    """A command whose help ends with every setting of its stage and of the stage's methods."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print the usual help, then the settings."""
        super().format_help(ctx, formatter)
        from holdfast.commands.settings_help import print_settings

        print_settings(str(self.name), console)


Words = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[MODEL] [KEY=VALUE]…",
        help="The model that the stage starts from, and settings over those of the file.",
        show_default=False,
    ),
]
Config = Annotated[Path | None, typer.Option("--config", help="A YAML file of settings.")]
Output = Annotated[Path | None, typer.Option("--output", help="A new folder for the result.")]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers", min=1, help="Stages side by side; the organism takes one a core, others one."
    ),
]


@app.command()
def demo(
    output: Annotated[Path, typer.Option(help="The folder of the run.")] = Path("results/demo"),
    seeds: Annotated[int, typer.Option(help="Seeds 0 to this number minus one.")] = 1,
    workers: Workers = None,
) -> None:
    """Show harmful fine-tuning and the defenses on the built-in model organism, in a minute."""
    from holdfast.commands.demo import run_demo

    run_demo(output, seeds, workers, console)


def _stage(kind: str, words: list[str] | None, config: Path | None, output: Path | None) -> None:
    from holdfast.commands.stage import run_stage

    run_stage(kind, words or [], config, output, console)


@app.command(cls=StageCommand)
def align(words: Words = None, config: Config = None, output: Output = None) -> None:
    """Stage 1: train a base model to refuse (sft, vaccine, t_vaccine, random_perturbation)."""
    _stage("align", words, config, output)


@app.command(cls=StageCommand)
def finetune(words: Words = None, config: Config = None, output: Output = None) -> None:
    """Stage 2: train the aligned model on a user's rows, some of them harmful (sft, lisa)."""
    _stage("finetune", words, config, output)


@app.command(cls=StageCommand)
def repair(words: Words = None, config: Config = None, output: Output = None) -> None:
    """Stage 3: repair a fine-tuned model or adapter, whoever trained it (antidote, random_mask).

    Without --output the result goes beside the adapter, its name with the method's added.
    """
    _stage("repair", words, config, output)


@app.command(cls=StageCommand)
def evaluate(words: Words = None, config: Config = None, output: Output = None) -> None:
    """Stage 4: measure a model: harmful score, accuracy, refusal, over-refusal, coherence, drift.

    Several models are compared, each with the first: did my fine-tuning break the safety? Without
    --output the numbers are shown and not kept.
    """
    _stage("evaluate", words, config, output)


@app.command()
def run(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE… [KEY=VALUE]…",
            help="YAML files, a pipeline or a whole study each, or papers' experiments such as "
            "paper/vaccine/table1; settings over theirs.",
        ),
    ],
    seeds: Annotated[
        int | None, typer.Option(min=1, help="Seeds 0 to this number minus one, for each pipeline.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="In the place of the files'; organism runs real models' studies small."),
    ] = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="Show what would run and what it costs; run nothing.")
    ] = False,
    output: Annotated[
        Path | None, typer.Option(help="The folder of the run; results/NAME if not given.")
    ] = None,
    workers: Workers = None,
    launcher: Annotated[
        Launcher,
        typer.Option(help="Who runs the stages: this machine, or jobs of a Slurm cluster."),
    ] = Launcher.local,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try again what failed in an earlier run.")
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="Run a very large grid without asking.")
    ] = False,
) -> None:
    """Run pipelines and studies from files into one table; stages that are there are used again."""
    from holdfast.commands.run import run_files
    from holdfast.engine.run import Launch

    launch = Launch(workers, launcher.value, retry_failed=retry_failed)
    run_files(words, seeds, output, console, launch, model, plan, yes)


Run = Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a run.")]


@app.command()
def report(
    root: Run,
    kind: Annotated[
        str, typer.Option("--format", help="terminal, markdown, latex, csv, parquet or html.")
    ] = "terminal",
    output: Annotated[
        Path | None,
        typer.Option(
            help="The file; without it the report is shown (html, parquet: DIR/report.…)."
        ),
    ] = None,
    baseline: Annotated[
        str | None, typer.Option(help="The variant to compare with; plain SFT if not given.")
    ] = None,
    metric: Annotated[
        list[str] | None, typer.Option("--metric", help="Only this metric; any number of them.")
    ] = None,
    figures: Annotated[
        Path | None, typer.Option(help="A folder for pictures of all rows and every swept axis.")
    ] = None,
) -> None:
    """Report a run, finished or not: table, worst case, budgets, differences to a baseline."""
    from holdfast.commands.report import show_report

    show_report(root, kind, output, baseline, metric, figures, console)


@app.command()
def status(root: Run) -> None:
    """Show which stages of a run are done, under way, failed and waiting."""
    from holdfast.commands.status import show_status

    show_status(root, console)


@app.command()
def logs(
    root: Run,
    stage: Annotated[str | None, typer.Argument(help="A stage's name, or its beginning.")] = None,
    lines: Annotated[int, typer.Option(min=1, help="The last lines.")] = 40,
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
    folder: Annotated[Path, typer.Argument(help="The folder of an align, finetune or repair.")],
    repo: Annotated[str, typer.Argument(help="The repository on the Hub, OWNER/NAME.")],
    evaluation: Annotated[
        list[Path] | None,
        typer.Option("--evaluation", help="A folder of its evaluation, for the card; any number."),
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
    output: Annotated[Path | None, typer.Option(help="A file for the card, README.md.")] = None,
) -> None:
    """Publish a stage's model on the Hugging Face Hub, with a model card."""
    from holdfast.commands.push import push_command

    push_command(folder, repo, evaluation or [], base, private, revision, dry_run, output, console)


@app.command(name="list")
def list_command(
    what: Annotated[
        str | None,
        typer.Argument(help="stages, methods, papers, protocols, judges or tasks; or all."),
    ] = None,
) -> None:
    """List stages, methods, papers, protocols, judges and the organism's tasks."""
    from holdfast.commands.list import print_lists

    print_lists(what, console)


# What is wrong with a file's name, wherever it was written.
_OF_A_NAME = (errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR, errno.EISDIR)


def _as_interrupt(number: int, frame: Any) -> None:
    """Take an asking to end (`holdfast cancel`, `kill`, a cluster) as Ctrl-C: work is saved."""
    interrupt = signal.getsignal(signal.SIGINT)
    if callable(interrupt):
        interrupt(number, frame)
    else:  # nohup, or a script that started this in the background, has Ctrl-C ignored
        raise KeyboardInterrupt


def main() -> Any:
    """Run the command line; a user's mistake is one sentence on stderr and exit code 2."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    speak_utf8()
    signal.signal(signal.SIGTERM, _as_interrupt)
    try:
        return app()
    except UserError as error:
        print(f"holdfast: {error}", file=sys.stderr)
        sys.exit(2)
    except FailedStagesError as error:
        print(f"holdfast: {error}", file=sys.stderr)
        sys.exit(1)
    except OSError as error:
        from holdfast.stages.disk import disk_trouble

        told = disk_trouble(error)
        if told is None:
            if error.errno not in _OF_A_NAME:
                raise
            told = f"'{str(error.filename)[:300]}' cannot be read: {error.strerror}."
        print(f"holdfast: {told}", file=sys.stderr)
        sys.exit(2)
    except Stopped as stop:
        told = str(stop) or "stopped; the same command goes on from here."
        print(f"holdfast: {told}", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
