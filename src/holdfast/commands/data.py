"""What `holdfast data …` does: prepare, show and list data sets."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from holdfast.commands.answers import answer
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
    shown, hidden = [], 0
    for number, row in of_kind[:n]:
        texts, row_kind = texts_of(row), str(row.get("kind") or "")
        told: tuple[str | None, str | None] = texts
        cells = [text if len(text) <= _LONGEST else _cut(text) for text in texts]
        if row_kind == "harmful" and not show_harmful:
            hidden += 1
            told = None, None
            cells = [f"({len(text)} characters)" if text else "" for text in texts]
        table.add_row(str(number), *map(terminal_text, (row_kind, *cells)))
        shown.append(
            {"row": number, "kind": row_kind or None, "prompt": told[0], "answer": told[1]}
        )
    counts = f"{min(n, len(of_kind))} of {len(of_kind)} rows"
    if hidden:
        counts += f"; the text of {hidden} harmful ones is hidden (--show-harmful)"
    content = {"data": reference, "count": len(of_kind), "hidden": hidden, "rows": shown}
    answer(console, "data show", content, table, counts)


def list_command(console: Console) -> None:
    """Print the known data sets: `holdfast data list`."""
    folder = data_folder()
    known = [_known(source, manifest(folder, source.name)) for source in SOURCES.values()]
    columns = ("name", "what it is", "on the Hub", "parts (rows where prepared)")
    table = Table(show_lines=True)
    for column in columns:
        table.add_column(column, overflow="fold")
    for one in known:
        hubs = (
            hub["name"] + (f" @ {hub['revision'][:8]}" if hub["revision"] else "")
            for hub in one["hub"]
        )
        names = (
            name if count is None else f"{name} ({count})" for name, count in one["parts"].items()
        )
        about = f"{one['title']}\nTerms: {one['terms']}."
        table.add_row(one["name"], about, "\n".join(hubs), ", ".join(names))
    how = "Name rows as NAME:PART, as a file, or as hub:owner/name[@revision][/config]:split."
    answer(console, "data list", {"folder": folder, "data": known}, table, how)


def _known(source: Any, prepared: Mapping[str, Any]) -> dict[str, Any]:
    """A known data set; its parts with their number of rows where they are prepared."""
    return {
        "name": source.name,
        "title": source.title,
        "terms": source.licence,
        "hub": [{"name": o.hub, "revision": o.revision or None} for o in source.origins.values()],
        "parts": {
            part: prepared[part]["rows"] if part in prepared else None for part in source.parts
        },
    }


def texts_of(row: Mapping[str, Any]) -> tuple[str, str]:
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
