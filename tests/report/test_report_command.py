"""holdfast report: every format of one comparison, pictures, refusals; hostile names do no harm."""

import csv
import html
import io
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet
from rich.console import Console
from run_folder import add_run, write_run

from holdfast.commands.report import show_report
from holdfast.errors import UserError
from holdfast.report.comparison import compare, read_run
from holdfast.report.drawing.curves import curves
from holdfast.report.latex import latex_text

HOSTILE = r"\input{x} $a_b^c & 50% #1 ~ {} <script>alert(1)</script> | [red]`*é ρ Ω 中 −1"
AXES = [
    {"harmful_ratio": p, "finetune.learning_rate": lr} for p in (0.05, 0.1) for lr in (1e-4, 5e-3)
]


def rate(variant: str, place: Any, seed: int) -> dict[str, float]:
    base = {"SFT": 0.8, "Vaccine": 0.5, "Lisa": 0.1}[variant]
    strength = place["harmful_ratio"] / 0.1 * (1 if place["finetune.learning_rate"] > 1e-3 else 0.7)
    return {
        "harmful_score": min(base * strength + 0.02 * seed, 1),
        "finetune_accuracy": 0.9,
        "alignment_loss": 1.0,
    }


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("report") / "run"
    note = {"title": "A table", "paper": "vaccine", "source": "Table 1", "note": "It asks."}
    write_run(
        root,
        rate,
        axes=AXES,
        names={"Lisa": HOSTILE},
        budgets={"Vaccine": {"passes": 100}},
        finished=lambda v, p, s: (v, p, s) != ("Vaccine", AXES[0], 1),
        study={
            "about": [note],
            "notes": ["It runs small."],
            "failures": {
                "evaluate-Vaccine-0.05-0.0001-1": "Traceback\nValueError: no_such & thing"
            },
        },
    )
    return root


def report(root: Path, kind: str, **options: Any) -> str:
    console = Console(width=options.pop("width", 120), file=io.StringIO())
    given = {"output": None, "baseline": None, "metrics": None, "figures": None, **options}
    with console.capture() as capture:
        show_report(root, kind, console=console, **given)
    return capture.get()


def test_the_terminal_shows_everything(root: Path):
    text = report(root, "terminal")
    for words in (
        "A study",
        "vaccine, Table 1: It asks.",
        "It runs small.",
        "Worst case",
        "Budgets",
    ):
        assert words in text
    assert "1 of 36 pipelines have failed (Vaccine)." in text
    assert "ValueError: no_such & thing" in text
    assert "Vaccine had 2.00 × the forward-backward passes (100 to 50) of SFT." in text
    assert "holdfast run study.yaml" in text
    assert "[red]" in text  # as text


def test_output_goes_to_a_file_whole(root: Path, tmp_path: Path):
    file = tmp_path / "report.txt"
    told = report(root, "terminal", output=file)
    assert told == f"written: {file}\n"
    assert "Worst case" in file.read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["report.txt"]


def test_markdown(root: Path, tmp_path: Path, capsys):
    report(root, "markdown")
    text = capsys.readouterr().out
    assert text.startswith("# A study\n")
    headings = [line for line in text.splitlines() if line.startswith("## ")]
    assert headings == ["## Results", "## Worst case over the attacker's settings", "## Budgets"]
    lines = [line for line in text.splitlines() if line.startswith("|")]
    widths = {len(re.findall(r"(?<!\\)\|", line)) for line in lines[:14]}
    assert len(widths) == 1  # a | in a name makes no column
    assert "<script" not in text.replace(r"\<script", "")
    figures = tmp_path / "pictures"
    report(root, "markdown", output=tmp_path / "report.md", figures=figures)
    linked = re.findall(r"\]\(<(.+?)>\)", (tmp_path / "report.md").read_text())
    assert linked
    assert all((tmp_path / link).read_bytes().startswith(b"\x89PNG") for link in linked)


def test_csv_has_a_line_for_each_row_and_metric(root: Path, capsys):
    report(root, "csv")
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    comparison = compare(read_run(root))
    assert len(rows) == 12 * 3
    assert rows[0]["variant"] == "SFT"
    assert float(rows[0]["finetune.learning_rate"]) == 1e-4
    by_key = {
        (r["variant"], r["harmful_ratio"], r["finetune.learning_rate"], r["metric"]): r
        for r in rows
    }
    assert len(by_key) == 36
    row = comparison.rows[-1]
    cell, line = row.cells["harmful_score"], by_key[HOSTILE, "0.1", "0.005", "harmful_score"]
    assert cell.difference is not None
    # In full: what is read back is the number itself.
    assert float(line["value"]) == cell.mean.value
    assert float(line["high"]) == cell.mean.high
    assert float(line["difference_low"]) == cell.difference.low
    assert float(line["p_holm"]) == cell.difference.p_holm
    assert (line["baseline"], line["is_baseline"], line["steps"]) == ("SFT", "False", "50")


