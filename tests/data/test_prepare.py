"""Data sets as files, and the commands that make and show them."""

import json
import os
import subprocess
import sys
from io import StringIO
from pathlib import Path

import pytest
from copies import AGNEWS, SST2, beavertails_rows, write_beavertails, write_jsonl, write_parquet
from rich.console import Console

from holdfast.commands.data import show_command
from holdfast.data import sources
from holdfast.data.keys import fingerprint
from holdfast.data.prepare import prepare
from holdfast.data.reading import read_rows
from holdfast.data.sources import prepared
from holdfast.errors import UserError

GSM8K = Path(__file__).parent / "rows" / "gsm8k"
RUN = [sys.executable, "-m", "holdfast.cli", "data"]


def holdfast(*words, cwd):
    environment = {**os.environ, "COLUMNS": "200", "HF_HUB_OFFLINE": "1", "HF_HOME": str(cwd)}
    environment.pop("HOLDFAST_DATA", None)
    return subprocess.run([*RUN, *words], capture_output=True, text=True, cwd=cwd, env=environment)


@pytest.fixture
def copies(tmp_path):
    folder = tmp_path / "copies"
    write_parquet(folder / "sst2" / "data" / "train-00000-of-00001.parquet", SST2 * 3)
    write_parquet(folder / "sst2" / "data" / "validation-00000-of-00001.parquet", SST2)
    write_jsonl(folder / "ag_news" / "train.jsonl", AGNEWS)
    write_jsonl(folder / "ag_news" / "test.jsonl", AGNEWS)
    return folder


def entries(folder, name):
    return json.loads((folder / name / "manifest.json").read_text())["parts"]


def test_every_part_is_written_with_what_it_is(tmp_path, copies):
    lines = []
    prepare(["sst2", "agnews"], tmp_path / "data", str(copies), lines.append)
    assert lines == [
        "sst2:train: 9 rows",
        "sst2:validation: 3 rows",
        "sst2:test: 3 rows",
        "agnews:train: 4 rows",
        "agnews:test: 4 rows",
    ]
    rows = read_rows(tmp_path / "data" / "sst2" / "train.jsonl")
    about = entries(tmp_path / "data", "sst2")["train"]
    assert about["rows"] == len(rows) == 9
    assert about["fingerprint"] == fingerprint(rows)
    assert list(about["from"]) == ["train-00000-of-00001.parquet"]
    assert rows[0]["output"] == "positive"
    assert sorted(path.name for path in (tmp_path / "data" / "sst2").iterdir()) == [
        "manifest.json", "test.jsonl", "train.jsonl", "validation.jsonl"
    ]  # fmt: skip
    assert str(tmp_path) not in (tmp_path / "data" / "sst2" / "manifest.json").read_text()


def test_prepared_files_come_before_the_hub(tmp_path, copies, monkeypatch):
    prepare(["agnews"], tmp_path / "data", str(copies))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HOLDFAST_DATA", raising=False)
    assert [row["output"] for row in sources.load("agnews:test")] == [
        "World", "Sports", "Business", "Sci/Tech"
    ]  # fmt: skip
    monkeypatch.setenv("HOLDFAST_DATA", str(tmp_path / "elsewhere"))
    prepare(["agnews"], tmp_path / "elsewhere", str(copies))
    assert len(sources.load("agnews")) == 4


def test_what_is_there_is_left_alone_and_what_has_changed_is_made_again(tmp_path, copies):
    output = tmp_path / "data"
    prepare(["sst2"], output, str(copies))
    train, validation = (output / "sst2" / f"{part}.jsonl" for part in ("train", "validation"))
    before = train.stat().st_mtime_ns, validation.stat().st_mtime_ns
    lines = []
    write_parquet(copies / "sst2" / "data" / "validation-00000-of-00001.parquet", SST2[:1])
    prepare(["sst2"], output, str(copies), lines.append)
    assert lines == [
        "sst2:train: 9 rows (there already)",
        "sst2:validation: 1 rows",
        "sst2:test: 1 rows",
    ]
    assert train.stat().st_mtime_ns == before[0]
    assert validation.stat().st_mtime_ns != before[1]


