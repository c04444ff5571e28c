"""The words of ``holdfast screen``."""

from typing import Annotated

import typer

from holdfast.commands.mistakes import in_range
from holdfast.commands.options import Config, Format, HelpAll, Output, console_for


def screen(
    rows: Annotated[
        str,
        typer.Argument(
            metavar="ROWS",
            help="The user's rows: a file (JSON lines, CSV, Parquet), NAME:PART, "
            "hub:owner/name@revision:split, or organism.",
        ),
    ],
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE ...]", help="Settings over those of the file."),
    ] = None,
    method: Annotated[str | None, typer.Option(help="The screen.")] = None,
    model: Annotated[
        str | None, typer.Option(help="The aligned model, for a screen that looks with it.")
    ] = None,
    config: Config = None,
    output: Output = None,
    mark: Annotated[
        bool, typer.Option("--mark", help="Keep all rows, with the score and reason of each.")
    ] = False,
    max_dropped: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            callback=in_range("[0, 1]"),
            help="Exit with 1 if more than this share of the rows is flagged.",
        ),
    ] = None,
    show_harmful: Annotated[
        bool, typer.Option("--show-harmful", help="Show the text of a few flagged rows.")
    ] = False,
    form: Format = "text",
    help_all: HelpAll = False,
) -> None:
    """Before stage 2: take the rows out of a user's that would undo the alignment.

    What is kept goes into DIR in the rows' own format, what is dropped beside it with the reason.
    """
    from holdfast.commands.screen import Shown, screen_command

    given = {"method": method, "model": model}
    shown = Shown(mark, max_dropped, show_harmful)
    screen_command(rows, words or [], given, config, output, shown, console_for(form))
