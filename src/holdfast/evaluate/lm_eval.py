"""Any task of the LM Evaluation Harness (package ``lm_eval``, the extra ``holdfast[lm-eval]``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import PreTrainedTokenizerBase

from holdfast.errors import UserError
from holdfast.models.modes import evaluation_mode
from holdfast.settings import nearest

if TYPE_CHECKING:
    from holdfast.evaluate.generation import Model


def run_tasks(
    model: Model,
    tokenizer: PreTrainedTokenizerBase,
    tasks: Sequence[str],
    limit: int | None = None,
    batch_size: int = 1,
) -> dict[str, dict[str, dict[str, float | None]]]:
    """Run tasks of the harness on a model that is loaded, with the tasks' own prompts.

    The harness downloads a task's data, and renders its prompts by itself: neither the Alpaca
    template nor a chat template is used, as in published results of base models.

    Args:
        model: a causal language model of transformers, bare or wrapped by PEFT.
        tokenizer: its tokenizer.
        tasks: names of the harness's tasks, groups or tags, or paths of one's own YAML files.
        limit: rows of each task; None is all of them. Numbers of fewer rows are for trials.
        batch_size: how many rows at once.

    Returns:
        {task: {metric: {"value": …, "stderr": … or None}}}, each metric in the harness's own unit
        (an accuracy is 0 to 1); a metric with a filter is named "metric,filter".

    Raises:
        UserError: the package is not installed; there is no such task.
    """
    try:
        from lm_eval import simple_evaluate  # pyright: ignore[reportMissingImports] (an extra)
        from lm_eval.models.huggingface import HFLM  # pyright: ignore[reportMissingImports]
        from lm_eval.tasks import TaskManager  # pyright: ignore[reportMissingImports]
    except ModuleNotFoundError as error:
        raise UserError(
            f"the LM Evaluation Harness is not installed ({error.name} is missing): run "
            "`pip install 'holdfast[lm-eval]'`"
        ) from None
    manager = TaskManager()
    for task in tasks:
        if task not in manager.all_tasks and not Path(task).is_file():
            close = nearest(task, manager.all_tasks)
            hint = f"did you mean {close!r}? " if close else ""
            raise UserError(
                f"the LM Evaluation Harness has no task {task!r}: {hint}`lm-eval ls tasks` lists "
                "them, and a task of your own is named by the path of its YAML file"
            )
    with evaluation_mode(model):  # the harness leaves a model in it
        found = simple_evaluate(
            model=HFLM(pretrained=model, tokenizer=tokenizer, batch_size=batch_size),
            tasks=list(tasks),
            limit=limit,
            task_manager=manager,
            log_samples=False,
        )
    return {task: _metrics(entry) for task, entry in found["results"].items()}


def _metrics(entry: Mapping[str, Any]) -> dict[str, dict[str, float | None]]:
    """The metrics of a result such as {"alias": "arc", "acc,none": 0.5, "acc_stderr,none": 0.1}."""
    metrics: dict[str, dict[str, float | None]] = {}
    for key, value in entry.items():
        name, _, filtered = key.partition(",")
        if not filtered or name.endswith("_stderr") or not isinstance(value, int | float):
            continue
        error = entry.get(f"{name}_stderr,{filtered}")
        metrics[name if filtered == "none" else key] = {
            "value": float(value),
            "stderr": float(error) if isinstance(error, int | float) else None,
        }
    return metrics