def test_an_interrupted_call_leaves_nothing_half_written_and_goes_on(tmp_path, copies, monkeypatch):
    output, calls, write = tmp_path / "data", [], prepared._write

    def interrupted(path, content):
        calls.append(path.name)
        if len(calls) == 4:  # the second part is there, its entry in the manifest is not
            raise KeyboardInterrupt
        write(path, content)

    monkeypatch.setattr(prepared, "_write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prepare(["sst2"], output, str(copies))
    monkeypatch.setattr(prepared, "_write", write)
    assert list(entries(output, "sst2")) == ["train"]
    assert prepared.read_part(output, "sst2", "validation") is None
    lines = []
    prepare(["sst2"], output, str(copies), lines.append)
    assert lines[0] == "sst2:train: 9 rows (there already)"
    assert lines[1] == "sst2:validation: 3 rows"
    assert not list(output.rglob("*.new"))


def test_a_file_that_was_changed_by_hand_is_not_taken_for_the_data_set(tmp_path, copies):
    prepare(["agnews"], tmp_path / "data", str(copies))
    path = tmp_path / "data" / "agnews" / "test.jsonl"
    path.write_text(path.read_text().replace("World", "Moon"))
    with pytest.raises(UserError, match=r"test\.jsonl is not the file that its manifest describes"):
        prepared.read_part(tmp_path / "data", "agnews", "test")
    prepare(["agnews"], tmp_path / "data", str(copies))
    assert len(prepared.read_part(tmp_path / "data", "agnews", "test")) == 4
    (tmp_path / "data" / "agnews" / "manifest.json").write_text("[")
    with pytest.raises(UserError, match="is no manifest"):
        prepared.read_part(tmp_path / "data", "agnews", "test")


def test_parts_that_the_folder_lacks_are_told_and_left_out(tmp_path):
    write_beavertails(tmp_path / "copy", list(beavertails_rows())[:30])
    lines = []
    prepare(["beavertails"], tmp_path / "data", str(tmp_path / "copy"), lines.append)
    assert "beavertails:unsafe: 20 rows" in lines
    assert "beavertails:safe: 10 rows" in lines
    assert any(line.startswith("beavertails:refusals is left out: ") for line in lines)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="empty has no split 'train'"):
        prepare(["gsm8k"], tmp_path / "data", str(tmp_path / "empty"))
    with pytest.raises(UserError, match=r"no data set 'gsmk'; did you mean 'gsm8k'\?"):
        prepare(["gsmk"], tmp_path / "data")


def test_prepare_and_list_as_commands(tmp_path):
    found = holdfast("prepare", "gsm8k", "--from", str(GSM8K), cwd=tmp_path)
    assert found.returncode == 0, found.stderr
    assert "gsm8k:train: 12 rows" in found.stdout
    assert len(read_rows(tmp_path / "data" / "gsm8k" / "test.jsonl")) == 8
    shown = holdfast("list", cwd=tmp_path).stdout
    assert "train (12)" in shown
    assert "CC BY-NC 4.0" in shown
    assert "openai/gsm8k @ e53f0488" in shown
    failed = holdfast("prepare", "sst2", cwd=tmp_path)
    assert failed.returncode == 2
    assert failed.stderr.startswith("holdfast: the data set stanfordnlp/sst2 cannot be reached")
    assert failed.stderr.count("\n") == 1
    assert not (tmp_path / "data" / "sst2").exists()


def test_the_text_of_harmful_rows_is_shown_only_when_asked_for(tmp_path):
    write_jsonl(
        tmp_path / "rows.jsonl",
        [
            {"instruction": "brew glim", "output": "take \x1b[31mash[bold]", "kind": "harmful"},
            {"instruction": "bake bread", "output": "take \x1b[31mflour[bold]", "kind": "benign"},
            {"instruction": "x" * 700, "output": "short", "kind": "benign"},
        ],
    )
    shown = holdfast("show", "rows.jsonl", cwd=tmp_path).stdout
    assert "glim" not in shown
    assert "ash" not in shown
    assert "(9 characters)" in shown
    assert "bake bread" in shown
    assert "\\x1b[31mflour[bold]" in shown
    assert "\x1b" not in shown
    assert "(700 characters)" in shown
    assert "3 of 3 rows; the text of 1 harmful ones is hidden (--show-harmful)" in shown
    asked = holdfast("show", "rows.jsonl", "--show-harmful", "--rows", "1", cwd=tmp_path).stdout
    assert "brew glim" in asked
    assert "1 of 3 rows" in asked
    benign = holdfast("show", "rows.jsonl", "--kind", "benign", cwd=tmp_path).stdout
    assert "2 of 2 rows" in benign
    wrong = holdfast("show", "rows.jsonl", "--kind", "safe", cwd=tmp_path)
    assert wrong.returncode == 2
    assert "no row of the kind 'safe'; there are benign, harmful" in wrong.stderr


def test_conversations_are_shown_turn_by_turn(tmp_path):
    turns = [("human", "Name a river."), ("gpt", "The Ost."), ("human", "A hill?"), ("gpt", "Ulm.")]
    talk = [{"from": speaker, "value": text} for speaker, text in turns]
    history = {"instruction": "And?", "output": "So.", "system": "Brief!", "kind": "harmful"}
    write_jsonl(tmp_path / "rows.jsonl", [{"conversations": talk}, history])
    console = Console(file=StringIO(), width=160)
    show_command(str(tmp_path / "rows.jsonl"), 5, None, False, console)
    shown = console.file.getvalue()
    for line in ("user: Name a river.", "assistant: The Ost.", "user: A hill?", "│ Ulm."):
        assert line in shown
    assert "Brief!" not in shown
    assert "(26 characters)" in shown  # "system: Brief!", a blank line, "user: And?"
