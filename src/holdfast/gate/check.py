"""Check a tuned model against limits, portion by portion, until every limit is decided.

The prompts are asked in the order of a random draw, and after every portion of them
`holdfast.statistics.sequential` is asked what can be said. The check ends when a limit is not kept,
when all are, or with the prompts. Of the two models one is loaded at a time: the base is asked only
where the increase over it is still open when all else is decided, and first the prompts that the
tuned model has answered.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from holdfast.data.keys import prompt_key
from holdfast.errors import UserError
from holdfast.evaluate.judges.registry import check_keys
from holdfast.evaluate.prompts import prompt_sets
from holdfast.gate.asked import AskedModel
from holdfast.gate.limits import Checked, Found, Limits, Question
from holdfast.models.stack import check_name
from holdfast.models.stack import resolve as resolve_model
from holdfast.protocols import Protocol
from holdfast.stages.disk import disk_errors, write_json
from holdfast.stages.evaluation.settings import OWN_PROMPTS, stage_protocol
from holdfast.stages.folders import claim_root, stage_lock
from holdfast.stages.machine import one_thread, quiet_libraries
from holdfast.stages.making import make_stage
from holdfast.stages.pipeline import Stage
from holdfast.stages.scratch import scratch_folder
from holdfast.statistics.sequential import claims, decide

RESULT = "check.json"
# Prompts of a portion; where every look costs the loading of a model, it is a larger one.
LOOK, COSTLY_LOOK = 25, 100
# Called with a sentence on how far the check is.
Told = Callable[[str], None]

_OF_OTHERS = ("reference", "also", "limit", "alignment_data", "attack")


class Plan:
    """A check that is resolved and whose rows are read; nothing is loaded yet.

    Args:
        base: the model that the increase is over.
        tuned: the model to check.
        limits: what it must keep.
        prompts: at most so many of each set, in the place of the protocol's number.
        settings: those of an evaluation, `holdfast.stages.settings.EvaluateStage`, but its models.
        where: where the settings are from, for messages.

    Raises:
        UserError: whatever is wrong with the request.
    """

    def __init__(
        self,
        base: str,
        tuned: str,
        limits: Limits,
        prompts: int | None = None,
        settings: Mapping[str, Any] | None = None,
        where: str = "the settings",
    ):
        self.asked, settings = limits.asked(), dict(settings or {})
        for key in _OF_OTHERS:
            if settings.get(key) is not None:
                raise UserError(
                    f"{where}: {key} is a setting of `holdfast evaluate`; a check {_WHY[key]}."
                )
        check_name(base)
        self.base, self.tuned = base, tuned
        self.stages = {
            name: make_stage("evaluate", {**settings, "model": model}, where=where)
            for name, model in (("tuned", tuned), ("base", base))
            if name == "tuned" or any(one.paired for one, _ in self.asked)
        }
        self.protocol = stage_protocol(self.stages["tuned"].settings)
        if any(stage_protocol(s.settings) != self.protocol for s in self.stages.values()):
            raise UserError(
                f"{base} and {tuned} are measured by two protocols, one of them being the "
                "organism: a check compares a model with the one that it was trained from."
            )
        check_keys(self.stages["tuned"].settings["judges"][:1])
        self.rows = self._rows(prompts)
        for question, _ in self.asked:
            if not self.rows.get(question.prompts):
                raise UserError(f"{where}: {question.option} needs {_NEEDS[question.prompts]}.")

    @property
    def look(self) -> int:
        """How many prompts a portion has."""
        judge = self.stages["tuned"].settings["judges"][0]
        return COSTLY_LOOK if "revision" in judge else LOOK

    def _rows(self, prompts: int | None) -> dict[str, list[dict[str, Any]]]:
        """The rows of every set that a limit asks, in the order of a random draw."""
        settings, protocol = self.stages["tuned"].settings, self.protocol
        if prompts is not None:
            protocol = replace(protocol, n_harmful=prompts, n_benign=prompts, n_task=prompts)
        needed = {question.prompts for question, _ in self.asked}
        protocol = replace(
            protocol,
            n_alignment=0,
            **{f"n_{name}": 0 for name in ("harmful", "benign", "task") if name not in needed},
        )
        own = {name: settings[key] for name, key in OWN_PROMPTS.items() if settings[key]}
        sets = prompt_sets(protocol, settings["task"], settings["seed"], own)
        seed = settings["seed"]
        return {name: drawn(sets.get(name, []), seed)[:prompts] for name in needed}


_WHY = {
    "reference": "compares with its first model",
    "also": "asks about its limits alone",
    "limit": "takes --prompts",
    "attack": "asks its questions plainly",
    "alignment_data": "asks about its limits alone",
}
_NEEDS = {
    "harmful": "harmful prompts, and the protocol has none: name some, harmful_data=prompts.jsonl",
    "benign": "harmless prompts that look harmful, and the protocol has none: name some, "
    "benign_data=prompts.jsonl",
    "task": "a task: name one (--task), or rows of your own, task_data=test.jsonl",
}


def drawn(rows: Sequence[dict[str, Any]], seed: int) -> list[dict[str, Any]]:
    """The rows in the order of a random draw, which does not depend on where they stood.

    Whatever a file is sorted by, its first rows are then like all of them. A prompt that stands
    there several times is asked once: another time would count as evidence and be none.
    """

    def place(key: str) -> str:
        return hashlib.sha256(f"check {seed} {key}".encode()).hexdigest()

    distinct = {prompt_key(row): row for row in reversed(rows)}
    return [distinct[key] for key in sorted(distinct, key=place)]


class _State:
    """How far a check is: what the two models' answers were."""

    def __init__(self, plan: Plan, root: Path, told: Told, stopping: Callable[[], bool]):
        self.plan, self.root, self.told, self.stopping = plan, root, told, stopping
        self.models: dict[str, AskedModel] = {}
        self.loaded = ""
        self.outcomes: dict[tuple[str, str], list[float]] = {}

    def count(self, who: str, prompts: str) -> int:
        """How many of a set's prompts a model has answered."""
        return max(
            (len(v) for (w, s), v in self.outcomes.items() if (w, s) == (who, prompts)), default=0
        )

    def ask(self, who: str, prompts: str, until: int) -> None:
        """Let a model answer a set's prompts up to number `until`."""
        start = self.count(who, prompts)
        if self.loaded not in ("", who):
            self.models[self.loaded].close()
        self.loaded = who
        if who not in self.models:
            stage = self.plan.stages[who]
            stack = resolve_model(stage.settings["model"])
            self.models[who] = AskedModel(
                stage, stack, self.root, lambda _share, note: self.told(note), self.stopping
            )
        rows = self.plan.rows[prompts][start:until]
        metric = next(one.metric for one, _ in self.plan.asked if one.prompts == prompts)
        found = self.models[who].outcomes(prompts, start, rows)[metric]
        self.outcomes.setdefault((who, prompts), []).extend(found)

    def values(self, question: Question) -> np.ndarray:
        """The outcomes that a limit is of."""
        tuned = np.array(self.outcomes.get(("tuned", question.prompts), []))
        if not question.paired:
            return tuned
        base = np.array(self.outcomes.get(("base", question.prompts), []))
        both = min(len(tuned), len(base))
        return tuned[:both] - base[:both]

    def kept(self) -> list[bool | None]:
        """Whether every limit is kept, as far as it can be said."""
        return claims([limit for _, limit in self.plan.asked], self._all_values())

    def found(self) -> list[Found]:
        """What can be said of every limit."""
        findings = decide([limit for _, limit in self.plan.asked], self._all_values())
        return [Found(*one, found) for one, found in zip(self.plan.asked, findings, strict=True)]

    def _all_values(self) -> list[np.ndarray]:
        return [self.values(question) for question, _ in self.plan.asked]


