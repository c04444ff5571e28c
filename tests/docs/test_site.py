"""The site's pages, the pages on own methods and statistics, and the notebooks."""

import doctest
import importlib.util
import re
from contextlib import nullcontext
from pathlib import Path

import nbformat
import pytest
import yaml
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell

import holdfast as package
from command import holdfast
from holdfast.engine.worker import run_task
from pages import DOCS, ROOT, blocks, page

NOTEBOOKS = sorted((DOCS / "notebooks").glob("*.ipynb"))


def site():
    spec = importlib.util.spec_from_file_location("site_builder", DOCS / "site.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def entries(nav):
    for value in nav:
        inner = next(iter(value.values()))
        yield from entries(inner) if isinstance(inner, list) else [inner]


def test_the_nav_names_every_page_and_nothing_else():
    nav = list(entries(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]))
    pages = [path.name for path in DOCS.glob("*.md")]
    pages += [f"notebooks/{path.stem}.md" for path in NOTEBOOKS]
    pages += [f"api/{name}.md" for name in site().API]
    pages += [f"{name}.md" for name in site().EXAMPLES]
    assert sorted(nav) == sorted([*pages, "index.md"])
    assert len(NOTEBOOKS) == 2


def test_the_nav_begins_with_the_path_of_a_newcomer():
    """Demo, own data, a real model, a study, the report."""
    _, tutorial, *_ = yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]
    assert list(entries([tutorial])) == [
        "notebooks/the-demo-explained.md",
        "bring-your-own-data.md",
        "real-model.md",
        "studies.md",
        "read-the-statistics.md",
    ]


def test_the_example_of_a_real_model_has_its_pictures():
    path = site().EXAMPLES["real-model"]
    pictures = re.findall(r"\]\(figures/real-model/([^)]+)\)", site().page(path))
    assert pictures
    assert all((path.parent / "figures" / name).is_file() for name in pictures)


def test_a_wide_table_of_the_home_page_names_its_columns_in_every_cell():
    text = site().page(ROOT / "README.md")
    table = text[text.index('<table class="wide">') : text.index("</table>")]
    assert not re.search(r"^[|](?:[^|\n]*[|]){7}", text, re.M)
    rows = re.findall(r"<tr>(<td.*)</tr>", table)
    assert len(rows) == 8
    titles = re.findall(r"<th>([^<]*)</th>", table)
    assert titles[:3] == ["variant", "p", "HS ↓"]
    for row in rows:
        assert re.findall('data-title="([^"]*)"', row) == titles
    assert "**" not in table


def test_every_public_name_is_on_one_page_of_the_api():
    text = "".join(site().api_page(*page) for page in site().API.values())
    assert sorted(re.findall(r"::: holdfast\.(\w+)", text)) == sorted(package.__all__)


def test_links_of_the_home_page_stay_within_the_site():
    text = site().page(ROOT / "README.md")
    targets = [t.split("#")[0] for t in re.findall(r"\]\((?!https?:|#)([^)]+)\)", text)]
    assert "studies.md" in targets
    assert "add-your-own-method.md" in targets
    assert all((DOCS / target).is_file() for target in targets)
    own = site().page(DOCS / "add-your-own-method.md")
    assert "](notebooks/your-own-defense.md)" in own


def test_the_examples_on_statistics_are_what_the_code_says():
    found = doctest.testfile(str(DOCS / "read-the-statistics.md"), module_relative=False)
    assert (found.failed, found.attempted) == (0, 12)


def test_the_coverage_on_the_page_is_what_was_simulated():
    text = page("read-the-statistics")
    simulated = (ROOT / "benchmarks" / "coverage.md").read_text()
    known = dict(re.findall(r"- (\d+) seeds: (\d+) of 126 settings are within 93 to 97", simulated))
    told = re.search(
        r"(\d+) settings with 3 seeds, (\d+) with 5, (\d+) with 10", " ".join(text.split())
    )
    assert told is not None
    assert list(told.groups()) == [known[seeds] for seeds in ("3", "5", "10")]
    below = re.findall(r"- (?:3|5|10) seeds: .* 97 %, (\d+) are below", simulated)
    assert below == ["0", "0", "0"]  # "no interval holds the truth in fewer than 93 %"


class Here:
    """Runs stages one by one in this process, which has all imports already."""

    def __init__(self):
        self.tasks = []

    @property
    def room(self):
        return 1 - len(self.tasks)

    def start(self, task):
        self.tasks.append(task)

    def events(self, timeout):
        return [run_task(self.tasks.pop(), lambda share, note: None, lambda: False)]


@pytest.mark.long
def test_the_tutorial_runs_as_it_stands(tmp_path, monkeypatch):
    """Its files, its study and its repair, at the smallest size."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("holdfast.engine.pool.local_pool", lambda size: nullcontext(Here()))
    commands = []
    for language, text in blocks("add-your-own-method"):
        if language == "bash":
            commands += [line.split()[1:] for line in text.splitlines()]
        else:
            Path(text.split("\n")[0].removeprefix("# ")).write_text(text)
    told = re.search(r"a defense in (\d+) lines", page("add-your-own-method"))
    assert told is not None
    assert int(told[1]) == len(Path("safe_instr.py").read_text().splitlines()) < 40
    study, tune, repair = commands
    small = ["align.rows=10", "finetune.rows=10", "finetune.alignment_rows=10", "repair.rows=5",
             "finetune.max_steps=2", "evaluate.limit=1", "seeds=[0]"]  # fmt: skip
    ended = holdfast(*study, *small)
    assert ended.code == 0, ended.err + ended.out
    for name in ("SFT", "Vaccine", "Lisa", "Antidote", "SafeInstr", "SafeInstr strong"):
        assert name in ended.out
    ended = holdfast(*tune, "rows=10")
    assert ended.code == 0, ended.err
    ended = holdfast(*repair)
    assert ended.code == 0, ended.err
    assert Path("weaker/adapter_model.safetensors").is_file()


@pytest.mark.long
def test_the_notebooks_run(tmp_path, monkeypatch):
    """Both in one kernel, which forgets its names between them: the imports take longest."""
    monkeypatch.setenv("HOLDFAST_SMALL", "1")
    monkeypatch.setenv("HOME", str(tmp_path))
    read = [nbformat.read(path, as_version=4) for path in NOTEBOOKS]
    both, other = read
    both.cells += [new_code_cell("%reset -f"), *other.cells]
    about = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(both, timeout=300, startup_timeout=300, resources=about).execute()
    said = "".join(str(cell.get("outputs", "")) for cell in both.cells)
    for name in ("Antidote", "Lisa", "a tenth harmful", "attacked, strength 0.1"):
        assert f"{name}  " in said, name
