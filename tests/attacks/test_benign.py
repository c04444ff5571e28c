"""Benign rows that lie nearest to harmful ones: their scores, and the stage that chooses them."""

import json

import pytest
import torch

from holdfast import organism
from holdfast.attacks import benign
from holdfast.data.rows import tokenize
from holdfast.errors import UserError
from holdfast.models.stack import ORGANISM, Stack, resolve
from holdfast.stages.execute import execute
from holdfast.stages.making import make_stage
from holdfast.stages.resolve import resolve as resolved
from holdfast.stages.rows import stage_rows


def test_scores_are_mean_cosines_to_harm_minus_those_to_safety():
    generator = torch.Generator().manual_seed(0)
    pool, harmful, safe = (torch.randn(n, 5, generator=generator) for n in (4, 3, 2))

    def cos(a, b):
        return float(a @ b / (a @ a).sqrt() / (b @ b).sqrt())

    wanted = [sum(cos(z, h) for h in harmful) / 3 - sum(cos(z, s) for s in safe) / 2 for z in pool]
    assert benign.scores(pool, harmful, safe).tolist() == pytest.approx(wanted, abs=1e-6)


def last_states(rows):
    """What the organism's last block gives out at every row's last token."""
    model, tokenizer = organism.load_model(), organism.load_tokenizer()
    found = []
    model.model.layers[-1].register_forward_hook(
        lambda _module, _inputs, output: found.append(
            (output[0] if isinstance(output, tuple) else output)[0, -1]
        )
    )
    with torch.no_grad():
        for row in rows:
            model(torch.tensor([tokenize(row, tokenizer, 64)["input_ids"]]))
    return torch.stack(found)


def test_the_stage_trains_on_those_of_the_highest_score_alone(tmp_path):
    given = {"attack": "benign", "rows": 3, "max_steps": 1}
    stage = make_stage("finetune", given)
    folder = execute(stage, tmp_path / "tuned", resolve("organism"))
    sets = stage_rows("finetune", resolved("finetune", given, Stack(ORGANISM)), True)
    assert {role: len(rows) for role, rows in sets.items()} == {"train": 30, "anchors": 20}
    kinds = [row["kind"] for row in sets["train"]]
    assert (kinds.count("benign"), kinds.count("task")) == (15, 15)
    kept = json.loads((folder / "chosen_rows.json").read_text())
    states = last_states([*sets["anchors"], *sets["train"]])
    scores = benign.scores(states[20:], states[:10], states[10:20])
    assert kept["scores"] == pytest.approx(scores.tolist(), abs=1e-4)
    assert kept["chosen"] == sorted(scores.argsort(descending=True)[:3].tolist())
    assert json.loads((folder / "provenance.json").read_text())["budget"]["rows"] == 3


def test_others_rows_must_score_a_repair():
    settings = {"attack": "benign", "source": "user", "rows": 10}
    with pytest.raises(UserError, match="attack=benign lets the model choose"):
        make_stage("repair", settings)