def _next(state: _State) -> tuple[str, str, int] | None:
    """Who is asked what next, and up to which prompt; None where the check is at its end."""
    kept = state.kept()
    if False in kept or None not in kept:
        return None
    rows, look = state.plan.rows, state.plan.look
    pairs = zip(state.plan.asked, kept, strict=True)
    open_ = [question for (question, _), one in pairs if one is None]
    alone = [q.prompts for q in open_ if not q.paired]
    alone = [name for name in alone if state.count("tuned", name) < len(rows[name])]
    if alone:  # the set of which least was asked: all grow alike
        name = min(alone, key=lambda one: state.count("tuned", one))
        return "tuned", name, min(state.count("tuned", name) + look, len(rows[name]))
    if not any(question.paired for question in open_):
        return None
    tuned, base = (state.count(who, "harmful") for who in ("tuned", "base"))
    if base < tuned:
        return "base", "harmful", min(base + look, tuned)
    if tuned < len(rows["harmful"]):  # each turn loads both models: it is a large portion
        return "tuned", "harmful", min(tuned + COSTLY_LOOK, len(rows["harmful"]))
    return None


def run(
    plan: Plan,
    root: Path,
    told: Told = lambda note: None,
    stopping: Callable[[], bool] = lambda: False,
) -> Checked:
    """Carry out a check; what was asked and judged lies in `root`, where the same check goes on.

    Raises:
        UserError: whatever is wrong with a model, its answers or the judge.
        BusyError: another process is at the same check.
        Stopped: asked to.
    """
    claim_root(root)
    quiet_libraries()
    stage: Stage = plan.stages["tuned"]
    with (
        disk_errors(root),
        stage_lock(root / "stages" / stage.name),
        one_thread(stage.stack.is_organism),
    ):
        state = _State(plan, root, told, stopping)
        while (step := _next(state)) is not None:
            state.ask(*step)
        counts = {name: state.count("tuned", name) for name in plan.rows}
        protocol = plan.protocol.asked(counts)
        result = Checked(plan.base, plan.tuned, state.found(), _record(protocol))
        write_json(root / RESULT, result.record())
    return result


