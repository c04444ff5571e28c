"""The sets of rows that a protocol asks about; nothing here imports torch.

Sets by name: ``harmful`` (harmful score, refusal), ``benign`` (over-refusal), ``task`` (fine-tune
accuracy), ``open`` (a task whose answers no rule can score, to be exported) and ``alignment``
(alignment loss, embedding drift); and ``harmful@PART`` (`holdfast.evaluate.pressure`). What a
protocol or a model does not have is missing.
"""

import random
from collections.abc import Mapping
from typing import Any

from holdfast import organism
from holdfast.data.keys import prompt_key
from holdfast.data.prompts import shape
from holdfast.data.rows import check_rows
from holdfast.data.sources import load
from holdfast.errors import UserError
from holdfast.evaluate.accuracy import check_gold
from holdfast.evaluate.pressure import pressed_sets
from holdfast.protocols import Protocol
from holdfast.settings import at, nearest

Rows = list[dict[str, Any]]

SETS = ("harmful", "benign", "task", "open", "alignment")
_ORGANISM_ROLES = {
    "harmful": "test_restricted",
    "benign": "test_benign",
    "task": "test_task",
    "alignment": "test_alignment",
}
# Tasks of real data whose answers a scorer can judge.
SCORED_TASKS = ("sst2", "agnews", "gsm8k")
TASKS = (*SCORED_TASKS, "alpaca")


def prompt_sets(
    protocol: Protocol,
    task: str | None,
    seed: int,
    own: Mapping[str, str] | None = None,
    limit: int | None = None,
) -> dict[str, Rows]:
    """The rows of every set of a protocol.

    Args:
        protocol: which rows, and how many.
        task: the user's task; none measures no fine-tune accuracy, unless ``own`` has "task".
        seed: which rows of the organism, or of a protocol that draws by the seed.
        own: data references in the place of the protocol's, by the name of the set; all of their
            rows are asked. Who asks harmful prompts of their own names alignment rows, too, or has
            none: the protocol's are of another data set, which need not be there.
        limit: at most so many rows of each set, for a trial.

    Raises:
        UserError: an unknown task; a data set that cannot be read; too few rows.
    """
    own = own or {}
    counts = {
        "harmful": protocol.n_harmful,
        "benign": protocol.n_benign,
        "task": protocol.n_task,
        "open": protocol.n_task,
        "alignment": protocol.n_alignment,
    }
    found: dict[str, Rows] = {}
    for name in SETS:
        if name in own:
            rows = own_rows(own[name], name, task)
        elif name == "alignment" and "harmful" in own and protocol.harmful_data is not None:
            continue
        elif protocol.harmful_data is None:
            if name == "open":
                continue
            rows = organism.rows(_ORGANISM_ROLES[name], counts[name], seed, task or "sums")
        else:
            rows = _of_data(protocol, name, task, counts[name], seed)
        if rows:
            found[name] = rows[:limit]
    return {**found, **pressed_sets(protocol, found.get("harmful", []))}


def own_rows(reference: str, name: str, task: str | None, exact: bool = False) -> Rows:
    """The rows that a user gives in the place of a protocol's.

    Args:
        reference: the data reference.
        name: of the set.
        task: the user's task.
        exact: whether the organism's judge judges the answers, which knows its own rows only.

    Raises:
        UserError: a data set that cannot be read, or a row that cannot be asked or, of a task,
            whose answers cannot be scored; with its number.
    """
    rows = load(reference)
    check_rows(rows, reference, need_answer=name in ("task", "alignment"))
    for number, row in enumerate(rows, start=1):
        if shape(row) == "tokenized":
            raise UserError(
                f"{reference}, row {number}: the row is already tokenized, and an evaluation asks "
                "texts: give 'instruction' and 'output', 'messages', or 'prompt' and 'completion'."
            )
        kinds = _kinds(name, task, exact)
        if kinds and (row.get("kind") not in kinds or not isinstance(row.get("facts"), Mapping)):
            what = f"scores answers of the task {task}" if name == "task" else "judges answers"
            raise UserError(
                f"{reference}, row {number}: the organism {what} by its own rows, whose columns "
                f"'kind' ({' or '.join(kinds)}) and 'facts' are not here: name another judge, or "
                "task=null for answers that must equal the row's output."
            )
    if name == "task" and task in SCORED_TASKS:
        check_gold(task, rows, reference)
    return rows


def _kinds(name: str, task: str | None, exact: bool) -> tuple[str, ...]:
    """The kinds of the organism's rows that a set must be of; none where any row will do."""
    if name == "task":
        return ("task",) if task in organism.TASKS else ()
    return ("restricted", "benign") if exact and name in ("harmful", "benign") else ()


def check_task(task: str | None, is_organism: bool, where: str) -> None:
    """Check the name of a task, before anything is read.

    Raises:
        UserError: there is no such task for this kind of model.
    """
    known = organism.TASKS if is_organism else TASKS
    if task is None or task in known:
        return
    close = nearest(task, known)
    hint = f"did you mean '{close}'? " if close else ""
    whose = "the organism's tasks" if is_organism else "the tasks of real data"
    raise UserError(
        f"{at(where, 'task')}: there is no task '{task}'; {hint}{whose} are {', '.join(known)}"
        + ("." if is_organism else "; for rows of your own name a file (task_data=test.jsonl).")
    )


def _of_data(protocol: Protocol, name: str, task: str | None, count: int, seed: int) -> Rows:
    references = {
        "harmful": protocol.harmful_data,
        "benign": protocol.benign_data,
        "task": f"{task}:test" if task in SCORED_TASKS else None,
        "open": "alpaca:test" if task == "alpaca" else None,
        "alignment": protocol.alignment_data,
    }
    reference = references[name]
    if reference is None or not count:
        return []
    rows = load(reference)
    if name == "alignment":  # whose loss is the answers', so there must be one
        rows = [row for row in rows if row["output"].strip()]
    if protocol.draw == "seed":
        # A prompt that stands there with several answers is asked once.
        distinct = list({prompt_key(row): row for row in reversed(rows)}.values())[::-1]
        rows = random.Random(f"{name} {seed}").sample(distinct, min(count, len(distinct)))
    return rows[:count]
