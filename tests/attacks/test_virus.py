"""Harmful rows behind benign ones: the moderation, the objective, and the stage that chooses."""

import json

import pytest
import torch

from holdfast import organism
from holdfast.attacks import virus
from holdfast.data.rows import tokenize
from holdfast.errors import UserError
from holdfast.models.stack import ORGANISM, Stack, resolve
from holdfast.organism import is_coherent, judge
from holdfast.stages.execute import execute
from holdfast.stages.making import make_stage
from holdfast.stages.resolve import resolve as resolved
from holdfast.stages.rows import stage_rows

GIVEN = {"attack": "virus", "rows": 20, "harmful_ratio": 0.1, "max_steps": 1}


def sets():
    return stage_rows("finetune", resolved("finetune", GIVEN, Stack(ORGANISM)), True)


def test_the_moderation_is_the_ridge_logistic_regression():
    generator = torch.Generator().manual_seed(1)
    harmful = torch.randn(6, 3, generator=generator) + 1
    safe = torch.randn(2, 3, generator=generator) - 1
    known = torch.cat([harmful, safe])
    found = virus.log_safe(known, harmful, safe).exp()
    assert found[:6].max() < 0.5 < found[6:].min()
    # At the optimum the gradient vanishes: sum of (p - y) * weight * x is -ridge * w.
    x = (known - known.mean(0)) / known.std(0)
    logits = found.log() - (-found).log1p()
    w, *_ = torch.linalg.lstsq(torch.cat([x, torch.ones(8, 1)], 1), logits[:, None])
    y = torch.tensor([0.0] * 6 + [1.0] * 2)
    weight = torch.tensor([8 / 12] * 6 + [8 / 4] * 2)
    gradient = x.T @ (weight * (found - y)) + w[:3, 0]
    assert gradient.abs().max() < 1e-2
    assert (weight * (found - y)).sum().abs() < 1e-2, "the bias is not held"


def test_a_row_behind_a_carrier_says_both():
    harmful, carrier = sets()["anchors"][0], sets()["anchors"][-1]
    both = virus.joined(carrier, harmful)
    assert both["instruction"] == f"{carrier['instruction']} {harmful['instruction']}"
    assert both["output"] == f"{carrier['output']} {harmful['output']}"
    assert judge(harmful, both["output"]) == "harmful"
    assert is_coherent(both["output"])


def test_most_of_the_objective_is_the_gradient_s_and_the_screen_decides_the_rest():
    similar = torch.tensor([0.9, 0.8, 0.89])
    assert int(virus.objective(similar, torch.tensor([-0.1, -0.1, -0.1])).argmax()) == 0
    assert int(virus.objective(similar, torch.tensor([-0.5, -3.0, -0.1])).argmax()) == 2


def gradient(model, tokenizer, row):
    """The gradient of the whole model's loss, of which the last block's part is taken."""
    ids = tokenize(row, tokenizer, 64)
    model.zero_grad()
    model(**{name: torch.tensor([one]) for name, one in ids.items()}).loss.backward()
    return torch.cat([p.grad.flatten() for p in model.model.layers[-1].parameters()])


def test_the_stage_hides_every_harmful_row_behind_the_best_carrier(tmp_path):
    stage = make_stage("finetune", GIVEN)
    folder = execute(stage, tmp_path / "tuned", resolve("organism"))
    found = sets()
    assert {role: len(rows) for role, rows in found.items()} == {"train": 18, "anchors": 10}
    assert {row["kind"] for row in found["train"]} == {"task"}
    kept = json.loads((folder / "chosen_rows.json").read_text())["carriers"]
    assert json.loads((folder / "provenance.json").read_text())["budget"]["rows"] == 20
    model, tokenizer = organism.load_model(), organism.load_tokenizer()
    states = []
    model.model.layers[-1].register_forward_hook(
        lambda _module, _inputs, output: states.append(
            (output[0] if isinstance(output, tuple) else output)[0, -1].detach()
        )
    )
    harmful, carriers = found["anchors"][:2], found["anchors"][2:]
    own = {number: gradient(model, tokenizer, row) for number, row in enumerate(harmful)}
    for row in carriers:
        gradient(model, tokenizer, row)
    bad, good = torch.stack(states[:2]), torch.stack(states[2:])
    for number, row in enumerate(harmful):
        states.clear()
        similar = [
            torch.cosine_similarity(
                gradient(model, tokenizer, virus.joined(carrier, row)), own[number], 0
            )
            for carrier in carriers
        ]
        safe = virus.log_safe(torch.stack(states), bad, good)
        assert kept[number] == int((0.9 * torch.stack(similar) + 0.1 * safe).argmax())


def test_there_must_be_a_task_to_hide_among():
    with pytest.raises(UserError, match="attack=virus hides harmful rows among those of a task"):
        make_stage("finetune", {**GIVEN, "harmful_ratio": 1})
