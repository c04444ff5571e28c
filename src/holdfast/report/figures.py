"""The pictures of ``--figures``: each as PNG, and as PDF for a paper."""

import re
from pathlib import Path

from holdfast.errors import UserError
from holdfast.report.drawing.attacks import attack_map, attack_picture
from holdfast.report.drawing.canvas import Picture
from holdfast.report.drawing.curves import Curves, curves, curves_picture
from holdfast.report.drawing.tradeoff import rows_of, tradeoff_picture
from holdfast.report.rows import Comparison
from holdfast.report.run import Run
from holdfast.report.table import header


def write_figures(run: Run, comparison: Comparison, folder: Path) -> list[Path]:
    """Write all pictures of a comparison; gives the files.

    The harmful score against the accuracy, where rows have both, a picture for each of `curves`,
    and attacks × defenses, where there are several attacks. A picture of which nothing was measured
    is not written.

    Raises:
        UserError: the folder cannot be written.
    """
    told = header(run.protocol)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder} cannot be written: {error.strerror}.") from None
    paths = []
    if rows_of(comparison):
        paths += _write(tradeoff_picture(comparison, told), folder / "comparison.png")
    for one in curves(comparison):
        paths += _write(curves_picture(comparison, one, told), folder / f"{_file_name(one)}.png")
    if shown := attack_map(comparison):
        paths += _write(attack_picture(shown), folder / "attacks.png")
    return paths


def _write(picture: Picture, path: Path) -> list[Path]:
    paths = [path, path.with_suffix(".pdf")]
    for one in paths:
        picture.save(one)
    return paths


def _file_name(one: Curves) -> str:
    parts = [one.axis, *(f"{axis}={value}" for axis, value in one.place.items())]
    return re.sub(r"[^\w.=-]+", "_", "curve-" + "-".join(parts))[:120]
