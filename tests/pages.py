"""The documentation's pages, and the blocks of code on them."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"


def page(name: str) -> str:
    """The text of a page by its name: of docs, or README."""
    folder = ROOT if name == "README" else DOCS
    return (folder / f"{name}.md").read_text(encoding="utf-8")


def blocks(name: str) -> list[list[str]]:
    """The blocks of bash, YAML and Python of a page, [language, text] each."""
    return [list(one) for one in re.findall(r"```(bash|yaml|python)\n(.*?)```", page(name), re.S)]
