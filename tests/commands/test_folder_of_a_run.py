"""`status`, `logs`, `cancel` and `gc` of folders that are not as a run leaves them."""

import io
import json
import socket
import traceback

import psutil
import pytest
from rich.console import Console

from fake_stages import SPEC, Pool, run
from holdfast.commands.cancel import cancel_run
from holdfast.commands.gc import collect_garbage
from holdfast.commands.status import _failure, show_status
from holdfast.engine.record import write_record
from holdfast.engine.run import RUN, began, who_runs
from holdfast.errors import UserError
from holdfast.stages.folders import PARTIAL, PROGRESS
from holdfast.stages.pipeline import all_stages, stage_folder
from holdfast.studies.grid import expand
from holdfast.studies.study import make_study


@pytest.fixture
def pipelines():
    return expand(make_study(SPEC, "here"))


def said(does, *given):
    shown = io.StringIO()
    does(*given, Console(file=shown, width=200))
    return shown.getvalue()


class OwnError(Exception):
    """Of a user's method."""


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("boom: ünïcode\nsecond line"), "ValueError: boom: ünïcode"),
        (OwnError("the rows ran out"), "test_folder_of_a_run.OwnError: the rows ran out"),
        (KeyError("x"), "KeyError: 'x'"),
    ],
)
def test_status_has_the_errors_first_line(tmp_path, error, line):
    try:
        raise error
    except Exception:
        text = traceback.format_exc()
    assert _failure(tmp_path, "a", {"failures": {"a": text}}) == line
    assert _failure(tmp_path, "a", {"failures": {"a": "no login"}}) == "no login"


def test_what_a_stage_says_sends_nothing_to_the_terminal(tmp_path, pipelines):
    stages = all_stages(pipelines)
    failed, stopped = stages[:2]
    plan = {failed.name: [("failed", "ValueError: \x1b]0;mine\x07")]}
    outcome, _, _ = run([failed], tmp_path, Pool(plan=plan))
    write_record(tmp_path, pipelines, {"title": "a"}, outcome)
    partial = stage_folder(tmp_path, stopped).with_name(stopped.name + PARTIAL)
    partial.mkdir(parents=True)
    (partial / PROGRESS).write_text(json.dumps({"share": 0.5, "note": "\x1b[2Jstep 3"}))
    text = said(show_status, tmp_path)
    assert rf"{failed.name}: failed: ValueError: \x1b]0;mine\x07" in text
    assert rf"{stopped.name}: interrupted, 50 % (\x1b[2Jstep 3)" in text
    assert "\x1b" not in text


def test_a_run_of_which_nothing_is_left_needs_nothing_removed(tmp_path, pipelines):
    write_record(tmp_path, pipelines, {"title": "a"})
    assert said(collect_garbage, tmp_path, True) == "every stage is needed: nothing to remove.\n"


def test_a_note_of_who_runs_it_that_lacks_something_is_none(tmp_path, pipelines):
    write_record(tmp_path, pipelines, {"title": "a"})
    (tmp_path / RUN).write_text(json.dumps({"pid": 1, "host": "elsewhere"}))
    assert who_runs(tmp_path) is None
    assert "run by: nobody" in said(show_status, tmp_path)


@pytest.fixture
def ours(tmp_path, pipelines):
    """A folder that this very process runs."""
    write_record(tmp_path, pipelines, {"title": "a"})
    pid = psutil.Process().pid
    note = {"pid": pid, "began": began(pid), "host": socket.gethostname(), "launcher": "local"}
    (tmp_path / RUN).write_text(json.dumps(note))
    return tmp_path


def test_another_users_run_is_told(ours, monkeypatch):
    def denied(process):
        raise psutil.AccessDenied(process.pid)

    monkeypatch.setattr(psutil.Process, "terminate", denied)
    with pytest.raises(UserError, match="is another user's: have them cancel it"):
        said(cancel_run, ours)


def test_a_run_that_ends_by_itself_meanwhile_is_stopped(ours, monkeypatch):
    def gone(process):
        raise psutil.NoSuchProcess(process.pid)

    monkeypatch.setattr(psutil.Process, "terminate", gone)
    assert said(cancel_run, ours).startswith("stopped;")
