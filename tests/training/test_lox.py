"""LoX, against a plain SVD of what plain training changed."""

import pytest
import torch
from steps import arguments, collator, rows, weights
from transformers import TrainerCallback

from holdfast import LoxConfig, LoxTrainer, SFTConfig, SFTTrainer, UserError
from tiny_models import lora, tiny_model

SETTINGS = {"optim": "sgd", "learning_rate": 0.5, "max_steps": 2}


def trained(trainer, folder, adapter, callbacks=(), **own):
    kind, config = {"lox": (LoxTrainer, LoxConfig), "sft": (SFTTrainer, SFTConfig)}[trainer]
    model = tiny_model("llama")
    model = lora(model, r=4, lora_alpha=6) if adapter else model
    args = config(**arguments(folder, **SETTINGS, **own))
    trainer = kind(model, args, collator(), rows(8), callbacks=[*callbacks])
    trainer.train()
    return trainer.model


def merged(model):
    model = model.merge_and_unload() if hasattr(model, "merge_and_unload") else model
    return {name: weight.detach().clone() for name, weight in model.named_parameters()}


@pytest.mark.parametrize("adapter", [True, False])
@pytest.mark.parametrize("k", [0, 1, 2, 9])
def test_the_step_is_the_svd_of_what_the_training_changed(tmp_path, adapter, k):
    before = weights(tiny_model("llama"))
    aligned = merged(trained("sft", tmp_path / "sft", adapter))
    stepped = merged(trained("lox", tmp_path / "lox", adapter, coefficient=1.5, directions=k))
    moved = 0
    for name, weight in aligned.items():
        V = (weight - before[name]).double()
        if V.ndim < 2:
            assert torch.equal(stepped[name], weight), name
            continue
        U, S, Vt = torch.linalg.svd(V, full_matrices=False)
        n = k or len(S)
        expected = weight + 1.5 * (U[:, :n] * S[:n]) @ Vt[:n]
        gap = (stepped[name] - expected).norm() / expected.norm()
        assert gap <= 1e-5, (name, gap)
        moved += bool((stepped[name] - weight).norm() > 1e-4)
    assert moved >= 4


@pytest.mark.parametrize("adapter", [True, False])
def test_without_a_step_it_is_plain_training_bit_for_bit(tmp_path, adapter):
    one = weights(trained("lox", tmp_path / "a", adapter, coefficient=0))
    other = weights(trained("sft", tmp_path / "b", adapter))
    assert all(torch.equal(weight, other[name]) for name, weight in one.items())


class Stop(TrainerCallback):
    """An interruption after the first step."""

    def on_step_end(self, args, state, control, **_):
        control.should_training_stop = True


@pytest.mark.parametrize("adapter", [True, False])
def test_a_training_that_was_stopped_is_not_stepped_past(tmp_path, adapter):
    one = weights(trained("lox", tmp_path / "a", adapter, [Stop()]))
    other = weights(trained("sft", tmp_path / "b", adapter, [Stop()]))
    assert all(torch.equal(weight, other[name]) for name, weight in one.items())


def test_each_expert_of_a_stack_is_a_matrix_of_its_own(tmp_path):
    model = tiny_model("llama")
    experts = torch.nn.Parameter(torch.randn(3, 5, 4))
    model.register_parameter("experts", experts)
    trainer = LoxTrainer(model, LoxConfig(**arguments(tmp_path, directions=1)), collator(), rows(4))
    V = torch.randn(3, 5, 4)
    before = experts.detach().clone()
    with torch.no_grad():
        experts += V
    trainer._extrapolate()
    for one, start, changed in zip(experts, before, V, strict=True):
        U, S, Vt = torch.linalg.svd(changed)
        expected = start + changed + 1.25 * S[0] * U[:, :1] @ Vt[:1]
        torch.testing.assert_close(one.detach(), expected)


def test_an_adapter_keeps_its_rank_and_its_a(tmp_path):
    one = weights(trained("lox", tmp_path / "a", True, directions=2))
    other = weights(trained("sft", tmp_path / "b", True))
    for name, weight in one.items():
        assert torch.equal(weight, other[name]) == ("lora_B" not in name), name


def test_an_adapter_that_is_no_plain_lora_is_refused(tmp_path):
    model = lora(tiny_model("llama"), use_dora=True)
    with pytest.raises(UserError, match="no plain product"):
        LoxTrainer(model, LoxConfig(**arguments(tmp_path)), collator(), rows(4))
