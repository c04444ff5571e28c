"""The commands that are groups of their own: ``holdfast data …`` and ``holdfast organism …``."""

from pathlib import Path
from typing import Annotated, Any

import typer

from holdfast.commands.help import App
from holdfast.commands.mistakes import in_range
from holdfast.commands.options import Format, Rows, console, console_for
from holdfast.settings.ranges import SEED

organism_app = App("The built-in model organism: look at its world, train it again.")
data_app = App("Data sets: list the known ones, prepare them as files, look at rows.")


def _seed(help_: str) -> Any:
    return typer.Option(metavar="N", callback=in_range(SEED), help=help_)


@data_app.command(name="list")
def list_data(form: Format = "text") -> None:
    """List the known data sets, their parts and their terms."""
    from holdfast.commands.data import list_command

    list_command(console_for(form))


@data_app.command()
def prepare(
    names: Annotated[
        list[str], typer.Argument(help="beavertails, sst2 and others: see `holdfast data list`.")
    ],
    copy: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="PLACE",
            help="A folder with copies in the Hub's layout, or the file of a data set with one "
            "split, read in place of the Hub; or a copy on the Hub, as owner/name.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="The folder of the files; $HOLDFAST_DATA or data/."),
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
    n: Rows = 10,
    kind: Annotated[
        str | None,
        typer.Option(help="Only rows of this kind, such as harmful, safe, benign, task."),
    ] = None,
    show_harmful: Annotated[
        bool, typer.Option("--show-harmful", help="Show the text of harmful rows too.")
    ] = False,
    form: Format = "text",
) -> None:
    """Print rows; the text of harmful ones only where it is asked for."""
    from holdfast.commands.data import show_command

    show_command(reference, n, kind, show_harmful, console_for(form))


@organism_app.command()
def train(
    output: Annotated[Path, typer.Option(metavar="DIR", help="A new folder for the weights.")],
    size: Annotated[str, typer.Option(help="small (the packaged one) or large.")] = "small",
    seed: Annotated[int, _seed("Decides the initial weights and the rows.")] = 0,
    form: Format = "text",
) -> None:
    """Make the organism's weights again from nothing but the code, and compare them."""
    from holdfast.commands.organism import train_command

    train_command(output, size, seed, console_for(form))


@organism_app.command()
def show(
    role: Annotated[
        str, typer.Argument(help="Which rows: alignment, user_task and others.")
    ] = "alignment",
    n: Rows = 10,
    seed: Annotated[int, _seed("Decides which.")] = 0,
    task: Annotated[str, typer.Option(help="sentiment, topic or sums.")] = "sentiment",
    form: Format = "text",
) -> None:
    """Print rows of the organism's world."""
    from holdfast.commands.organism import show_command

    show_command(role, n, seed, task, console_for(form))
