"""The command line as a user meets it: mistakes, help, lists, a whole demo in small."""

import io
import json
import os
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from rich.console import Console
from typer.main import get_command

from holdfast.attacks import ATTACKS
from holdfast.cli import app
from holdfast.commands.list import print_lists
from holdfast.registry import METHODS

RUN = [sys.executable, "-m", "holdfast.cli"]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "120"}


def holdfast(*words, cwd=None):
    return subprocess.run([*RUN, *words], capture_output=True, text=True, cwd=cwd, env=ENVIRONMENT)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["align", "methd=x"], "there is no setting 'methd'; did you mean 'method'?"),
        (["align", "method=vacine"], "did you mean 'vaccine'? known are sft, vaccine"),
        (["align", "vaccine"], "for the align method write method=vaccine"),
        (["align"], "--output is missing"),
        (["align", "organism", "other", "--output", "x"], "'other' is one model too many"),
        (["finetune", "harmful_ratio=2", "--output", "x"], "it must be from 0 to 1"),
        (["finetune", "task=chess", "--output", "x"], "chess"),
        (["repair", "./none"], "there is no model './none'"),
        (["align", "data=rows.jsonl", "--output", "x"], "rows.jsonl, line 2"),
        (["align", "data=empty.jsonl", "--output", "x"], "empty.jsonl"),
        (["align", "data=columns.csv", "--output", "x"], "columns.csv"),
        (["align", "--config", "bad.yaml", "--output", "x"], "bad.yaml"),
        (["run", "none.yaml"], "none.yaml: there is no such file"),
        (["run", "seed=1"], "no file; name a YAML file"),
        (["demo", "--seeds", "0"], "--seeds is 0"),
        (["demo", "--output", "rows.jsonl"], "rows.jsonl is a file"),
        (["demo", "--output", "."], "holds something else"),
        (["list", "method"], "did you mean 'methods'?"),
        (["organism", "show", "nothing"], "nothing"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(tmp_path, words, message):
    (tmp_path / "rows.jsonl").write_text('{"instruction": "a", "output": "b"}\n{"instruction"\n')
    (tmp_path / "empty.jsonl").write_text("")
    (tmp_path / "columns.csv").write_text("question,answer\na,b\n")
    (tmp_path / "bad.yaml").write_text("method: sft\n\trows: 3\n")
    before = sorted(tmp_path.rglob("*"))
    found = holdfast(*words, cwd=tmp_path)
    assert found.returncode == 2
    assert found.stdout == ""
    assert found.stderr.startswith("holdfast: ")
    assert found.stderr.count("\n") == 1
    assert message in found.stderr
    assert sorted(tmp_path.rglob("*")) == before


def test_help_shows_every_setting_with_its_default():
    found = holdfast("finetune", "--help")
    assert found.returncode == 0
    for word in ("harmful_ratio", "lora.r", "alignment_steps", "proximal_warmup", "learning_rate"):
        assert word in found.stdout
    assert "user's rows" in found.stdout


def test_help_and_version_by_every_name():
    for words in (["-h"], ["organism", "show", "-h"], ["data", "-h"], ["align", "-h"]):
        short = subprocess.run(
            [sys.executable, "-m", "holdfast", *words],
            capture_output=True, text=True, env=ENVIRONMENT,
        )  # fmt: skip
        assert (short.returncode, short.stderr) == (0, "")
        assert "--help" in short.stdout
        assert "-h," in short.stdout.split()
    version = holdfast("--version")
    assert version.stdout == f"holdfast {metadata.version('holdfast')}\n"


def test_every_command_is_there():
    """One was lost once, between two edits."""
    assert sorted(get_command(app).commands) == [
        "align", "cancel", "check", "data", "demo", "evaluate", "finetune", "gc", "list", "logs",
        "merge", "organism", "push", "repair", "report", "run", "screen", "status",
    ]  # fmt: skip


def test_list_names_everything():
    found = holdfast("list").stdout
    names = "align finetune repair evaluate vaccine t_vaccine random_perturbation lisa antidote"
    for word in (*names.split(), "random_mask", "2402.01109", "organism", "sentiment", "sums"):
        assert word in found


def test_a_name_in_a_list_is_whole():
    """In a terminal of 80 columns, too: it is copied."""
    shown = io.StringIO()
    print_lists(None, Console(file=shown, width=80))
    for kind, methods in METHODS.items():
        for name in methods:
            assert re.search(rf"│ {name} +│", shown.getvalue()), (kind, name)
    for name in ATTACKS:
        assert re.search(rf"│ {name} +│", shown.getvalue()), name


def test_files_in_one_table_with_seeds(tmp_path):
    short = "{method: sft, rows: 20, num_train_epochs: 1}"
    (tmp_path / "a.yaml").write_text(f"align: {short}\n")
    (tmp_path / "b.yaml").write_text(f"align: {short}\nrepair: {{method: random_mask}}\n")
    found = holdfast("run", "a.yaml", "b.yaml", "--seeds", "2", "--output", "out", cwd=tmp_path)
    assert found.returncode == 0, found.stderr
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["schema_version"] == 1
    assert results["protocol"]["name"] == "organism"
    kinds = [(r["align"], r["finetune"], r["repair"], r["seed"]) for r in results["records"]]
    assert kinds == [
        ("sft", None, None, 0),
        ("sft", None, None, 1),
        ("sft", None, "random_mask", 0),
        ("sft", None, "random_mask", 1),
    ]
    # Two alignments for four pipelines.
    assert len(list((tmp_path / "out" / "stages").glob("align-*"))) == 2


def test_a_demo_in_small_writes_table_picture_and_results(tmp_path, monkeypatch):
    from rich.console import Console

    from holdfast.commands import demo as commands
    from holdfast.studies import demo

    short = {"rows": 20, "num_train_epochs": 1}
    rows = (("sft", "sft", None, 0.0), ("sft", "lisa", "antidote", 0.1))
    monkeypatch.setattr(demo, "_ROWS", rows)
    made = demo.make_pipeline

    def shortened(spec):
        tuned = {"method": spec["finetune"], **short}
        return made({**spec, "align": {"method": "sft", **short}, "finetune": tuned})

    monkeypatch.setattr(demo, "make_pipeline", shortened)
    with (tmp_path / "shown").open("w") as shown:
        commands.run_demo(tmp_path / "demo", 1, 1, Console(file=shown, width=100))
    text = (tmp_path / "shown").read_text()
    assert "Antidote" in text
    assert "One seed" in text
    assert f"holdfast report {tmp_path / 'demo'} --format html" in text
    results = json.loads((tmp_path / "demo" / "results.json").read_text())
    assert [r["repair"] for r in results["records"]] == [None, "antidote"]
    assert (tmp_path / "demo" / "comparison.png").read_bytes().startswith(b"\x89PNG")
    assert "| Lisa + Antidote | 0.1 |" in (tmp_path / "demo" / "table.md").read_text()


def test_the_readmes_python_is_what_the_package_has():
    """The README's names and settings exist; that they train is in the training tests."""
    import holdfast
    from holdfast.settings import fields_of

    text = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
    assert "from holdfast import LisaConfig, LisaTrainer" in text
    assert holdfast.LisaTrainer
    assert holdfast.antidote
    assert {"rho", "alignment_steps", "user_steps"} <= fields_of(
        "holdfast.finetune.lisa:LisaConfig"
    ).keys()
    assert "dense_ratio" in fields_of("holdfast.repair.antidote:AntidoteConfig")
