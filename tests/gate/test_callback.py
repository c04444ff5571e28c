"""`SafetyGate` in a `transformers.Trainer`: what it stops, and which checkpoint it keeps."""

import json

import pytest
from transformers import Trainer, TrainerControl, TrainerState, TrainingArguments

from holdfast import SafetyGate, UserError, organism
from holdfast.data.rows import tokenize_rows
from holdfast.evaluate.generation import Generator
from holdfast.evaluate.judges.base import Verdict
from holdfast.training import Collator


class Counting:
    """A judge whose verdicts the test decides, evaluation by evaluation."""

    name = "counting"

    def __init__(self, *scores):
        self.scores, self.calls, self.at, self.number = scores, [], 0, 0

    def record(self):
        return {"name": self.name}

    def judge(self, items, progress=None):
        self.calls.append(len(items))
        score, start = self.scores[self.at], self.number
        self.number += len(items)
        # A share of `score` percent, evenly among the prompts.
        return [
            Verdict((start + i + 1) * score // 100 > (start + i) * score // 100, "")
            for i in range(len(items))
        ]


def trained(tmp_path, judge, rows=120, steps=3, **options):
    """Train the organism for a few steps, evaluated after each; gives trainer and callback."""
    model, tokenizer = organism.load_model(), organism.load_tokenizer()
    prompts = organism.rows("test_restricted", rows, 0)
    gate = SafetyGate(tokenizer, prompts, judge, max_new_tokens=2, batch_size=50, **options)

    class Next(type(gate)):
        def on_evaluate(self, *args, **kwargs):
            super().on_evaluate(*args, **kwargs)
            judge.at, judge.number = min(judge.at + 1, len(judge.scores) - 1), 0

    gate.__class__ = Next
    data = tokenize_rows(organism.rows("user_task", 8, 0), tokenizer, 64)
    args = TrainingArguments(
        str(tmp_path / "out"),
        max_steps=steps,
        per_device_train_batch_size=4,
        learning_rate=1e-3,
        eval_strategy="steps",
        eval_steps=1,
        save_steps=1,
        load_best_model_at_end=True,
        metric_for_best_model="gated_loss",
        greater_is_better=False,
        report_to="none",
        use_cpu=True,
        disable_tqdm=True,
    )
    trainer = Trainer(
        model,
        args,
        Collator(tokenizer),
        train_dataset=data,
        eval_dataset=data,
        callbacks=[gate],
    )
    trainer.train()
    return trainer, gate


def test_it_stops_when_the_model_is_not_safe_any_more(tmp_path):
    judge = Counting(0, 60, 0)
    trainer, gate = trained(tmp_path, judge)
    assert trainer.state.global_step == 2
    assert [finding.kept for finding in gate.findings] == [False]
    assert gate.findings[0].n == 25
    assert trainer.state.best_model_checkpoint.endswith("checkpoint-1")


def test_the_best_checkpoint_is_the_best_safe_one(tmp_path):
    """The loss falls with every step; the last two are not safe, the last one less so."""
    judge = Counting(0, 0, 60, 80)
    trainer, _ = trained(tmp_path, judge, steps=4, stop=False)
    assert trainer.state.global_step == 4
    assert trainer.state.best_model_checkpoint.endswith("checkpoint-2")
    state = json.loads((tmp_path / "out" / "checkpoint-2" / "trainer_state.json").read_text())
    losses = [one["eval_loss"] for one in state["log_history"] if "eval_loss" in one]
    assert losses[1] < losses[0]
    assert trainer.state.best_metric == pytest.approx(losses[1])


def test_of_unsafe_checkpoints_the_safest_is_kept(tmp_path):
    trainer, _ = trained(tmp_path, Counting(80, 60, 70), stop=False)
    assert trainer.state.best_model_checkpoint.endswith("checkpoint-2")


def test_where_nothing_is_decided_the_score_so_far_counts(tmp_path):
    judge = Counting(0, 8)
    trainer, gate = trained(tmp_path, judge, rows=50, steps=2)
    assert gate.findings[0].kept is None
    assert trainer.state.global_step == 2
    assert trainer.state.best_model_checkpoint.endswith("checkpoint-1")


def test_the_increase_is_over_the_model_that_the_training_found(tmp_path):
    judge = Counting(40, 100)
    limits = {"max_harmful_score": None, "max_harmful_increase": 20.0}
    trainer, gate = trained(tmp_path, judge, steps=2, **limits)
    assert judge.calls[0] == 120  # before the first step
    assert trainer.state.global_step == 2
    assert gate.findings[0].kept is False


def test_an_evaluation_before_the_training_asks_the_first_model():
    judge = Counting(40)
    limits = {"max_harmful_score": None, "max_harmful_increase": 20.0}
    tokenizer, prompts = organism.load_tokenizer(), organism.rows("test_restricted", 50, 0)
    gate = SafetyGate(tokenizer, prompts, judge, max_new_tokens=2, batch_size=50, **limits)
    state, control, model = TrainerState(), TrainerControl(), organism.load_model()
    gate.on_evaluate(None, state, control, model=model, metrics={})
    assert judge.calls[0] == 50
    first = gate.base
    gate.on_train_begin(None, state, control, model=model)
    assert gate.base is first
    late = SafetyGate(tokenizer, prompts, judge, max_new_tokens=2, **limits)
    state.global_step = 3
    with pytest.raises(UserError, match="was not there when this training began"):
        late.on_evaluate(None, state, control, model=model, metrics={})


def test_a_thought_before_an_answer_is_not_judged(monkeypatch):
    """As in `holdfast check`: the template may have opened it, or the model."""

    read = set()

    class Reading(Counting):
        def judge(self, items, progress=None):
            read.update(item.answer for item in items)
            return super().judge(items)

    said = {"{{ messages[0].content }}<think>": "bad words</think> no"}
    said["{{ messages[0].content }}"] = "<think>bad words</think> no"
    for template, answer in said.items():
        judge, tokenizer = Reading(0), organism.load_tokenizer()
        read.clear()
        tokenizer.chat_template = template
        prompts = organism.rows("test_restricted", 25, 0)
        gate = SafetyGate(tokenizer, prompts, judge, max_harmful_score=5)
        monkeypatch.setattr(Generator, "__call__", lambda _, rows, a=answer: [a] * len(rows))
        gate.on_evaluate(None, TrainerState(), TrainerControl(), model=organism.load_model())
        assert read == {"no"}


def test_the_real_judge_and_real_answers(tmp_path):
    judge = "organism"
    tokenizer = organism.load_tokenizer()
    gate = SafetyGate(tokenizer, organism.rows("test_restricted", 50, 0), judge, max_new_tokens=24)
    metrics, control = {"eval_loss": 1.0}, type("Control", (), {"should_training_stop": False})()
    gate.on_evaluate(None, None, control, model=organism.load_model(), metrics=metrics)
    assert control.should_training_stop
    assert metrics["eval_harmful_score"] > 50
    assert metrics["eval_gated_loss"] == pytest.approx(1001 + metrics["eval_harmful_score"])


def test_a_model_in_parts_is_refused():
    gate = SafetyGate(organism.load_tokenizer(), organism.rows("test_restricted", 5, 0), "organism")
    model = organism.load_model()
    gate.on_train_begin(None, None, None, model=model)
    model.get_input_embeddings().weight.ds_id = 0  # as DeepSpeed's stage 3 marks its parts
    with pytest.raises(UserError, match="here each holds a part of it: train with DDP"):
        gate.on_train_begin(None, None, None, model=model)


def test_mistakes():
    tokenizer = organism.load_tokenizer()
    rows = organism.rows("test_restricted", 5, 0)
    with pytest.raises(UserError, match="set one or more of"):
        SafetyGate(tokenizer, rows, "organism", max_harmful_score=None)
    with pytest.raises(UserError, match="there are no rows"):
        SafetyGate(tokenizer, [], "organism")
    with pytest.raises(UserError, match="there is no judge"):
        SafetyGate(tokenizer, rows, "organisms")
    with pytest.raises(UserError, match="max_harmful_score is 0"):
        SafetyGate(tokenizer, rows, "organism", max_harmful_score=0)
