"""Run an evaluation: prompts, answers, judges, metrics, each kept as soon as it is there.

In the stage's folder: ``answers.jsonl`` (written as they come, see `holdfast.evaluate.answers`),
``alignment.json`` (loss and drift, row by row), ``also.json`` (what ``also`` asks for),
``samples.jsonl`` (answers with their verdicts), ``evaluation.json`` (metrics, outcomes, agreement
of the judges), ``disagreements.jsonl`` where several judges are asked, and ``alpaca_eval.json`` for
the task alpaca. The first three, and ``task_answers.jsonl``, are taken from an evaluation beside
this one that has them for the same model and prompts: to hear other judges no answer is generated
again.
"""

import gc
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from holdfast.attacks import read
from holdfast.evaluate.agreement import agreement, disagreements
from holdfast.evaluate.alpaca_eval import alpaca_eval_outputs
from holdfast.evaluate.answers import Backend, Progress, answer_all, copy_answers
from holdfast.evaluate.judges import Verdict, load_judge
from holdfast.evaluate.metrics import ATTACKED, Evaluation, judge_answers, measure
from holdfast.evaluate.pressure import pressure_of
from holdfast.evaluate.thoughts import as_read, thinks_aloud
from holdfast.models.system_prompt import check_place
from holdfast.stages.disk import write_json, write_text
from holdfast.stages.evaluation.alignment import alignment_measure
from holdfast.stages.evaluation.also import also_measured
from holdfast.stages.evaluation.model import EvaluatedModel, part
from holdfast.stages.evaluation.settings import stage_protocol
from holdfast.stages.folders import ANSWERS, SAMPLED_ANSWERS, TASK_ANSWERS
from holdfast.stages.memory import judge_memory
from holdfast.stages.work import Work


def run_evaluation(work: Work) -> dict[str, Any]:
    """Measure the model of a stage and write what was found; gives the stage's budget.

    Raises:
        UserError: whatever is wrong with the model, its answers' file or a judge.
        Stopped: asked to; the answers that were there are kept.
    """
    protocol = stage_protocol(work.settings)
    _check_judges(work)
    sets = {name: rows for name, rows in work.rows.items() if name != "alignment"}
    model = EvaluatedModel(work)
    for name in sets:
        check_place(model.tokenizer, pressure_of(name).system, f"the protocol {protocol.name}")
    alignment = alignment_measure(work, model)
    answers = _answers(work, model, sets)
    numbers = alignment()
    also = also_measured(work, model)
    model.close()
    raw, answers = answers, as_read(protocol, answers, thinks_aloud(model.tokenizer, sets))
    judged: dict[str, Any] = dict(sets)
    if ATTACKED in sets:  # judged by the question itself, and by what the attacker reads
        judged[ATTACKED] = sets["harmful"]
        answers[ATTACKED] = [read(work.settings["attack"], one) for one in answers[ATTACKED]]
    verdicts, judges = _verdicts(work, judged, answers)
    protocol = protocol.asked({name: len(rows) for name, rows in work.rows.items()})
    result = measure(protocol, work.settings["task"], sets, answers, verdicts, numbers, raw)
    metrics = {**result.record(), **also}
    content: dict[str, Any] = {"protocol": protocol.record(), "judges": judges, "metrics": metrics}
    if ATTACKED in sets:
        content["attack"] = work.settings["attack"]
    if work.system is not None:
        content["system_prompt"] = work.system.record()
    if "alignment" not in work.rows:
        content["left_out"] = [
            "alignment loss and drift are left out, there being no alignment rows beside one's own "
            "prompts: alignment_data names some"
        ]
    if len(result.verdicts) > 1:
        content["agreement"] = agreement(result.verdicts).record()
        _write_lines(work.folder / "disagreements.jsonl", _disagreements(result))
    write_json(work.folder / "evaluation.json", {**content, "outcomes": result.outcomes})
    _write_lines(work.folder / "samples.jsonl", result.samples)
    if "open" in sets:
        name = Path(work.model.source or work.model.base).name
        outputs = alpaca_eval_outputs(sets["open"], answers["open"], generator=name)
        write_json(work.folder / "alpaca_eval.json", outputs)
    return {"answers": len(result.samples)}


def _answers(
    work: Work, model: EvaluatedModel, sets: Mapping[str, Sequence[Mapping[str, Any]]]
) -> dict[str, list[str]]:
    """The answers of all sets, those of another length or number format in a file of their own."""
    protocol = stage_protocol(work.settings)
    total = max(1, sum(map(len, sets.values())))
    answers: dict[str, list[str]] = {}
    main = (protocol.max_new_tokens, protocol.dtype, 0.0)
    forms = {
        name: (protocol.tokens(name), protocol.dtype_of(name), pressure_of(name).temperature)
        for name in sets
    }
    # The protocol's own number format comes last: what is measured next takes it, too.
    for form in sorted(set(forms.values()), key=lambda form: (form[1] == protocol.dtype, form)):
        asked = {name: rows for name, rows in sets.items() if forms[name] == form}
        file = ANSWERS if form == main else SAMPLED_ANSWERS if form[2] else TASK_ANSWERS
        if asked:
            before = sum(map(len, answers.values()))

            def told(done: int, _: int, before: int = before) -> None:
                share = (before + done) / total
                part(work, "answers", share, f"{before + done}/{total} answers")

            answers |= _file_of_answers(work, model, asked, work.folder / file, form, told)
    return answers


def _file_of_answers(
    work: Work,
    model: EvaluatedModel,
    sets: Mapping[str, Sequence[Mapping[str, Any]]],
    file: Path,
    form: tuple[int, str, float],
    told: Progress,
) -> dict[str, list[str]]:
    size, made_with = stage_protocol(work.settings).batch_size, model.made_with(*form)
    if not file.exists():
        others = sorted(work.folder.parent.glob(f"*/{file.name}"))
        copy_answers(others, file, sets, size, made_with)
    backends: list[Any] = []

    def load() -> Backend:
        backends.append(model.backend(*form))
        return backends[0]

    try:
        return answer_all(sets, file, load, size, made_with, told, work.stopping)
    finally:
        for backend in backends:
            if hasattr(backend, "close"):
                backend.close()


def _check_judges(work: Work) -> None:
    """Let judges that load no model say before any answer what they lack, such as a key."""
    for spec in work.settings["judges"]:
        if "revision" not in spec:
            load_judge(spec)


def _verdicts(
    work: Work, sets: Mapping[str, Any], answers: Mapping[str, Sequence[str]]
) -> tuple[dict[str, dict[str, list[Verdict]]], list[dict[str, Any]]]:
    """Every judge's verdicts and record; one judge in memory at a time."""
    verdicts: dict[str, dict[str, list[Verdict]]] = {}
    records = []
    specs = work.settings["judges"]
    for number, spec in enumerate(specs):

        def told(done: int, total: int, name: str = spec["name"], number: int = number) -> None:
            share = (number + done / max(total, 1)) / len(specs)
            part(work, "judges", share, f"{name}: {done}/{total} answers judged")

        with judge_memory(spec):
            judge = load_judge(spec)
            verdicts |= judge_answers(sets, answers, [judge], told)
        records.append(judge.record())
        del judge
        gc.collect()
    return verdicts, records


def _disagreements(result: Evaluation) -> list[Any]:
    harmful = [sample for sample in result.samples if sample["set"] == "harmful"]
    return disagreements(harmful, result.verdicts)


def _write_lines(path: Path, entries: Sequence[Any]) -> None:
    write_text(path, "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in entries))
