"""Build the documentation site into site/: `make docs`.

Home is README.md, with its links into docs/ made the site's own; the pages of docs/ come as they
are, the real model's example as one of them, notebooks as Markdown, and the API pages from the
docstrings of what `from holdfast import …` gives. Links to other files of the repository become
their names. Nothing is asked of another host.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import holdfast

ROOT = Path(__file__).resolve().parents[1]
PAGES = ROOT / "build" / "pages"
# The API's pages: a title, and the modules whose public names are on it.
API = {
    "alignment": ("Alignment", ("holdfast.training", "holdfast.align")),
    "finetuning": ("Fine-tuning", ("holdfast.finetune",)),
    "repair": ("Repair", ("holdfast.repair",)),
    "screen": ("Screens", ("holdfast.screen", "holdfast.stages.screening")),
    "gate": ("The gate", ("holdfast.gate",)),
    "errors": ("Errors", ("holdfast.errors",)),
}


# Pages that stand beside what they are about: the page's name, and the file.
EXAMPLES = {"real-model": ROOT / "examples" / "real_model" / "README.md"}


def api_page(title: str, modules: tuple[str, ...]) -> str:
    """A page of those public names that stand in modules of these names, or below them."""
    homes = {name: getattr(holdfast, name).__module__ for name in holdfast.__all__}
    names = [n for m in modules for n, home in homes.items() if f"{home}.".startswith(f"{m}.")]
    return f"# {title}\n\n" + "\n".join(f"::: holdfast.{name}\n" for name in names)


def page(path: Path) -> str:
    """A page of docs/, or README.md as one beside them."""
    text = path.read_text(encoding="utf-8")
    if path.parent == ROOT:
        text = wide_tables(text.replace("](docs/", "]("))
    if path.parent.parent == ROOT / "examples":
        name = next(name for name, one in EXAMPLES.items() if one == path)
        text = re.sub(r"\]\(figures/([^)]+)\)", rf"](figures/{name}/\1)", text)
        text = text.replace("](../../docs/", "](").replace("](../../README.md)", "](index.md)")
    return re.sub(r"\[([^\]]*)\]\((?!https?:|#)([^)]+)\)", _link, text)


def _link(found: re.Match[str]) -> str:
    """A link that leads to a page of docs/, or the text of one that leads elsewhere."""
    target = found[2].split("#")[0]
    is_here = (ROOT / "docs" / target).exists() or target == "index.md"
    if target.startswith("..") or not (is_here or target.startswith("figures/")):
        return found[1] if found[1].startswith("`") else f"`{found[1]}`"
    return found[0].replace(".ipynb", ".md")


def wide_tables(text: str) -> str:
    """The text with tables of many columns as HTML whose cells know their column's name.

    A narrow screen shows each of their rows as a list (see site.css); Markdown's own table can
    only be moved sideways there.
    """
    return re.sub(r"^\|(?:[^|\n]*\|){7,}\n\|[-:|]+\|\n(?:\|.*\|\n)+", _wide, text, flags=re.M)


def _wide(found: re.Match[str]) -> str:
    titles, _, *rows = (
        [cell.strip() for cell in line.strip("|").split("|")] for line in found[0].splitlines()
    )
    lines = ["".join(f"<th>{title}</th>" for title in titles)]
    for row in rows:
        cells = (re.sub(r"[*]{2}(.+?)[*]{2}", r"<b>\1</b>", cell) for cell in row)
        named = zip(titles, cells, strict=True)
        lines.append("".join(f'<td data-title="{title}">{cell}</td>' for title, cell in named))
    head, *body = (f"<tr>{line}</tr>" for line in lines)
    inner = f"<thead>\n{head}\n</thead>\n<tbody>\n" + "\n".join(body) + "\n</tbody>"
    return f'<table class="wide">\n{inner}\n</table>\n'


def notebook(path: Path) -> None:
    """Write a notebook as a page, with its pictures beside it."""
    import nbformat
    from nbconvert import MarkdownExporter

    text, kept = MarkdownExporter().from_notebook_node(nbformat.read(path, as_version=4))
    (PAGES / "notebooks").mkdir(exist_ok=True)
    (PAGES / "notebooks" / f"{path.stem}.md").write_text(text, encoding="utf-8")
    for name, content in kept["outputs"].items():
        (PAGES / "notebooks" / name).write_bytes(content)


def main() -> int:
    """Gather the pages, and build them; a warning is an error."""
    shutil.rmtree(PAGES, ignore_errors=True)
    (PAGES / "api").mkdir(parents=True)
    for path in (ROOT / "docs").iterdir():
        if path.suffix in (".png", ".css"):
            shutil.copy(path, PAGES)
        elif path.suffix == ".md":
            (PAGES / path.name).write_text(page(path), encoding="utf-8")
    for path in sorted((ROOT / "docs" / "notebooks").glob("*.ipynb")):
        notebook(path)
    (PAGES / "index.md").write_text(page(ROOT / "README.md"), encoding="utf-8")
    for name, path in EXAMPLES.items():
        (PAGES / f"{name}.md").write_text(page(path), encoding="utf-8")
        shutil.copytree(path.parent / "figures", PAGES / "figures" / name)
    for name, (title, beginnings) in API.items():
        (PAGES / "api" / f"{name}.md").write_text(api_page(title, beginnings), encoding="utf-8")
    build = [sys.executable, "-m", "zensical", "build", "--strict", "--clean"]
    return subprocess.run(build, cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