def test_parquet_holds_the_same(root: Path, tmp_path: Path, capsys):
    report(root, "csv", metrics=["harmful_score"])
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    file = tmp_path / "report.parquet"
    report(root, "parquet", output=file, metrics=["harmful_score"])
    table = parquet.read_table(file).to_pylist()
    assert len(table) == len(rows) == 12
    for line, row in zip(table, rows, strict=True):
        assert {k: "" if v is None else str(v) for k, v in line.items()} == row
    assert {type(line["harmful_ratio"]) for line in table} == {float}
    assert "written: " in report(root, "parquet")
    assert (root / "report.parquet").is_file()


def test_latex_text_leaves_nothing_to_obey():
    text = latex_text(HOSTILE)
    # All commands that are left are those that the escapes are made of.
    commands = set(re.findall(r"\\([a-zA-Z]+)", text))
    assert commands <= {
        *("textbackslash", "textasciicircum", "textasciitilde", "textless", "textgreater"),
        *("textbar", "textasciigrave", "ensuremath", "rho", "Omega"),
    }
    bare = re.sub(r"\\[a-zA-Z]+|\\[{}$&#%_]|\{[-\[\]]*\}", "", text)
    assert not set("$&#%_^~\\") & set(bare)
    assert r"\{\}" in text
    assert "é" in text
    assert "{[}U+4E2D{]}" in text
    assert latex_text("a\x1b\n") == r"a\textbackslash{}x1b\textbackslash{}n"
    assert latex_text("ς ο Α Λ") == r"\ensuremath{\varsigma} o A \ensuremath{\Lambda}"


def test_latex_is_a_document_with_balanced_tables(root: Path, capsys):
    report(root, "latex")
    text = capsys.readouterr().out
    assert text.startswith(r"\documentclass")
    for name in ("document", "table", "tabular"):
        begun = text.count(rf"\begin{{{name}}}")
        assert begun == text.count(rf"\end{{{name}}}") > 0
    assert text.count(r"\toprule") == text.count(r"\bottomrule") == 3
    bare = re.sub(r"\\[{}]", "", text)
    assert bare.count("{") == bare.count("}")
    layouts = re.findall(r"\\begin\{tabular\}\{@\{\}([lr]+)@\{\}\}", text)
    tables = re.findall(r"\\toprule\n(.*?)\\bottomrule", text, re.DOTALL)
    for layout, table in zip(layouts, tables, strict=True):
        for line in table.replace("\\midrule\n", "").splitlines():
            assert len(re.findall(r"(?<!\\)&", line)) == len(layout) - 1
            assert line.endswith(r" \\")
    assert r"\textbf{" in text
    assert r"\ensuremath{\approx}" in text
    assert "≈" not in text


def test_metrics_of_ones_own(root: Path, capsys):
    report(root, "markdown", metrics=["alignment_loss"])
    text = capsys.readouterr().out
    head = next(line for line in text.splitlines() if line.startswith("| variant"))
    assert "alignment loss ↓ | Δ alignment loss" in head
    assert "HS ↓" not in head


def test_another_baseline(root: Path):
    assert "the difference to Vaccine" in report(root, "terminal", baseline="Vaccine")


def test_html_is_written_into_the_folder(root: Path):
    assert f"written: {root / 'report.html'}" in report(root, "html")
    assert (root / "report.html").read_text().startswith("<!")


def test_curves_are_over_each_axis_at_each_place_of_the_others(root: Path, tmp_path: Path):
    comparison = compare(read_run(root))
    found = curves(comparison)
    assert [(one.axis, one.place) for one in found] == [
        ("harmful_ratio", {"finetune.learning_rate": 1e-4}),
        ("harmful_ratio", {"finetune.learning_rate": 5e-3}),
        ("finetune.learning_rate", {"harmful_ratio": 0.05}),
        ("finetune.learning_rate", {"harmful_ratio": 0.1}),
    ]
    assert [row.axes["harmful_ratio"] for row in found[0].lines["SFT"]] == [0.05, 0.1]
    assert list(found[0].lines) == ["SFT", "Vaccine", HOSTILE]
    report(root, "terminal", figures=tmp_path / "figures")
    names = sorted(path.name for path in (tmp_path / "figures").iterdir())
    assert len(names) == 5 * 2
    assert [name.removesuffix(".pdf") for name in names[::2]] == [
        name.removesuffix(".png") for name in names[1::2]
    ]
    assert "comparison.png" in names
    assert "curve-harmful_ratio-finetune.learning_rate=0.0001.png" in names


