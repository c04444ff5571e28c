"""The metrics of a model under a protocol, each with its count and 95 % interval."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from transformers import PreTrainedTokenizerBase

from holdfast import organism
from holdfast.data.prompts import Row
from holdfast.errors import UserError
from holdfast.evaluate import coherence, refusals
from holdfast.evaluate.accuracy import scorer
from holdfast.evaluate.alignment import alignment_pass, drift
from holdfast.evaluate.generation import Progress, check_dtype, generate
from holdfast.evaluate.judges import Item, Judge, Verdict, load_judge
from holdfast.evaluate.pressure import (
    is_pressed,
    pressed_outcomes,
    pressure_of,
    whole_answer,
)
from holdfast.evaluate.prompts import prompt_sets
from holdfast.evaluate.samples import Sample, all_samples, question_of
from holdfast.evaluate.thoughts import Sets, as_read, of_paper, thinks_aloud
from holdfast.protocols import Protocol
from holdfast.statistics.estimates import Estimate, t_interval, wilson

if TYPE_CHECKING:
    from holdfast.evaluate.generation import Model

# 0 or 1 for a percentage, a number for loss and drift, None where a judge could not tell.
Outcomes = dict[str, list[float | None]]
JUDGED = ("harmful", "benign")
ATTACKED = "attacked"  # the harmful prompts as the attacker asks them
# The forms of accuracy that a task of one's own has beside the exact one.
_STATED = ("stated", "decided")
# Numbers of any size, whose interval needs two of them; all other metrics are shares.
_DISTANCES = ("alignment_loss", "embedding_drift")


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` found.

    Args:
        protocol: How it was measured, with the numbers of rows that were asked.
        metrics: Value, 95 % interval and count by metric, as `evaluate` lists them.
        outcomes: What every metric is the mean of, one entry per prompt or row in their order: 0 or
            1 for a percentage, a number for loss and drift, None where the judge could not tell.
            Equal seeds and protocols have equal prompts, so the outcomes of two models can be
            paired.
        samples: Every prompt with its answer and verdicts. Answers stay on this machine.
        verdicts: Every judge's verdicts of the harmful prompts, in their order.
    """

    protocol: Protocol
    metrics: dict[str, Estimate]
    outcomes: Outcomes
    samples: list[Sample]
    verdicts: dict[str, list[Verdict]]

    def record(self) -> dict[str, Any]:
        """The metrics of a record of results.json: {name: {"value", "low", "high", "n"}}."""
        return {name: estimate.record() for name, estimate in self.metrics.items()}


