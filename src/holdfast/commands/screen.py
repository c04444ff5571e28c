"""``holdfast screen``: a user's rows before a model is trained on them."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from holdfast.commands.answers import answer
from holdfast.commands.data import texts_of
from holdfast.commands.pipelines import COMMAND_LINE
from holdfast.errors import UserError
from holdfast.escape import terminal_text
from holdfast.evaluate.judges.registry import check_judge, check_keys
from holdfast.settings import Place, lines_of, load_yaml, merge, parse_overrides, words_lines
from holdfast.stages.folders import checked_output

_LONGEST = 300  # characters of a text that are shown


class Shown(NamedTuple):
    """What is made of the flagged rows.

    Args:
        mark: they are marked and kept.
        max_dropped: more than this share of them ends the command with 1.
        harmful: the text of a few is shown.
    """

    mark: bool
    max_dropped: float | None
    harmful: bool


def screen_command(
    reference: str,
    words: Sequence[str],
    options: Mapping[str, str | None],
    config: Path | None,
    output: Path | None,
    shown: Shown,
    console: Console,
) -> None:
    """Screen rows into a folder: ``holdfast screen``.

    Raises:
        UserError: whatever is wrong with what was asked for.
        SystemExit: with 1, where more rows are flagged than ``shown.max_dropped`` allows.
    """
    if output is None:
        raise UserError(f"{COMMAND_LINE}: --output is missing: name a new folder for the result.")
    output = checked_output(output)
    given, where = _given(words, options, config)
    from holdfast.stages.execute import stop_on_interrupt
    from holdfast.stages.screening.files import prepare, screen_file

    with _bar(console) as told, stop_on_interrupt() as stopping:
        asked = prepare(reference, given, shown.mark, where, told)
        if asked.settings.get("judge"):
            check_keys([check_judge(asked.settings["judge"])])
        found = screen_file(asked, output, told, stopping)
    examples = _examples(found, asked.read_rows()) if shown.harmful else None
    content = {"folder": output, **found, "examples": examples}
    answer(console, "screen", content, *_report(found, examples, output))
    share = found["flagged"] / found["rows"]
    if shown.max_dropped is not None and share > shown.max_dropped:
        console.print(
            f"{share:.1%} of the rows are flagged, more than --max-dropped {shown.max_dropped}.",
            highlight=False,
            markup=False,
        )
        raise SystemExit(1)


def _given(
    words: Sequence[str], options: Mapping[str, str | None], config: Path | None
) -> tuple[dict[str, Any], Place]:
    """The settings of file, words and options together, and where they are from."""
    alone = next((word for word in words if "=" not in word), None)
    if alone is not None:
        raise UserError(
            f"{COMMAND_LINE}: '{alone}' is one word too many: rows are named once, and settings "
            "are written key=value."
        )
    said = parse_overrides(words)
    for key, value in options.items():
        if value is not None and said.get(key, value) != value:
            raise UserError(f"{COMMAND_LINE}: --{key} is {value}, and {key}={said[key]}: say one.")
        if value is not None:
            said[key] = value
    written = load_yaml(config) if config else {}
    for key in ("stage", "source"):  # a resolved config.yaml holds them for its readers
        written.pop(key, None)
    lines = lines_of(config) if config else {}
    return merge(written, said), Place(COMMAND_LINE, {**lines, **words_lines(said, COMMAND_LINE)})


@contextmanager
def _bar(console: Console) -> Iterator[Any]:
    """A bar with the rows that are done and the time that is left; nothing without a terminal."""
    bars = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        TextColumn("{task.completed:,.0f} rows"),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    )
    tasks: dict[str, Any] = {}

    def told(what: str, done: int, total: int | None) -> None:
        if what not in tasks:
            for task in tasks.values():
                bars.remove_task(task)
            tasks.clear()
            tasks[what] = bars.add_task(what, total=total)
        bars.update(tasks[what], completed=done)

    with bars:
        yield told


def _examples(found: Mapping[str, Any], rows: Iterator[Any]) -> list[dict[str, Any]]:
    """A few flagged rows of each kind, with their texts."""
    wanted = {n: kind for kind, one in found["kinds"].items() for n in one["examples"]}
    shown = []
    for number, row in enumerate(rows, start=1):
        if number in wanted:
            prompt, said = (text[:_LONGEST] for text in texts_of(row))
            shown.append({"row": number, "kind": wanted[number], "prompt": prompt, "answer": said})
        if number >= max(wanted, default=0):
            break
    return shown


def _report(
    found: Mapping[str, Any], examples: Sequence[Mapping[str, Any]] | None, output: Path
) -> list[RenderableType]:
    """The report for a reader."""
    table = Table("what was seen", "kept", "flagged", "rows, for example")
    for kind, one in found["kinds"].items():
        numbers = ", ".join(map(str, one["examples"]))
        table.add_row(terminal_text(kind), f"{one['kept']:,}", f"{one['flagged']:,}", numbers)
    threshold = found["threshold"]
    by = "" if threshold is None else f", by scores of {threshold:.4g} or more"
    unsure = f" ({found['unsure']:,} of them could not be told)" if found["unsure"] else ""
    lines = [
        f"{found['method']}: {found['flagged']:,} of {found['rows']:,} rows are flagged{unsure}{by}"
    ]
    parts: list[RenderableType] = [table, *lines]
    if examples:
        texts = Table("row", "kind", "prompt", "answer", show_lines=True)
        for one in examples:
            cells = (str(one["row"]), one["kind"], one["prompt"], one["answer"])
            texts.add_row(*map(terminal_text, cells))
        parts.append(texts)
    elif examples is None and found["flagged"]:
        parts.append("their text is hidden (--show-harmful)")
    names = ", ".join(f"{what}: {output / name}" for what, name in found["files"].items())
    return [*parts, names]
