"""The papers' experiments as study files: ``PAPER/EXPERIMENT.yaml`` below this folder.

A study file states the difference from its paper's ``defaults.yaml``, which it ``extends``. On the
command line it is ``paper/PAPER/EXPERIMENT``, as in ``holdfast run paper/vaccine/table1``.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from holdfast.errors import UserError
from holdfast.settings import load_yaml, nearest

FOLDER = Path(__file__).parent
PREFIX = "paper/"
DEFAULTS = "defaults"


@dataclass(frozen=True)
class Experiment:
    """One experiment of a paper.

    Args:
        reference: what `find` and ``holdfast run`` take.
        title: what it varies, in a few words.
        paper: its folder here: "vaccine", "t-vaccine", "lisa" and so on.
        source: the paper's table or figure.
        note: what it asks, and how our run differs from the paper's.
    """

    reference: str
    title: str
    paper: str
    source: str
    note: str


def papers() -> list[Experiment]:
    """Every experiment, paper by paper, its tables in the order of their numbers."""
    found = []
    for reference, file in _files().items():
        study = load_yaml(file)
        found.append(
            Experiment(
                reference,
                str(study["title"]),
                file.parent.name,
                str(study["source"]),
                str(study["note"]),
            )
        )
    return found


def find(reference: str) -> Path:
    """The study file of an experiment.

    Args:
        reference: such as "paper/vaccine/table1".

    Raises:
        UserError: There is none; the sentence names the nearest one and all of its paper, or of
            all papers.
    """
    files = _files()
    if reference in files:
        return files[reference]
    close = nearest(reference, files)
    hint = f"; did you mean {close}?" if close else ""
    paper = (close or reference).rsplit("/", 1)[0]
    known = [name for name in files if name.startswith(f"{paper}/")] or list(files)
    raise UserError(f"there is no experiment '{reference}'{hint} (known: {', '.join(known)})")


def _files() -> dict[str, Path]:
    """The study files by reference."""
    files = [file for file in FOLDER.glob("*/*.yaml") if file.stem != DEFAULTS]
    files.sort(key=lambda file: (_PAPERS.index(file.parent.name), _numbered(file.stem)))
    return {f"{PREFIX}{file.parent.name}/{file.stem}": file for file in files}


# In the order in which they are listed.
_PAPERS = (
    *("vaccine", "t-vaccine", "lisa", "antidote", "booster"),
    *("repnoise", "safe-lora", "lox", "panacea", "constrained-sft"),
)


def _numbered(name: str) -> tuple[bool, str, int]:
    """Tables before what has no number, table2 before table10."""
    letters, digits = re.fullmatch(r"(.*?)(\d*)", name).groups()  # pyright: ignore[reportOptionalMemberAccess]
    return (letters != "table", letters, int(digits or 0))
