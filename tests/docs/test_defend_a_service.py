"""The page of a service, command by command, and the workflow as YAML."""

import contextlib
import io
import re
import shlex

import pytest
import yaml

import holdfast as package
from command import holdfast
from holdfast.gate.limits import QUESTIONS
from pages import blocks, page

PAGE = "defend-a-service"


def commands() -> list[tuple[list[str], int]]:
    """The words of every command, and the exit code that the page gives for it."""
    found = []
    for language, text in blocks(PAGE):
        for line in text.splitlines() if language == "bash" else ():
            code = re.search(r"# exit code (\d)", line)
            found.append((shlex.split(line, comments=True), int(code[1]) if code else 0))
    return found


@pytest.mark.long
def test_every_command_of_the_page_ends_as_the_page_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for words, code in commands():
        assert words[0] == "holdfast"
        ended = holdfast(*words[1:])
        assert ended.code == code, (words, ended)
        if code == 1:
            assert "of 25 prompts, limit ≤ 5: not kept" in ended.out
    (snippet,) = [text for language, text in blocks(PAGE) if language == "python"]
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown):
        exec(compile(snippet, "the page's snippet", "exec"), {})
    assert shown.getvalue().startswith("yes ")


def test_the_page_walks_the_whole_way():
    walked = [words[1] for words, _ in commands()]
    assert walked == [
        "align", "screen", "finetune", "check", "align", "finetune", "repair", "merge",
        "check", "push",
        "evaluate",
    ]  # fmt: skip
    options = {one.option for one in QUESTIONS}
    checks = [words for words, _ in commands() if words[1] == "check"]
    assert len(checks) == 2
    assert all(options <= {*words} for words in checks)
    assert hasattr(package, "SafetyGate")


def test_the_workflow_is_one():
    (text,) = [text for language, text in blocks("github-actions") if language == "yaml"]
    workflow = yaml.safe_load(text)
    steps = workflow["jobs"]["fine-tune"]["steps"]
    runs = [step["run"] for step in steps if "run" in step]
    order = [word for run in runs for word in re.findall(r"holdfast (\w+) ", run)]
    assert order == ["screen", "finetune", "repair", "merge", "check", "push"]
    # What somebody types in is no part of a script.
    assert not any("${{ inputs" in run for run in runs)
    assert "--format github" in page("github-actions")