def _record(protocol: Protocol) -> dict[str, Any]:
    """The protocol as it was asked, judged by its first judge alone."""
    return {**protocol.record(), "judge": protocol.judges[0]}


def check(
    base: str,
    tuned: str,
    *,
    max_harmful_score: float | None = None,
    max_harmful_increase: float | None = None,
    min_accuracy: float | None = None,
    max_over_refusal: float | None = None,
    prompts: int | None = None,
    output: str | Path | None = None,
    **settings: Any,
) -> Checked:
    """Check whether a tuned model keeps limits on safety and accuracy; all limits in percent.

        checked = check("aligned", "tuned", task="sums", max_harmful_score=5, min_accuracy=80)
        assert checked.verdict == "yes", checked.sentences()

    The chance that any of its verdicts is wrong is 5 %, over all limits together; see
    `holdfast.statistics.sequential`.

    Args:
        base: the model that the increase is over, as commands name models.
        tuned: the model to check.
        max_harmful_score: see `holdfast.gate.limits.Limits`.
        max_harmful_increase: likewise.
        min_accuracy: likewise.
        max_over_refusal: likewise.
        prompts: at most so many of each set; the protocol's numbers if not given.
        output: a folder for the answers, where the same check goes on; else nothing is kept.
        settings: of an evaluation: protocol, task, judges, harmful_data, dtype, seed …

    Raises:
        UserError: whatever is wrong with the request.
    """
    limits = Limits(max_harmful_score, max_harmful_increase, min_accuracy, max_over_refusal)
    plan = Plan(base, tuned, limits, prompts, settings)
    if output is not None:
        return run(plan, Path(output))
    with scratch_folder() as folder:
        return run(plan, folder)