def test_a_variant_without_the_axis_is_a_level(tmp_path: Path):
    write_run(tmp_path, lambda *_: {"harmful_score": 0.5}, variants=["SFT"], axes=[{}])
    axes = [{"align.rho": rho} for rho in (4, 1, 2)]
    add_run(tmp_path, lambda *_: {"harmful_score": 0.2}, variants=["Vaccine"], axes=axes)
    (one,) = curves(compare(read_run(tmp_path)))
    assert [row.axes["align.rho"] for row in one.lines["Vaccine"]] == [1, 2, 4]
    assert list(one.levels) == ["SFT"]


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("htlm", {}, "no format 'htlm'; did you mean 'html'"),
        ("csv", {"metrics": ["harm"]}, "no metric 'harm'; it has harmful_score"),
        ("csv", {"metrics": ["harmful_scor"]}, "did you mean 'harmful_score'. it has"),
        (
            "csv",
            {"baseline": "SFTT"},
            "no variant 'SFTT' to be the baseline; did you mean 'SFT'. it has",
        ),
        ("html", {"metrics": ["harmful_score"]}, "leave out --metric"),
        ("csv", {"output": Path("/")}, "is a folder; --output must name a file"),
        ("csv", {"output": Path("/no/such/folder/x.csv")}, "x.csv cannot be written: No such file"),
        ("terminal", {"figures": Path(__file__)}, "is a file; --figures must name a folder"),
        ("terminal", {"figures": Path("/proc/no")}, "/proc/no cannot be written"),
    ],
)
def test_refusals(root: Path, kind: str, options: dict, message: str):
    with pytest.raises(UserError, match=message):
        report(root, kind, **options)


def test_the_command_line_ends_with_2_on_a_mistake(root: Path, tmp_path: Path):
    def call(*words: str) -> subprocess.CompletedProcess:
        code = "import sys; from holdfast.cli import main; main()"
        command = [sys.executable, "-c", code, "report", *words]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    wrong = call(str(tmp_path))
    assert wrong.returncode == 2
    assert wrong.stderr.startswith("holdfast: ")
    assert wrong.stderr.count("\n") == 1
    right = call(str(root), "--format", "csv", "--metric", "hs")  # as its column is called
    assert right.returncode == 0
    assert ",harmful_score," in right.stdout
    assert right.stdout.startswith("variant,")
    assert len(right.stdout.splitlines()) == 13


LEFT_OUT = "alignment loss and drift are left out, there being no rows: name <some>"


@pytest.mark.parametrize("without", [("SFT", "Lisa"), ("Lisa",)])
def test_what_was_not_measured_stands_below_every_table(tmp_path, without):
    """In each format once, and with the variants where it is not all of them."""
    write_run(tmp_path, lambda *_: {"harmful_score": 0.5}, ("SFT", "Lisa"), seeds=(0, 1))
    for path in tmp_path.glob("stages/evaluate-*/evaluation.json"):
        if any(name in str(path) for name in without):
            content = json.loads(path.read_text())
            path.write_text(json.dumps({**content, "left_out": [LEFT_OUT]}))
    wanted = LEFT_OUT[0].upper() + LEFT_OUT[1:] + (" (Lisa)." if len(without) == 1 else ".")
    for kind in ("terminal", "markdown", "html"):
        report(tmp_path, kind, output=tmp_path / kind)
        text = html.unescape((tmp_path / kind).read_text().replace("\\", ""))
        assert " ".join(text.split()).count(wanted) == 1, kind


@pytest.mark.parametrize("having", [("Lisa",), ("SFT", "Lisa")])
def test_who_was_asked_with_a_system_prompt_stands_below_every_table(tmp_path, having):
    """Where the others were not: with one prompt for all nothing needs to be told."""
    write_run(tmp_path, lambda *_: {"harmful_score": 0.5}, ("SFT", "Lisa"), seeds=(0, 1))
    for path in tmp_path.glob("stages/evaluate-*/evaluation.json"):
        if any(name in str(path) for name in having):
            content = json.loads(path.read_text())
            prompt = {"secret": True, "sha256": "ab" * 32}
            path.write_text(json.dumps({**content, "system_prompt": prompt}))
    for kind in ("terminal", "markdown", "html"):
        report(tmp_path, kind, output=tmp_path / kind)
        text = " ".join(html.unescape((tmp_path / kind).read_text()).split())
        told = "not put before the others' questions: Lisa." in text
        assert told == (having == ("Lisa",)), kind
