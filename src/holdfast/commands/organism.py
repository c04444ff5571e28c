"""What `holdfast organism …` does: make the weights again, show the world's rows."""

from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from holdfast.organism import folder
from holdfast.organism.rows import rows


def train_command(output: Path, size: str = "small", seed: int = 0) -> None:
    """Pretrain an organism into a folder, and print how it compares with the packaged one.

    Args:
        output: A new or empty folder for config, fp16 weights and tokenizer.
        size: "small" or "large".
        seed: Chooses initial weights and the stream of rows.

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
    with Progress(*columns) as bar:
        shown = bar.add_task("", total=None, loss=float("nan"))
        train(
            output,
            size,
            seed,
            lambda step, total, loss: bar.update(shown, completed=step, total=total, loss=loss),
        )
    compare(output, folder())


def show_command(role: str, n: int = 10, seed: int = 0, task: str = "sentiment") -> None:
    """Print the first n rows of a role as a table.

    Args:
        role: One of `rows.ROLES`.
        n: How many rows.
        seed: Chooses the rows.
        task: "sentiment", "topic" or "sums", for the task roles.

    Raises:
        UserError: As `rows.rows`.
    """
    table = Table("kind", "question", "answer", title=f"{role} · seed {seed}")
    for row in rows(role, n, seed, task):
        question = "\n".join(part for part in (row["instruction"], row["input"]) if part)
        table.add_row(row["kind"], question, row["output"])
    Console().print(table)
