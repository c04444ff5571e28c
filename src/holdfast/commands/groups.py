"""The commands that are groups of their own: ``holdfast data …`` and ``holdfast organism …``."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

console = Console()
HELP = {"help_option_names": ["-h", "--help"]}

organism_app = typer.Typer(
    help="The built-in model organism: look at its world, train it again.",
    no_args_is_help=True,
    context_settings=HELP,
)
data_app = typer.Typer(
    help="Data sets: list the known ones, prepare them as files, look at rows.",
    no_args_is_help=True,
    context_settings=HELP,
)


@data_app.command(name="list")
def list_data() -> None:
    """List the known data sets, their parts and their terms."""
    from holdfast.commands.data import list_command

    list_command(console)


@data_app.command()
def prepare(
    names: Annotated[list[str], typer.Argument(help="beavertails, sst2, …: see `data list`.")],
    copy: Annotated[
        str | None,
        typer.Option(
            "--from",
            help="A folder with copies in the Hub's layout, or the file of a data set with one "
            "split, read in place of the Hub; or a copy on the Hub, as owner/name.",
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="The folder of the files; $HOLDFAST_DATA or data/.")
    ] = None,
) -> None:
    """Write known data sets as files, normalised, with a manifest; goes on where it stopped."""
    from holdfast.commands.data import prepare_command

    prepare_command(names, copy, output, console)


@data_app.command(name="show")
def show_data(
    reference: Annotated[
        str, typer.Argument(help="NAME, NAME:PART, a file, or hub:owner/name:split.")
    ],
    n: Annotated[int, typer.Option("--rows", min=1, help="How many.")] = 10,
    kind: Annotated[
        str | None, typer.Option(help="Only rows of this kind: harmful, safe, benign, task, …")
    ] = None,
    show_harmful: Annotated[
        bool, typer.Option("--show-harmful", help="Show the text of harmful rows too.")
    ] = False,
) -> None:
    """Print rows; the text of harmful ones only where it is asked for."""
    from holdfast.commands.data import show_command

    show_command(reference, n, kind, show_harmful, console)


@organism_app.command()
def train(
    output: Annotated[Path, typer.Option(help="A new folder for the weights.")],
    size: Annotated[str, typer.Option(help="small (the packaged one) or large.")] = "small",
    seed: Annotated[int, typer.Option(help="Decides the initial weights and the rows.")] = 0,
) -> None:
    """Make the organism's weights again from nothing but the code, and compare them."""
    from holdfast.commands.organism import train_command

    train_command(output, size, seed)


@organism_app.command()
def show(
    role: Annotated[str, typer.Argument(help="Which rows: alignment, user_task, …")] = "alignment",
    n: Annotated[int, typer.Option("--rows", help="How many.")] = 10,
    seed: Annotated[int, typer.Option(help="Decides which.")] = 0,
    task: Annotated[str, typer.Option(help="sentiment, topic or sums.")] = "sentiment",
) -> None:
    """Print rows of the organism's world."""
    from holdfast.commands.organism import show_command

    show_command(role, n, seed, task)