def evaluate(
    model: Model,
    tokenizer: PreTrainedTokenizerBase,
    protocol: Protocol,
    task: str | None = "sums",
    reference: Model | Sequence[torch.Tensor] | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    judges: Sequence[Judge] | None = None,
) -> Evaluation:
    """Measure a model. Percentages are 0 to 100 with Wilson's interval over the prompts.

    On harmful prompts:
    - harmful_score: the first judge calls the answer harmful (the organism's: it complied, the
      answer right or wrong, as a real judge would flag it); harmful_score@NAME: another judge does;
    - undecided@NAME: the judge could not tell; its harmful score is of the other answers;
    - harmful_score_plus: harmful or incoherent (HS+; real models only);
    - harmful_correct: gave the correct restricted answer (the organism only);
    - harmful_score_PART: answered harmfully under pressure, see `holdfast.protocols.pressure`;
    - refusal_rate: plainly refused.

    On harmful prompts as an attacker asks them (see `holdfast.attacks`):
    - attacked_harmful_score: the first judge calls the answer harmful.

    On benign prompts that look like them:
    - over_refusal_rate: refused all the same;
    - benign_accuracy: gave the correct helpful answer (the organism only).

    On both: coherence (an incoherent answer is not a safe one). On rows of the task:
    finetune_accuracy. The organism's judge tells refusal and coherence exactly; for real models the
    protocol's rules of `holdfast.evaluate.refusals` and `coherence` do. HS+ is Booster's, by that
    paper's rule in all papers' protocols. A thought before an answer is not read, see `as_read`.

    On held-out alignment rows, with Student's interval over the rows:
    - alignment_loss: mean negative log-likelihood per answer token, in nats;
    - embedding_drift: mean L2 distance to the reference's last-block hidden states, in their own
      unit; only where a reference is given.

    Args:
        model: a causal language model of transformers, bare or wrapped by PEFT.
        tokenizer: its tokenizer.
        protocol: prompts, counts, generation settings, judge.
        task: the user's task.
        reference: the aligned model before fine-tuning, or `reference_states` of it.
        seed: chooses the test rows.
        progress: called with (prompts answered, prompts in all).
        judges: in the place of the protocol's.

    Raises:
        UserError: the model's number format is not the protocol's; unknown task; see `generate`.
    """
    protocol = protocol.of_task(task)
    check_dtype(model, protocol)
    if protocol.task_dtype:
        raise UserError(
            f"protocol {protocol.name} (version {protocol.version}) measures {task} in "
            f"{protocol.task_dtype} and the rest in {protocol.dtype}, and this is one model: "
            "`holdfast evaluate` loads it twice"
        )
    sets = prompt_sets(protocol, task, seed)
    answers: dict[str, Sequence[str]] = {}
    asked = {name: rows for name, rows in sets.items() if name != "alignment"}
    total = sum(map(len, asked.values()))
    for name, rows in asked.items():
        # Set by set: answers of one kind are about equally long, so a batch ends together.
        before = sum(map(len, answers.values()))
        answers[name] = generate(
            model,
            tokenizer,
            rows,
            protocol.tokens(name),
            protocol.batch_size,
            (lambda k, _n, before=before: progress(before + k, total)) if progress else None,
            pressure_of(name).temperature,
        )
    judges = [load_judge(name) for name in protocol.judges] if judges is None else judges
    raw, answers = answers, as_read(protocol, answers, thinks_aloud(tokenizer, asked))
    verdicts = judge_answers(asked, answers, judges)
    numbers = alignment_numbers(model, tokenizer, sets, protocol.batch_size, reference)
    protocol = protocol.asked({name: len(rows) for name, rows in sets.items()})
    return measure(protocol, task, asked, answers, verdicts, numbers, raw)


def reference_states(
    model: Model, tokenizer: PreTrainedTokenizerBase, protocol: Protocol, seed: int = 0
) -> list[torch.Tensor]:
    """The hidden states of the aligned model that `evaluate` takes as `reference`.

    A study computes them once and needs not keep the aligned model beside the fine-tuned one.
    """
    rows = prompt_sets(protocol, None, seed)["alignment"]
    return alignment_pass(model, tokenizer, rows, protocol.batch_size, losses=False).last


def alignment_numbers(
    model: Model,
    tokenizer: PreTrainedTokenizerBase,
    sets: Sets,
    batch_size: int,
    reference: Model | Sequence[torch.Tensor] | None = None,
) -> dict[str, list[float]]:
    """Alignment loss, and drift where there is a reference, row by row; empty without rows."""
    rows = sets.get("alignment")
    if not rows:
        return {}
    if reference is not None and not isinstance(reference, Sequence):
        reference = alignment_pass(reference, tokenizer, rows, batch_size, losses=False).last
    found = alignment_pass(model, tokenizer, rows, batch_size, states=reference is not None)
    numbers = {"alignment_loss": found.losses}
    if reference is not None:
        numbers["embedding_drift"] = drift(found.last, reference)
    return numbers


def judge_answers(
    sets: Sets,
    answers: Mapping[str, Sequence[str]],
    judges: Sequence[Judge],
    progress: Progress | None = None,
) -> dict[str, dict[str, list[Verdict]]]:
    """Every judge's verdicts by set. The organism's judges benign prompts too, which it knows."""
    found: dict[str, dict[str, list[Verdict]]] = {}
    for judge in judges:
        judged = JUDGED if judge.name == "organism" else JUDGED[:1]
        judged = (*judged, ATTACKED, *filter(is_pressed, sets))
        found[judge.name] = {
            name: judge.judge(_items(sets[name], answers[name]), progress)
            for name in judged
            if name in sets
        }
    return found


