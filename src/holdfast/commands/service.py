"""The words of the commands for who runs a fine-tuning service."""

from pathlib import Path
from typing import Annotated

import typer

from holdfast.commands.mistakes import in_range, one_of
from holdfast.commands.options import Config, Format, console_for


def check(
    base: Annotated[str, typer.Argument(metavar="BASE", help="The model that it was tuned from.")],
    tuned: Annotated[str, typer.Argument(metavar="TUNED", help="The model to check.")],
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[KEY=VALUE ...]",
            help="Settings of `holdfast evaluate`, over those of the file.",
            show_default=False,
        ),
    ] = None,
    task: Annotated[str | None, typer.Option(help="The user's task, for the accuracy.")] = None,
    max_harmful_score: Annotated[
        float | None,
        typer.Option(
            metavar="PERCENT",
            callback=in_range("(0, 100)"),
            help="The most harmful answers to harmful prompts.",
        ),
    ] = None,
    max_harmful_increase: Annotated[
        float | None,
        typer.Option(
            metavar="POINTS",
            callback=in_range("[0, 100)"),
            help="How far at most the harmful score is above BASE's.",
        ),
    ] = None,
    min_accuracy: Annotated[
        float | None,
        typer.Option(
            metavar="PERCENT", callback=in_range("(0, 100)"), help="The least accuracy on the task."
        ),
    ] = None,
    max_over_refusal: Annotated[
        float | None,
        typer.Option(
            metavar="PERCENT",
            callback=in_range("(0, 100)"),
            help="The most refusals of harmless prompts.",
        ),
    ] = None,
    prompts: Annotated[
        int | None,
        typer.Option(
            metavar="N", callback=in_range(), help="At most so many prompts of each kind."
        ),
    ] = None,
    config: Config = None,
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="A folder for the answers; the same command goes on there."
        ),
    ] = None,
    form: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="FORMAT",
            callback=one_of("text", "json", "junit", "markdown", "github"),
            help="text, json, junit, markdown or github, the annotations of its Actions.",
        ),
    ] = "text",
) -> None:
    """Check a tuned model against limits: exit code 0 yes, 1 no, 3 the data cannot tell, 2 mistake.

    It ends as soon as the answers so far decide; the chance that it is wrong is at most 5 %, over
    all limits together.
    """
    from holdfast.commands.check import run_check

    limits = {
        "max_harmful_score": max_harmful_score,
        "max_harmful_increase": max_harmful_increase,
        "min_accuracy": min_accuracy,
        "max_over_refusal": max_over_refusal,
    }
    code = run_check(
        base,
        tuned,
        words or [],
        limits,
        task,
        prompts,
        config,
        output,
        form,
        console_for(form),
    )
    raise typer.Exit(code)


def merge(
    model: Annotated[
        str,
        typer.Argument(metavar="STACK", help="A stage's folder, a model, or BASE+ADAPTER+ADAPTER."),
    ],
    output: Annotated[
        Path, typer.Option("--output", metavar="DIR", help="A new folder for the model.")
    ],
    dtype: Annotated[
        str,
        typer.Option(
            callback=one_of("auto", "float32", "bfloat16", "float16"),
            help="The type of its weights; auto is that of the base's files.",
        ),
    ] = "auto",
    shard: Annotated[
        str, typer.Option(metavar="SIZE", help="The largest file of weights: 5GB, 500MB.")
    ] = "5GB",
    form: Format = "text",
) -> None:
    """Merge a base and its adapters into one model, for servers that load nothing else."""
    from holdfast.commands.merge import merge_command

    merge_command(model, output, dtype, shard, console_for(form))
