"""Write the page of a run's folder."""

import os
from contextlib import suppress
from pathlib import Path

from holdfast.errors import UserError
from holdfast.report.comparison import read_run
from holdfast.report.html.page import page_of, render


def write_html(root: Path, output: Path, baseline: str | None = None) -> Path:
    """Write the report of a run's folder as one page.

    It is written beside its place and renamed into it, so it is whole or not there.

    Args:
        root: the folder that a run wrote, finished or not.
        output: the page's file.
        baseline: the variant that the others are compared with; None is the study's plain SFT.

    Returns:
        The file.

    Raises:
        UserError: as `holdfast.report.comparison.read_run` and `compare`; a stage's file is broken;
            the page cannot be written.
    """
    text = render(page_of(read_run(root), baseline))
    beside = output.with_name(output.name + ".new")
    try:
        beside.write_text(text, encoding="utf-8")
        os.replace(beside, output)
    except OSError as error:
        with suppress(OSError):
            beside.unlink(missing_ok=True)
        raise UserError(f"{output} cannot be written: {error.strerror or error}.") from None
    return output
