"""``holdfast evaluate A B C``: several models by one protocol, side by side."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from holdfast.commands.answers import answer
from holdfast.engine.display import Display
from holdfast.engine.record import write_record
from holdfast.engine.results import collect
from holdfast.engine.run import Launch, run_stages
from holdfast.errors import FailedStagesError, Stopped, UserError
from holdfast.evaluate.judges.registry import check_keys
from holdfast.report.models import models_content, models_table
from holdfast.stages.disk import disk_errors, write_json
from holdfast.stages.folders import claim_root
from holdfast.stages.making import make_stage
from holdfast.stages.pipeline import Pipeline, stage_folder
from holdfast.stages.scratch import scratch_folder


def compare_models(
    models: Sequence[str],
    given: Mapping[str, Any],
    output: Path | None,
    console: Console,
    where: str,
) -> None:
    """Evaluate every model and show them in one table, each compared with the first.

    Args:
        models: their references.
        given: the settings of the evaluation.
        output: the folder of the run; None shows the numbers and keeps nothing.
        console: where to show it.
        where: where the settings are from, for messages.

    Raises:
        UserError: whatever is wrong with the request.
        FailedStagesError: an evaluation failed; the others are kept.
        Stopped: Ctrl-C; the same call goes on from there, if there is an output folder.
    """
    stages = [make_stage("evaluate", {**given, "model": model}, where=where) for model in models]
    check_keys(stages[0].settings["judges"])
    if output is None:
        with scratch_folder() as folder:
            _run(models, stages, folder, console, None)
        return
    claim_root(output)
    _run(models, stages, output, console, output)
    console.print(f"the results are in {output}", highlight=False, markup=False)


def _run(
    models: Sequence[str], stages: Sequence[Any], root: Path, console: Console, kept: Path | None
) -> None:
    distinct = list({stage.identity: stage for stage in stages}.values())
    pipelines = [
        Pipeline(name, {"evaluate": stage}, {"variant": name})
        for name, stage in zip(_names(models), stages, strict=True)
    ]
    about = {"title": f"{len(models)} models by one protocol", "command": "holdfast evaluate"}
    write_record(root, pipelines, about)
    with Display(console, distinct, "evaluate") as display:
        try:
            outcome = run_stages(distinct, root, display, Launch(workers=1))
        except KeyboardInterrupt:
            raise Stopped from None
    write_record(root, pipelines, about, outcome)
    if outcome.failures and outcome.failures.keys() == outcome.mistakes.keys():
        raise UserError(next(iter(outcome.mistakes.values())))
    if outcome.failures:
        for trace in outcome.failures.values():
            console.print(trace, markup=False, highlight=False)
        count = len(outcome.failures)
        raise FailedStagesError(f"{count} of {len(distinct)} evaluations failed; see above.")
    with disk_errors(root / "results.json"):
        write_json(root / "results.json", collect(pipelines, root))
    contents = [
        json.loads((stage_folder(root, stage) / "evaluation.json").read_text(encoding="utf-8"))
        for stage in stages
    ]
    names = _names(models)
    content = {"folder": kept, **models_content(names, contents)}
    answer(console, "evaluate A B", content, models_table(names, contents))


def _names(models: Sequence[str]) -> list[str]:
    """The last part of each reference, or all of it where two end alike."""
    short = [Path(model).name for model in models]
    return short if len(set(short)) == len(short) else list(models)
