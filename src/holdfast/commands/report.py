"""``holdfast report``: a run's folder as tables, numbers, pictures and pages."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console

from holdfast.commands.answers import document
from holdfast.errors import UserError
from holdfast.report.comparison import Comparison, Run, compare, read_run
from holdfast.report.metrics import known_metric
from holdfast.settings import nearest
from holdfast.stages.disk import disk_errors

FORMATS = ("terminal", "markdown", "latex", "csv", "parquet", "html", "json")
# Formats that no terminal can show, with the file that they go to unless --output names one.
_FILES = {"parquet": "report.parquet", "html": "report.html"}


def show_report(
    root: Path,
    kind: str,
    output: Path | None,
    baseline: str | None,
    metrics: Sequence[str] | None,
    figures: Path | None,
    console: Console,
) -> None:
    """Report a run's folder, finished or not.

    Args:
        root: the folder.
        kind: one of `FORMATS`.
        output: the file; None shows the report (parquet and html: a file in the folder).
        baseline: the variant that all are compared with; None for plain SFT.
        metrics: the metrics of the table, each with its difference; None for the usual ones.
        figures: a folder for pictures.
        console: where to show it.

    Raises:
        UserError: an unknown format; the folder is no run's, has nothing finished, or a broken
            record; no such baseline or metric; the output cannot be written.
    """
    if kind not in FORMATS:
        close = nearest(kind, FORMATS)
        hint = f"did you mean '{close}'? " if close else ""
        raise UserError(f"there is no format '{kind}'; {hint}formats are {', '.join(FORMATS)}.")
    if kind == "html" and metrics:
        raise UserError("the page shows every metric: leave out --metric.")
    run = read_run(root)
    comparison = compare(run, baseline)
    metrics = [_metric(name, comparison, root) for name in metrics] if metrics else None
    if figures is not None and figures.is_file():
        raise UserError(f"{figures} is a file; --figures must name a folder.")
    pictures = []
    if figures:
        from holdfast.report.figures import write_figures

        pictures = write_figures(run, comparison, figures)
    if output is None and kind in _FILES:
        output = root / _FILES[kind]
    if output is not None and output.is_dir():
        raise UserError(f"{output} is a folder; --output must name a file.")
    if kind == "html":
        from holdfast.report.html.write import write_html

        assert output is not None
        write_html(root, output, baseline)
    elif kind == "parquet":
        from holdfast.report.export import write_parquet

        assert output is not None
        _write(output, lambda path: write_parquet(_only(comparison, metrics), path))
    elif kind == "terminal" and output is None:
        from holdfast.report.document import document, terminal_document

        console.print(terminal_document(document(run, comparison, metrics)))
    else:
        text = _text(run, comparison, kind, metrics, pictures, output)
        if output is None:
            print(text, end="")
            return
        _write(output, lambda path: path.write_text(text, encoding="utf-8"))
    for path in [*pictures, *([output] if output else [])]:
        console.print(f"written: {path}", highlight=False, markup=False, soft_wrap=True)


def _metric(name: str, comparison: Comparison, root: Path) -> str:
    """A metric that is named as in results.json, or by the title of its column (HS)."""
    titles = {known_metric(one).title.casefold(): one for one in comparison.metrics}
    found = name if name in comparison.metrics else titles.get(name.casefold())
    if found is None:
        close = nearest(name, comparison.metrics)
        hint = f"did you mean '{close}'? " if close else ""
        known = ", ".join(comparison.metrics)
        raise UserError(f"{root} has no metric '{name}'; {hint}it has {known}.")
    return found


def _only(comparison: Comparison, metrics: Sequence[str] | None) -> Comparison:
    from dataclasses import replace

    return replace(comparison, metrics=list(metrics)) if metrics else comparison


def _text(
    run: Run,
    comparison: Comparison,
    kind: str,
    metrics: Sequence[str] | None,
    pictures: Sequence[Path],
    output: Path | None,
) -> str:
    from holdfast.report import document as documents

    if kind == "csv":
        from holdfast.report.export import csv_text

        return csv_text(_only(comparison, metrics))
    report = documents.document(run, comparison, metrics)
    if kind == "json":
        from holdfast.report.export import content

        return document("report", content(run, _only(comparison, metrics))) + "\n"
    if kind == "latex":
        return documents.latex_report(report)
    if kind == "markdown":
        start = (output or Path("report.md")).absolute().parent
        links = [
            Path(os.path.relpath(picture, start)).as_posix()
            for picture in pictures
            if picture.suffix == ".png"
        ]
        return documents.markdown_document(report, links)
    import io

    plain = Console(file=io.StringIO(), width=120)
    plain.print(documents.terminal_document(report))
    assert isinstance(plain.file, io.StringIO)
    return plain.file.getvalue()


def _write(output: Path, write: Callable[[Path], object]) -> None:
    """Write a file beside its place and rename it into it.

    Raises:
        UserError: it cannot be written.
    """
    beside = output.with_name(output.name + ".new")
    try:
        with disk_errors(output):
            write(beside)
            os.replace(beside, output)
    except OSError as error:
        raise UserError(f"{output} cannot be written: {error.strerror or error}.") from None
    finally:
        if beside.is_file():
            beside.unlink(missing_ok=True)
