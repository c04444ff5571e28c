"""`holdfast check`: every exit code, form and way to go on, on the packaged organism.

Not aligned, it answers nearly every restricted question and refuses nothing.
"""

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from rich.console import Console

import holdfast as package
from command import done, holdfast
from holdfast.errors import Stopped, UserError
from holdfast.evaluate.generation import Generator
from holdfast.gate.check import Plan, drawn, run
from holdfast.gate.limits import QUESTIONS, Checked, Found, Limits
from holdfast.gate.told import markdown, table
from holdfast.statistics.sequential import Limit, decide

BOTH = ("check", "organism", "organism")
YES = (*BOTH, "--max-over-refusal", "20", "--prompts", "60")
NO = (*BOTH, "--max-harmful-score", "5", "--max-over-refusal", "20")
UNKNOWN = (*BOTH, "--max-over-refusal", "10", "--prompts", "10")


@pytest.fixture
def asked(monkeypatch):
    """How many prompts each call of a model was given."""
    counts = []
    real = Generator.__call__

    def counted(self, prompts, progress=None):
        counts.append(len(prompts))
        return real(self, prompts, progress)

    monkeypatch.setattr(Generator, "__call__", counted)
    return counts


@pytest.mark.parametrize(("words", "code"), [(YES, 0), (NO, 1), (UNKNOWN, 3)])
def test_the_exit_code_is_the_answer(words, code):
    ended = holdfast(*words, "--format", "json")
    assert ended.code == code, ended.err
    found = json.loads(ended.out)
    assert found["exit_code"] == code
    assert found["verdict"] == {0: "yes", 1: "no", 3: "cannot tell"}[code]
    assert found["protocol"]["judge"] == "organism"


def test_it_ends_when_the_answers_decide(asked):
    ended = holdfast(*NO, "--format", "json")
    limits = {one["limit"]: one for one in json.loads(ended.out)["limits"]}
    score, refusal = limits["max_harmful_score"], limits["max_over_refusal"]
    assert (score["verdict"], score["n"]) == ("no", 25)
    assert score["low"] > 5
    assert refusal["verdict"] == "cannot tell"
    assert sum(asked) == score["n"] + refusal["n"] <= 50


def test_what_is_not_decided_says_how_many_more_prompts_would():
    ended = holdfast(*UNKNOWN)
    assert ended.code == 3
    said = " ".join(ended.out.split())
    assert "over-refusal 0.0 [0.0, " in said
    assert "of 10 prompts, limit ≤ 10: cannot tell; about" in said
    more = int(said.split("cannot tell; about ")[1].split()[0].replace(",", ""))
    (found,) = decide([Limit(0.1)], [np.zeros(10)])
    assert more == found.more
    assert decide([Limit(0.1)], [np.zeros(10 + more)])[0].kept is True
    enough = ("--max-over-refusal", "10", "--prompts", str(10 + more))
    assert holdfast(*BOTH, *enough).code == 0


def test_the_increase_is_paired_with_the_base(tmp_path, asked):
    words = (*BOTH, "--max-harmful-increase", "10", "--output", tmp_path / "out")
    ended = holdfast(*words, "--format", "json")
    assert ended.code == 0, ended.err
    (found,) = json.loads(ended.out)["limits"]
    assert (found["value"], found["bound"]) == (0, 10)
    # The tuned model answers a large portion, the base of the same prompts as many as it takes.
    assert asked[0] == 100
    assert sum(asked[1:]) == found["n"] < 100
    # One model, named twice.
    assert len([p for p in (tmp_path / "out" / "stages").iterdir() if p.is_dir()]) == 1
    assert json.loads((tmp_path / "out" / "check.json").read_text())["verdict"] == "yes"


def test_outcomes_are_those_of_an_evaluation(tmp_path):
    """The same prompts and answers, judged alike; only their order differs."""
    evaluated = holdfast(
        "evaluate", "organism", "task=sums", "limit=20", "--output", tmp_path / "evaluation"
    )
    assert evaluated.code == 0
    outcomes = json.loads((tmp_path / "evaluation" / "evaluation.json").read_text())["outcomes"]
    limits = ("--max-harmful-score", "99.9", "--min-accuracy", "0.1", "--max-over-refusal", "99.9")
    words = (*BOTH, *limits, "--task", "sums", "--prompts", "20")
    checked = holdfast(*words, "--format", "json")
    for one in json.loads(checked.out)["limits"]:
        metric = next(q.metric for q in QUESTIONS if q.limit == one["limit"])
        assert one["value"] == pytest.approx(100 * np.mean(outcomes[metric]))
        assert one["n"] == 20


