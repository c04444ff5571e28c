"""What `holdfast organism …` does: make the weights again, show the world's rows."""

from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from holdfast.commands.answers import answer
from holdfast.organism import folder
from holdfast.organism.rows import rows

_ROWS = 200  # of each figure of the comparison


def train_command(output: Path, size: str, seed: int, console: Console) -> None:
    """Pretrain an organism into a folder, and print how it compares with the packaged one.

    Args:
        output: A new or empty folder for config, fp16 weights and tokenizer.
        size: "small" or "large".
        seed: Chooses initial weights and the stream of rows.
        console: Where to show it.

    Raises:
        UserError: As `pretrain.train`.
    """
    from holdfast.organism.measure import compare
    from holdfast.organism.pretrain import train

    columns = (
        TextColumn("pretraining"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]:.3f}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bar:
        shown = bar.add_task("", total=None, loss=float("nan"))
        train(
            output,
            size,
            seed,
            lambda step, total, loss: bar.update(shown, completed=step, total=total, loss=loss),
        )
    found = compare(output, folder(), _ROWS)
    title = f"greedy answers, % of at most {_ROWS} rows each"
    table = Table("figure", str(output), "the packaged one", title=title)
    for name, values in found.items():
        table.add_row(name, *(f"{value:.1f}" for value in values))
    figures = {name: {"new": new, "packaged": old} for name, (new, old) in found.items()}
    content = {"folder": output, "size": size, "seed": seed, "figures": figures}
    answer(console, "organism train", content, table)


def show_command(role: str, n: int, seed: int, task: str, console: Console) -> None:
    """Print the first n rows of a role as a table.

    Args:
        role: One of `rows.ROLES`.
        n: How many rows.
        seed: Chooses the rows.
        task: "sentiment", "topic" or "sums", for the task roles.
        console: Where to show them.

    Raises:
        UserError: As `rows.rows`.
    """
    found = rows(role, n, seed, task)
    table = Table("kind", "question", "answer", title=f"{role} · seed {seed}")
    for row in found:
        question = "\n".join(part for part in (row["instruction"], row["input"]) if part)
        table.add_row(row["kind"], question, row["output"])
    content = {"role": role, "seed": seed, "task": task, "rows": found}
    answer(console, "organism show", content, table)
