"""``holdfast align``, ``finetune``, ``repair`` and ``evaluate``: one stage in this process."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from holdfast.commands.answers import answer
from holdfast.commands.pipelines import COMMAND_LINE, tell_doubts, tell_overlaps
from holdfast.engine.display import Display
from holdfast.engine.gpus import machine_notes
from holdfast.errors import UserError
from holdfast.evaluate.judges.registry import check_keys
from holdfast.models.stack import ABOUT
from holdfast.models.stack import resolve as resolve_model
from holdfast.settings import (
    Place,
    check,
    lines_of,
    load_yaml,
    merge,
    parse_overrides,
    words_lines,
)
from holdfast.stages.folders import checked_output, put_aside
from holdfast.stages.making import make_stage
from holdfast.stages.methods import short_name
from holdfast.stages.pipeline import Stage
from holdfast.stages.resolve import resolve
from holdfast.stages.scratch import scratch_folder
from holdfast.stages.settings import method_fields, stage_fields
from holdfast.stages.whole import is_finished


def run_stage(
    kind: str, words: Sequence[str], config: Path | None, output: Path | None, console: Console
) -> None:
    """Run one stage in this process: ``holdfast align``, ``finetune``, ``repair``, ``evaluate``.

    Several models after ``evaluate`` are compared.
    """
    if output is not None:
        is_root = kind == "evaluate" and sum("=" not in word for word in words) > 1
        output = checked_output(output, is_root)
    models, given = _given(kind, words, config)
    if len(models) > 1 and kind == "evaluate":
        from holdfast.commands.compare import compare_models

        compare_models(models, given, output, console, COMMAND_LINE)
        return
    stage = stage_of(kind, words, config)
    if output is None:
        output = _default_output(stage)
        output = output and checked_output(output)
    if kind == "evaluate" and output is None:
        with scratch_folder() as folder:
            _run_here(stage, folder, console, None)
        return
    assert output is not None
    _run_here(stage, output, console, output)
    console.print(f"the result is in {output}", highlight=False, markup=False)


def stage_of(kind: str, words: Sequence[str], config: Path | None) -> Stage:
    """The stage that a command's words and file ask for; a word without ``=`` is the model.

    Raises:
        UserError: more than one model, or whatever is wrong with the stage.
    """
    models, given = _given(kind, words, config)
    if len(models) > 1:
        raise UserError(
            f"{COMMAND_LINE}: '{models[1]}' is one model too many; settings are written key=value."
        )
    said = words_lines(parse_overrides([word for word in words if "=" in word]), COMMAND_LINE)
    written = lines_of(config) if config else {}
    return make_stage(kind, given, where=Place(COMMAND_LINE, {**written, **said}))


def _given(
    kind: str, words: Sequence[str], config: Path | None
) -> tuple[list[str], dict[str, Any]]:
    """The models that the words name, and the settings of file and words together."""
    models = [word for word in words if "=" not in word]
    said = parse_overrides([word for word in words if "=" in word])
    if models:
        said = {**said, "model": models[0]}
    written = load_yaml(config) if config else {}
    given = merge(written, said)
    if config and written:
        # Settings that a resolved config.yaml holds beside a stage's own, for its readers.
        for key in ("stage", *ABOUT):
            written.pop(key, None)
            given.pop(key, None)
        # What a word replaces is not looked at: it may be what the word mends.
        kept = {k: v for k, v in written.items() if isinstance(said.get(k, {}), Mapping)}
        _check_file(kind, kept, given, Place(str(config), lines_of(config)))
    return models, given


def _check_file(
    kind: str, written: Mapping[str, Any], given: Mapping[str, Any], where: Place
) -> None:
    stack = resolve_model(str(given.get("model", "organism")))
    resolve(kind, {k: v for k, v in given.items() if k in ("method", "model")}, stack, where)
    method = str(given.get("method", getattr(stage_fields(kind).get("method"), "default", "")))
    check(written, {**stage_fields(kind), **method_fields(kind, method)}, where)


def _default_output(stage: Stage) -> Path | None:
    """A repair goes beside its model; other stages are told where to go."""
    model = Path(str(stage.settings["model"])).expanduser().resolve()
    if stage.kind == "evaluate":
        return None
    if stage.kind == "repair" and model.is_dir():
        return model.with_name(f"{model.name}-{short_name(stage.settings['method'])}")
    raise UserError(f"{COMMAND_LINE}: --output is missing: name a new folder for the result.")


def _run_here(stage: Stage, output: Path, console: Console, kept: Path | None) -> None:
    if is_finished(output, stage.identity):
        console.print(f"{output} holds this result already.", highlight=False, markup=False)
        _show_outcome(stage, output, console, kept)
        return
    check_keys(stage.settings.get("judges", ()))
    if (aside := put_aside(output, stage.identity)) is not None:
        console.print(
            f"note: an interrupted run with other settings is kept in {aside}: those settings go "
            "on from it, or remove it.",
            highlight=False,
            markup=False,
        )
    tell_doubts([stage], console)
    with Display(console, [stage], stage.kind) as display:
        for note in machine_notes([stage]):
            display.told(note)
        display.begun(stage)
        from holdfast.stages.execute import execute, stop_on_interrupt

        model = resolve_model(stage.settings["model"])
        reference = stage.settings.get("reference")
        with stop_on_interrupt() as stopping:
            execute(
                stage,
                output,
                model,
                resolve_model(reference) if reference else None,
                progress=lambda share, note: display.moved(stage, share, note),
                stopping=stopping,
            )
        display.ended(stage, "done")
    _show_outcome(stage, output, console, kept)


def _show_outcome(stage: Stage, output: Path, console: Console, kept: Path | None) -> None:
    """Show what a stage found; ``kept`` is its folder, unless that is about to go."""
    from holdfast.report.single import (
        evaluation_content,
        evaluation_table,
        judges_table,
        repair_content,
        repair_summary,
    )

    about = {"folder": kept, "model": stage.settings["model"]}
    if stage.kind == "evaluate":
        path = output / "evaluation.json"
        tables = [evaluation_table(path), *filter(None, [judges_table(path)])]
        answer(console, "evaluate", {**about, **evaluation_content(path)}, *tables)
    else:
        about["method"], path = stage.settings["method"], output / "repair_report.json"
        found = {"repair": repair_content(path)} if path.is_file() else {}
        told = [repair_summary(path)] if path.is_file() else []
        answer(console, stage.kind, {**about, **found}, *told)
    tell_overlaps([output], console)