def test_a_check_that_is_stopped_goes_on(tmp_path, asked):
    limits = Limits(max_over_refusal=3.0)
    whole = run(Plan("organism", "organism", limits, 80), tmp_path / "whole")
    first, asked[:] = sum(asked), []

    looks = []

    def stopping() -> bool:
        looks.append(1)
        return len(looks) > 2

    with pytest.raises(Stopped):
        run(Plan("organism", "organism", limits, 80), tmp_path / "out", stopping=stopping)
    assert 0 < sum(asked) < first
    again = run(Plan("organism", "organism", limits, 80), tmp_path / "out")
    assert again.record() == whole.record()
    assert sum(asked) == first
    asked[:] = []
    assert run(Plan("organism", "organism", limits, 80), tmp_path / "out") == again
    assert asked == []
    # What the judge made of the answers is kept too; a damaged file is made again.
    for file in (tmp_path / "out").rglob("outcomes.json"):
        file.write_text("{")
    assert run(Plan("organism", "organism", limits, 80), tmp_path / "out") == again
    assert asked == []


@pytest.mark.long
def test_a_check_that_is_killed_ends_in_the_same_files(tmp_path):
    words = [*BOTH, "--max-harmful-increase", "10", "--max-over-refusal", "3", "--prompts", "40"]
    words += ["batch_size=5", "--output"]
    whole = holdfast(*words, tmp_path / "whole")
    command = [sys.executable, "-m", "holdfast", *words, str(tmp_path / "killed")]
    process = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    # In the middle of the second portion.
    while not any(
        file.read_bytes().count(b"\n") > 2
        for file in tmp_path.glob("killed/stages/*/benign-00025-*/answers.jsonl")
    ):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "killed" / "check.json").exists()
    assert holdfast(*words, tmp_path / "killed").code == whole.code == 3
    made, again = (
        {path.relative_to(folder): path.read_bytes()
         for path in folder.rglob("*") if path.is_file() and path.suffix in (".json", ".jsonl")
         and path.name != "progress.json"}
        for folder in (tmp_path / "whole", tmp_path / "killed")
    )  # fmt: skip
    assert made == again
    assert len(made) > 5


def test_other_settings_have_other_answers(tmp_path, asked):
    limits = Limits(max_over_refusal=20.0)
    run(Plan("organism", "organism", limits, 25), tmp_path / "out")
    run(Plan("organism", "organism", limits, 25, {"seed": 1}), tmp_path / "out")
    assert asked == [25, 25]
    assert len(list((tmp_path / "out" / "stages").iterdir())) == 2


def test_prompts_are_drawn_whatever_a_file_is_sorted_by():
    rows = [{"instruction": f"Question {i}", "output": ""} for i in range(40)]
    assert drawn(rows, 0) == drawn(rows[::-1], 0)
    assert drawn(rows, 0) != drawn(rows, 1)
    # A second time the same prompt would count as evidence and be none.
    assert drawn([*rows, *rows], 0) == drawn(rows, 0)
    places = [rows.index(row) for row in drawn(rows, 0)[:20]]
    assert 6 <= sum(place < 20 for place in places) <= 14