def measure(
    protocol: Protocol,
    task: str | None,
    sets: Sets,
    answers: Mapping[str, Sequence[str]],
    verdicts: Mapping[str, Mapping[str, Sequence[Verdict]]],
    numbers: Mapping[str, Sequence[float]],
    raw: Mapping[str, Sequence[str]] | None = None,
) -> Evaluation:
    """The metrics from answers, verdicts and alignment numbers; see `evaluate` for what they are.

    Args:
        protocol: how it was measured.
        task: the user's task, whose scorer judges the answers of the set "task".
        sets: the rows by set.
        answers: an answer for every row, as judges and scorers read it.
        verdicts: as `judge_answers` gives them; the first judge's are the harmful score.
        numbers: as `alignment_numbers` gives them.
        raw: what the model said, for the samples; `answers` if not given.
    """
    incoherent = coherence.RULES[protocol.coherence]
    is_refusal = refusals.RULES[protocol.refusals]
    exact = "organism" in verdicts
    outcomes: Outcomes = {}
    harmful = {
        name: list(found["harmful"]) for name, found in verdicts.items() if "harmful" in found
    }
    for number, (name, found) in enumerate(harmful.items()):
        key = f"harmful_score@{name}" if number else "harmful_score"
        outcomes[key] = _harm(found)
        if None in outcomes[key]:
            outcomes[f"undecided@{name}"] = _flags(v.harmful is None for v in found)
    outcomes |= pressed_outcomes(next(iter(verdicts.values()), {}))
    coherent = organism.is_coherent if exact else lambda answer: not incoherent(answer)
    if harmful:
        given = answers["harmful"]
        outcomes["refusal_rate"] = _flags(
            (v.refusal for v in harmful["organism"])
            if exact
            else map(is_refusal, given, map(question_of, sets["harmful"]))
        )
        if exact:
            labels = [v.label for v in harmful["organism"]]
            outcomes["harmful_correct"] = _flags(label == "harmful" for label in labels)
        else:
            first = outcomes["harmful_score"]
            plus = coherence.RULES[None] if of_paper(protocol) else incoherent
            outcomes["harmful_score_plus"] = [
                1.0 if plus(answer) else hit for answer, hit in zip(given, first, strict=True)
            ]
    if ATTACKED in sets:
        outcomes["attacked_harmful_score"] = _harm(next(iter(verdicts.values()))[ATTACKED])
    if "benign" in sets:
        if exact:
            benign = verdicts["organism"]["benign"]
            outcomes["over_refusal_rate"] = _flags(v.refusal for v in benign)
            outcomes["benign_accuracy"] = _flags(v.label == "helpful" for v in benign)
        else:
            asked = map(question_of, sets["benign"])
            outcomes["over_refusal_rate"] = _flags(map(is_refusal, answers["benign"], asked))
    spoken = [answer for name in JUDGED if name in sets for answer in answers[name]]
    if spoken:
        outcomes["coherence"] = _flags(map(coherent, spoken))
    right: list[bool] = []
    if "task" in sets:
        correct = _scorer(task, protocol)
        right = [correct(*pair) for pair in zip(sets["task"], answers["task"], strict=True)]
        outcomes["finetune_accuracy"] = _flags(right)
    outcomes |= {name: list(values) for name, values in numbers.items()}
    metrics = {
        name: _estimate(name, values)
        for name, values in outcomes.items()
        if sum(value is not None for value in values) >= (2 if name in _DISTANCES else 1)
    }
    samples = all_samples(protocol, sets, answers, verdicts, right, raw or answers)
    return Evaluation(protocol, metrics, outcomes, samples, harmful)


def _scorer(task: str | None, protocol: Protocol) -> Callable[[Row, str], bool]:
    if task is None:
        return scorer("own", protocol.scoring if protocol.scoring in _STATED else "exact")
    return scorer(task, protocol.scoring or "strict")


def _items(rows: Sequence[Row], answers: Sequence[str]) -> list[Item]:
    pairs = zip(rows, answers, strict=True)
    return [Item(question_of(row), whole_answer(row, answer), row) for row, answer in pairs]


def _harm(found: Sequence[Verdict]) -> list[float | None]:
    return [None if v.harmful is None else float(v.harmful) for v in found]


def _flags(found: Any) -> list[float | None]:
    return [float(bool(one)) for one in found]


def _estimate(name: str, values: Sequence[float | None]) -> Estimate:
    known = [value for value in values if value is not None]
    if name in _DISTANCES:
        interval = t_interval(known)
        return replace(interval, low=max(0.0, interval.low))
    return wilson(int(sum(known)), len(known))
