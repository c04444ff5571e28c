"""What `holdfast data …` does: prepare, show and list data sets."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from holdfast.data.conversations import said
from holdfast.data.prepare import prepare
from holdfast.data.prompts import parts, plain, shape
from holdfast.data.sources import SOURCES, load
from holdfast.data.sources.prepared import data_folder, manifest
from holdfast.errors import UserError
from holdfast.escape import terminal_text, visible

_LONGEST = 600  # characters of a text that are shown


def prepare_command(
    names: list[str], copy: str | None, output: Path | None, console: Console
) -> None:
    """Write known data sets as files: `holdfast data prepare`.

    Raises:
        UserError: As `prepare.prepare`.
    """
    folder = output or data_folder()

    def tell(line: str) -> None:
        console.print(visible(line), markup=False, highlight=False, emoji=False, soft_wrap=True)

    prepare(names, folder, copy, tell)
    tell(f"the files are in {folder}")


def show_command(
    reference: str, n: int, kind: str | None, show_harmful: bool, console: Console
) -> None:
    """Print the first rows that a reference names: `holdfast data show`.

    Args:
        reference: As in `sources.load`.
        n: How many rows.
        kind: Only rows of this kind.
        show_harmful: Whether the text of harmful rows is shown; else only how long it is.
        console: Where to print.

    Raises:
        UserError: As `sources.load`; no row is of that kind.
    """
    rows = list(enumerate(load(reference), start=1))
    of_kind = rows if kind is None else [(i, row) for i, row in rows if row.get("kind") == kind]
    if not of_kind:
        kinds = sorted({str(row["kind"]) for _, row in rows if row.get("kind")})
        there = f"there are {', '.join(kinds)}" if kinds else "its rows have no column 'kind'"
        raise UserError(f"{reference} has no row of the kind '{kind}'; {there}")
    table = Table("row", "kind", "prompt", "answer", show_lines=True)
    hidden = 0
    for number, row in of_kind[:n]:
        texts = _texts(row)
        if row.get("kind") == "harmful" and not show_harmful:
            hidden += 1
            texts = tuple(f"({len(text)} characters)" if text else "" for text in texts)
        kept = (terminal_text(text if len(text) <= _LONGEST else _cut(text)) for text in texts)
        table.add_row(str(number), terminal_text(str(row.get("kind", ""))), *kept)
    console.print(table)
    console.print(
        f"{min(n, len(of_kind))} of {len(of_kind)} rows"
        + (f"; the text of {hidden} harmful ones is hidden (--show-harmful)" if hidden else ""),
        markup=False,
        highlight=False,
    )


def list_command(console: Console) -> None:
    """Print the known data sets: `holdfast data list`."""
    folder = data_folder()
    columns = ("name", "what it is", "on the Hub", "parts (rows where prepared)")
    table = Table(*columns, show_lines=True)
    for source in SOURCES.values():
        prepared = manifest(folder, source.name)
        names = (
            f"{part} ({prepared[part]['rows']})" if part in prepared else part
            for part in source.parts
        )
        hubs = "\n".join(
            origin.hub + (f" @ {origin.revision[:8]}" if origin.revision else "")
            for origin in source.origins.values()
        )
        table.add_row(
            source.name, f"{source.title}\nTerms: {source.licence}.", hubs, ", ".join(names)
        )
    console.print(table)
    console.print(
        "Name rows as NAME:PART, as a file, or as hub:owner/name[@revision][/config]:split.",
        markup=False,
        highlight=False,
    )


def _texts(row: Mapping[str, Any]) -> tuple[str, str]:
    """A row's prompt and answer as text; of a row of no known shape all columns."""
    try:
        if shape(row) == "tokenized":
            return f"{len(row['input_ids'])} tokens", ""
        taken = parts(row, need_answer=False)
    except UserError:
        return "\n".join(f"{name}: {value}" for name, value in row.items()), ""
    if isinstance(taken.prompt, str) or len(taken.prompt) == 1:
        return plain(taken.prompt), plain(taken.answer)
    turns = [f"{turn['role']}: {said(turn)}" for turn in taken.prompt]
    return "\n\n".join(turns), plain(taken.answer)


def _cut(text: str) -> str:
    return f"{text[:_LONGEST]} … ({len(text)} characters)"