def test_an_own_file_of_prompts(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [{"instruction": f"What is thing {i}?"} for i in range(30)]
    Path("own.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    own = ("harmful_data=own.jsonl", "judges=[keywords]")
    ended = holdfast(*BOTH, *own, "--max-harmful-score", "5", "--format", "json")
    assert ended.code == 1, ended.err
    (found,) = json.loads(ended.out)["limits"]
    assert found["n"] <= 30


def test_markdown_and_github(tmp_path, monkeypatch):
    shown = holdfast(*NO, "--format", "markdown")
    assert shown.code == 1
    assert shown.out.startswith("### holdfast check organism: no: a limit is not kept\n")
    assert "| harmful score | ≤ 5 |" in shown.out
    summary = tmp_path / "summary.md"
    summary.write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    told = holdfast(*NO, "--format", "github")
    assert told.code == 1
    first, second, last = told.out.splitlines()
    assert first.startswith("::error title=holdfast check::harmful score ")
    assert second.startswith("::warning title=holdfast check::over-refusal ")
    assert second.endswith("not decided, the check ended before")
    assert last == "holdfast check organism: no: a limit is not kept"
    assert summary.read_text() == "before\n" + shown.out


def test_of_a_limit_that_nobody_was_asked_for_no_interval_is_told():
    never = decide([Limit(0.1)], [np.zeros(0)])[0]
    found = Found(QUESTIONS[-1], Limit(0.1), never)
    assert "not asked, limit" in found.sentence(ended=True)
    assert "[" not in found.sentence(ended=False)
    protocol = {"name": "p", "version": "1", "judge": "j"}
    assert "| – | – | 0 |" in markdown(Checked("a", "b", [found], protocol))


def test_a_judge_may_have_any_name():
    """In a terminal, too, where [/b] would end what no [b] began."""
    never = Found(QUESTIONS[-1], Limit(0.1), decide([Limit(0.1)], [np.zeros(0)])[0])
    protocol = {"name": "[red]p", "version": "1", "judge": "judge[/b]"}
    shown = io.StringIO()
    Console(file=shown, width=200).print(table(Checked("a", "b", [never], protocol)))
    assert "protocol [red]p (version 1), judge judge[/b];" in " ".join(shown.getvalue().split())


def test_what_a_name_holds_writes_no_annotation_and_a_summary_that_cannot_be_is_told(
    tmp_path, monkeypatch
):
    name = tmp_path / "a\n::error::b"
    done("merge", "organism", "--output", name)
    words = ("check", "organism", name, *NO[3:], "--prompts", "25", "--format", "github")
    told = holdfast(*words)
    assert told.code == 1
    assert len([line for line in told.out.splitlines() if line.startswith("::error")]) == 1
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "nowhere" / "summary.md"))
    ended = holdfast(*words)
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert "which cannot be written: No such file or directory." in ended.err


def test_junit():
    shown = holdfast(*NO, "--format", "junit")
    assert shown.code == 1
    suite = ElementTree.fromstring(shown.out.encode())[0]
    assert {name: suite.get(name) for name in ("tests", "failures", "errors", "skipped")} == {
        "tests": "2", "failures": "1", "errors": "0", "skipped": "1",
    }  # fmt: skip
    score, refusal = suite
    assert "not kept" in score.find("failure").get("message")
    assert refusal.find("skipped") is not None
    unknown = ElementTree.fromstring(holdfast(*UNKNOWN, "--format", "junit").out.encode())[0]
    assert unknown.get("errors") == "1"


def test_the_document_has_the_fields_that_the_docs_name():
    page = (Path(__file__).parents[2] / "docs" / "json.md").read_text(encoding="utf-8")
    row = next(line for line in page.splitlines() if line.startswith("| `check` |"))
    named = {*re.findall(r"`([a-z_]+)`:", row)}
    found = json.loads(holdfast(*UNKNOWN, "--format", "json").out)
    assert {*found} == named | {"command", "schema_version"}


def test_in_python():
    checked = package.check("organism", "organism", max_harmful_score=5, prompts=30)
    assert (checked.verdict, checked.exit_code) == ("no", 1)
    assert checked.sentences()[0].startswith("harmful score ")
    with pytest.raises(UserError, match="set one or more of --max-harmful-score"):
        package.check("organism", "organism")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "a check needs a limit to check: set one or more of --max-harmful-score"),
        (("--max-harmful-score", "0"), "--max-harmful-score is 0"),
        (("--max-harmful-score", "100"), "--max-harmful-score is 100"),
        (("--max-harmful-increase", "101"), "--max-harmful-increase is 101"),
        (("--min-accuracy", "80", "--task", "sum"), "there is no task 'sum'; did you mean 'sums'?"),
        (("--max-over-refusal", "5", "also=[wikitext2]"), "also is a setting of"),
        (("--max-over-refusal", "5", "limit=3"), "a check takes --prompts"),
        (("--max-over-refusal", "5", "--prompts", "0"), "--prompts"),
        (("--max-over-refusal", "5", "third"), "'third' is one model too many"),
        (("--max-over-refusal", "5", "judge=keywords"), "judge"),
        (("--max-over-refusal", "5", "--format", "xml"), "there is no --format xml"),
        (("--max-over-refusal", "5", "--prompts", "999999"), "the organism holds"),
    ],
)  # fmt: skip
def test_mistakes_are_one_sentence(words, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ended = holdfast(*BOTH, *words, "--output", "out")
    assert (ended.code, ended.out) == (2, ""), ended
    assert said in ended.err
    assert ended.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_is_not_there_is_a_mistake():
    for words in (("nowhere", "organism"), ("organism", "nowhere")):
        ended = holdfast("check", *words, "--max-harmful-increase", "5")
        assert ended.code == 2
        assert "nowhere" in ended.err
