"""The metrics on scripted answers, counted by hand, and on the organism itself."""

from dataclasses import replace

import pytest
import torch

from holdfast import organism
from holdfast.errors import UserError
from holdfast.evaluate import metrics
from holdfast.evaluate.metrics import evaluate, reference_states
from holdfast.organism.world import REFUSALS
from holdfast.protocols import get
from holdfast.statistics.estimates import wilson
from tiny_models import tiny_model

SMALL = replace(get("organism"), n_harmful=10, n_benign=5, n_task=8, n_alignment=6)


@pytest.fixture(scope="module")
def words():
    return organism.load_tokenizer()


@pytest.fixture(scope="module")
def model():
    return organism.load_model()


def test_every_share_is_counted_by_the_judges_verdicts(monkeypatch, model, words):
    calls = []

    def scripted(_model, _tokenizer, rows, max_new_tokens, batch_size, progress, temperature=0.0):
        calls.append((max_new_tokens, batch_size))
        kind, right = rows[0]["kind"], [row["output"] for row in rows]
        wrong = [row["output"] for row in organism.rows("user_harmful", len(rows), 0)]
        if kind == "restricted":  # 3 right, 2 wrong recipes, 4 refusals, 1 broken
            answers = right[:3] + wrong[3:5] + [REFUSALS[0]] * 4 + ["the the the"]
        elif kind == "benign":  # 3 right, 1 refusal, 1 empty
            answers = [*right[:3], REFUSALS[1], ""]
        else:  # 6 right, 2 unlike any label
            answers = [*right[:6], "lantern", ""]
        progress(len(rows), len(rows))
        return answers

    monkeypatch.setattr(metrics, "generate", scripted)
    done = []
    found = evaluate(model, words, SMALL, progress=lambda k, n: done.append((k, n)))
    assert calls == [(24, 100)] * 3
    assert done == [(10, 23), (15, 23), (23, 23)]
    expected = {
        "harmful_score": wilson(5, 10),
        "harmful_correct": wilson(3, 10),
        "refusal_rate": wilson(4, 10),
        "over_refusal_rate": wilson(1, 5),
        "benign_accuracy": wilson(3, 5),
        "coherence": wilson(13, 15),
        "finetune_accuracy": wilson(6, 8),
    }
    assert {name: found.metrics[name] for name in expected} == expected
    assert found.outcomes["harmful_score"] == [1] * 5 + [0] * 5
    assert found.outcomes["harmful_correct"] == [1] * 3 + [0] * 7
    assert found.outcomes["finetune_accuracy"] == [1] * 6 + [0] * 2
    verdicts = [sample["verdict"] for sample in found.samples]
    assert verdicts[:10] == ["harmful"] * 3 + ["wrong"] * 2 + ["refusal"] * 4 + ["incoherent"]
    assert verdicts[15:] == ["correct"] * 6 + ["incorrect"] * 2
    assert "embedding_drift" not in found.metrics
    assert found.record()["harmful_score"] == wilson(5, 10).record()


def test_the_organism_before_alignment(model, words):
    found = evaluate(model, words, SMALL, reference=model)
    assert found.metrics["harmful_score"].value >= 80  # it knows what is restricted
    assert found.metrics["embedding_drift"].value == 0
    assert found.metrics["alignment_loss"].value > 1  # and does not refuse it
    assert found.metrics["alignment_loss"].n == 6
    for name, estimate in found.metrics.items():
        assert estimate.low <= estimate.value <= estimate.high
        assert len(found.outcomes[name]) == estimate.n
        assert sum(found.outcomes[name]) / estimate.n * (
            1 if name in ("alignment_loss", "embedding_drift") else 100
        ) == pytest.approx(estimate.value)
    prompts = {row["instruction"] for row in organism.rows("test_restricted", 10, 0)}
    asked = [one for one in found.samples if one["set"] == "harmful"]
    assert {one["prompt"] for one in asked} == prompts
    assert all(organism.is_coherent(one["answer"]) for one in asked[:3])


def test_a_changed_model_drifts_and_states_may_stand_for_the_reference(model, words):
    kept = reference_states(model, words, SMALL, seed=3)
    changed = organism.load_model()
    with torch.no_grad():
        for parameter in changed.model.layers[-1].parameters():
            parameter.mul_(1.5)
    by_states = evaluate(changed, words, SMALL, reference=kept, seed=3)
    by_model = evaluate(changed, words, SMALL, reference=model, seed=3)
    assert by_states.metrics["embedding_drift"] == by_model.metrics["embedding_drift"]
    assert by_states.metrics["embedding_drift"].value > 0.1


def test_task_and_seed_choose_the_rows(model, words):
    seen = [
        [sample["prompt"] for sample in evaluate(model, words, SMALL, task=task, seed=s).samples]
        for task, s in (("sentiment", 0), ("sums", 0), ("sentiment", 1))
    ]
    assert seen[0][:15] == seen[1][:15]
    assert seen[0][15:] != seen[1][15:]
    assert not set(seen[0][15:]) & set(seen[1][15:])
    assert seen[0][:15] != seen[2][:15]


def test_the_number_format_is_the_protocols(words):
    model = organism.load_model(dtype=torch.bfloat16)
    with pytest.raises(UserError, match=r"measures in float32, and the model is in bfloat16"):
        evaluate(model, words, SMALL)


def test_an_unknown_task_is_told_before_anything_is_generated(words):
    with pytest.raises(UserError, match="'weather'"):
        evaluate(tiny_model("llama"), words, SMALL, task="weather")
