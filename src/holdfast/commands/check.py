"""``holdfast check``: does a tuned model keep the limits? The exit code is the answer."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from holdfast.commands.answers import Documents, answer
from holdfast.commands.pipelines import COMMAND_LINE
from holdfast.errors import UserError
from holdfast.settings import Place, lines_of, load_yaml, merge, parse_overrides, words_lines


def run_check(
    base: str,
    tuned: str,
    words: Sequence[str],
    limits: dict[str, float | None],
    task: str | None,
    prompts: int | None,
    config: Path | None,
    output: Path | None,
    form: str,
    console: Console,
) -> int:
    """Check a tuned model and show what was found; gives the exit code: 0 yes, 1 no, 3 unknown.

    Args:
        base: the model that the increase is over.
        tuned: the model to check.
        words: settings of the evaluation, key=value.
        limits: the fields of `holdfast.gate.limits.Limits`.
        task: the user's task.
        prompts: at most so many of each set.
        config: a file of settings.
        output: where the answers stay; None keeps nothing.
        form: text, json, or one of `holdfast.gate.told.FORMS`.
        console: where notes go.

    Raises:
        UserError: whatever is wrong with the request.
        Stopped: Ctrl-C; the same command with the same output goes on.
    """
    from holdfast.gate.limits import Limits

    asked = Limits(**limits)
    asked.asked()
    given, where = _settings(words, config)
    if task is not None:
        given["task"] = task

    from holdfast.gate.check import Plan, run
    from holdfast.gate.told import FORMS, table
    from holdfast.stages.execute import stop_on_interrupt
    from holdfast.stages.folders import checked_output
    from holdfast.stages.scratch import scratch_folder

    if output is not None:
        output = checked_output(output, is_root=True)
    plan = Plan(base, tuned, asked, prompts, given, where)
    notes = console if isinstance(console, Documents) else Console(stderr=True)
    with notes.status("starting") as status, stop_on_interrupt() as stopping:

        def told(note: str) -> None:
            status.update(note)

        if output is not None:
            checked = run(plan, output, told, stopping)
        else:
            with scratch_folder() as folder:
                checked = run(plan, folder, told, stopping)
    if form in FORMS:
        print(FORMS[form](checked), end="", flush=True)
    else:
        answer(
            console,
            "check",
            {"folder": output, **checked.record()},
            table(checked),
            *_said(checked),
        )
    return checked.exit_code


def _said(checked: Any) -> list[str]:
    return [f"- {sentence}" for sentence in checked.sentences()]


def _settings(words: Sequence[str], config: Path | None) -> tuple[dict[str, Any], Place]:
    """The evaluation's settings from file and words, and where they stand."""
    for word in words:
        if "=" not in word:
            raise UserError(
                f"{COMMAND_LINE}: '{word}' is one model too many; settings are written key=value."
            )
    said = parse_overrides(words)
    given = dict(merge(load_yaml(config) if config else {}, said))
    lines = {**(lines_of(config) if config else {}), **words_lines(said, COMMAND_LINE)}
    return given, Place(COMMAND_LINE, lines)
