"""Options and arguments that several commands have."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from holdfast.commands.help import show_everything
from holdfast.commands.mistakes import in_range, one_of

console = Console()

Format = Annotated[
    str,
    typer.Option(
        "--format",
        metavar="FORMAT",
        callback=one_of("text", "json"),
        help="text, or json: one document on the standard output, notes on the standard error.",
    ),
]


def console_for(form: str) -> Console:
    """Where a command shows what it has to say."""
    if form == "json":
        from holdfast.commands.answers import Documents

        return Documents()
    return console


Words = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[MODEL] [KEY=VALUE ...]",
        help="The model that the stage starts from, and settings over those of the file.",
        show_default=False,
    ),
]
Config = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="A YAML file of settings.")
]
Output = Annotated[
    Path | None, typer.Option("--output", metavar="DIR", help="A new folder for the result.")
]
HelpAll = Annotated[
    bool,
    typer.Option(
        "--help-all",
        is_eager=True,
        callback=show_everything,
        help="Show every setting, those of transformers too, and exit.",
    ),
]
Seeds = typer.Option(
    metavar="N", callback=in_range(), help="Seeds 0 to this number minus one, for each pipeline."
)
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers",
        metavar="N",
        callback=in_range(),
        help="Stages side by side; the organism takes one a core, others one.",
    ),
]
Run = Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a run.")]
Rows = Annotated[int, typer.Option("--rows", metavar="N", callback=in_range(), help="How many.")]
