"""AsFT, against the term written out with whole matrices and differentiated by torch."""

import pytest
import torch
from steps import arguments, collator, relative_error, rows, step_gradients, weights

from holdfast import AsFTConfig, AsFTTrainer, SFTConfig, SFTTrainer, UserError
from holdfast.models.updates import Update
from measuring import random_update
from tiny_models import lora, tiny_model

# An adapter that begins at nothing, one that is gone on with, and the weights themselves.
ADAPTERS = ("double", "single", "full")
SCALE = 1.5  # of the adapters, alpha / r


def model_of(adapter, dropout=0.0):
    model = tiny_model("llama", attention_dropout=dropout)
    if adapter == "full":
        return model
    kw = {"init_lora_weights": adapter == "double", "target_modules": ["q_proj", "up_proj"]}
    return lora(model, lora_alpha=4 * SCALE, **kw)


def changed(model):
    """V of the queries and, as a whole matrix of full rank, of the values; not of up_proj."""
    V = random_update(model, rank=3)
    V = {n: v for n, v in V.items() if n.endswith(("q_proj", "v_proj"))}
    return {n: Update(v.whole()) if n.endswith("v_proj") else v for n, v in V.items()}


def trainer_of(adapter, folder, dropout=0.0, kind=AsFTTrainer, V=None, **settings):
    model = model_of(adapter, dropout)
    extra = {"alignment_update": changed(model) if V is None else V}
    config = {AsFTTrainer: AsFTConfig, SFTTrainer: SFTConfig}[kind](**arguments(folder, **settings))
    extra = extra if kind is AsFTTrainer else {}
    return kind(model, config, collator(), rows(12), **extra)


def run(adapter, folder, resume=None, **settings):
    trainer = trainer_of(adapter, folder, **settings)
    trainer.train(resume_from_checkpoint=resume)
    return weights(trainer.model)


def subspace(V, exact):
    V = V.whole().double()
    return V @ torch.linalg.pinv(V, rtol=1e-6) if exact else V @ V.T / V.norm()


def plain_term(trained, start, V, adapter, exact):
    """Σ ‖(I − C)·ΔW‖², with every matrix whole."""
    total = torch.zeros((), dtype=torch.float64)
    if adapter == "full":
        inside = [n for n in trained if ".layers." in n and n.endswith("proj.weight")]
        updates = {n.removesuffix(".weight"): trained[n] - start[n] for n in inside}
    else:
        updates = {}
        for n in (n for n in trained if "lora_A" in n):
            a, b = n, n.replace("lora_A", "lora_B")
            name = n.removeprefix("base_model.model.").removesuffix(".lora_A.default.weight")
            updates[name] = SCALE * (trained[b] @ trained[a] - start[b] @ start[a])
    assert any(name in V for name in updates)
    assert any(name not in V for name in updates)
    for name, update in updates.items():
        part = update.double()
        if name in V:
            part = part - subspace(V[name], exact) @ part
        total = total + part.square().sum()
    return total


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("adapter", ADAPTERS)
def test_the_gradient_is_that_of_the_term(tmp_path, adapter, exact):
    lam = 0.3
    trainer = trainer_of(adapter, tmp_path, lam=lam, exact=exact)
    trainer.have_kept()
    start = weights(trainer.model)
    with torch.no_grad():  # away from the start, where the term is 0
        for n, w in trainer.model.named_parameters():
            if w.requires_grad:
                w += 0.1 * torch.randn(w.shape, generator=torch.Generator().manual_seed(len(n)))
    batches = [collator()(rows(12)[:4]), collator()(rows(12)[4:8])]
    found = step_gradients(trainer, batches)
    sft = trainer_of(adapter, tmp_path, kind=SFTTrainer)
    sft.model.load_state_dict(trainer.model.state_dict())
    plain = step_gradients(sft, batches)
    trained = {n: w.requires_grad_() for n, w in weights(trainer.model).items()}
    term = lam * plain_term(trained, start, changed(trainer.model), adapter, exact)
    expected = torch.autograd.grad(term, list(trained.values()), materialize_grads=True)
    expected = dict(zip(trained, expected, strict=True))
    assert relative_error({n: found[n] - plain[n] for n in plain}, expected) < 2e-5
    whole = {n: plain[n] + expected[n] for n in plain}
    assert relative_error(found, whole) < 1e-5
    assert relative_error(found, plain) > 1e-2


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_two_steps_by_hand(tmp_path, adapter):
    """w ← w − η·(∇L(w) + λ·∇Σ‖(I − C)·ΔW‖²), of which the first step has the loss alone."""
    eta, lam = 0.05, 2.0
    settings = {"learning_rate": eta, "optim": "sgd", "max_steps": 2}
    found = run(adapter, tmp_path / "a", lam=lam, **settings)
    first = run(adapter, tmp_path / "b", lam=0.0, **settings | {"max_steps": 1})
    both = run(adapter, tmp_path / "c", lam=0.0, **settings)
    model = model_of(adapter)
    start = weights(model)
    trained = {n: w.clone().requires_grad_() for n, w in first.items()}
    term = plain_term(trained, start, changed(model), adapter, exact=False)
    gradients = torch.autograd.grad(lam * term, list(trained.values()), materialize_grads=True)
    expected = {n: both[n] - eta * g for n, g in zip(trained, gradients, strict=True)}
    moved = {n: w - start[n] for n, w in found.items()}
    assert relative_error(moved, {n: w - start[n] for n, w in expected.items()}) < 1e-5
    assert relative_error(moved, {n: w - start[n] for n, w in both.items()}) > 1e-3


@pytest.mark.parametrize("adapter", ["double", "full"])
def test_without_strength_it_is_sft(tmp_path, adapter):
    sft = run(adapter, tmp_path / "a", dropout=0.1, kind=SFTTrainer)
    asft = run(adapter, tmp_path / "b", dropout=0.1, lam=0.0)
    assert all(torch.equal(w, sft[n]) for n, w in asft.items())


def test_accumulation_equals_one_batch(tmp_path):
    settings = {"optim": "sgd", "learning_rate": 0.05, "lam": 0.5}
    start = weights(model_of("single"))
    one = {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 4}
    ends = [run("single", tmp_path, **settings, **split) for split in ({}, one)]
    whole, split = ({n: w - start[n] for n, w in end.items()} for end in ends)
    assert relative_error(split, whole) < 1e-5


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_resumed_run_equals_one_without_interruption(tmp_path, adapter):
    settings = {"dropout": 0.1, "num_train_epochs": 2, "save_strategy": "steps", "save_steps": 4}
    whole = run(adapter, tmp_path, lam=0.5, **settings)
    resumed = run(adapter, tmp_path, str(tmp_path / "checkpoint-4"), lam=0.5, **settings)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_shuffled_keeps_the_eigenvalues_and_loses_the_directions(tmp_path):
    plain = trainer_of("double", tmp_path)._roots
    shuffled = trainer_of("double", tmp_path, shuffled=True)._roots
    for name, K in plain.items():
        C, other = K @ K.T, shuffled[name] @ shuffled[name].T
        torch.testing.assert_close(torch.linalg.eigvalsh(C), torch.linalg.eigvalsh(other))
        assert (C - other).norm() > 0.3 * C.norm()


def test_a_matrix_that_is_stored_turned_is_held_as_it_acts(tmp_path):
    """GPT-2's are [in, out]."""
    import transformers

    config = transformers.GPT2Config(vocab_size=64, n_embd=16, n_layer=1, n_head=2, n_positions=64)
    model = transformers.GPT2LMHeadModel(config)
    V = {"transformer.h.0.mlp.c_fc": Update(torch.randn(64, 2), torch.randn(2, 16))}
    args = AsFTConfig(**arguments(tmp_path, lam=0.5, exact=True))
    trainer = AsFTTrainer(model, args, collator(), rows(4), alignment_update=V)
    trainer.have_kept()
    weight = model.transformer.h[0].mlp.c_fc.weight
    step = torch.randn(64, 16)
    with torch.no_grad():
        weight += step.T
    trainer._add_term(trainer.have_kept())
    Q = torch.linalg.qr(V["transformer.h.0.mlp.c_fc"].left)[0]
    expected = (step - Q @ (Q.T @ step)).T
    torch.testing.assert_close(weight.grad, expected, atol=1e-5, rtol=1e-5)


def test_mistakes_are_told(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="lam is -1"):
        trainer_of("double", tmp_path, lam=-1)
    with pytest.raises(UserError, match="changed no linear layer that trains here"):
        trainer_of("double", tmp_path, V={"model.layers.9.q_proj": Update(torch.ones(2, 2))})
    V = changed(model_of("double"))
    with pytest.raises(UserError, match="not model_init"):
        AsFTTrainer(
            None, AsFTConfig(**arguments(tmp_path)), collator(), rows(4),
            model_init=lambda: model_of("double"), alignment_update=V,
        )  # fmt: skip
    dora = lora(tiny_model("llama"), use_dora=True)
    with pytest.raises(UserError, match="no plain product"):
        AsFTTrainer(
            dora, AsFTConfig(**arguments(tmp_path)), collator(), rows(4), alignment_update=V
        )
    made = SFTTrainer.__init__

    def divided(self, *args, **kwargs):
        made(self, *args, **kwargs)
        self.is_fsdp_enabled = True

    monkeypatch.setattr(SFTTrainer, "__init__", divided)
    with pytest.raises(UserError, match="needs whole matrices"):
        trainer_of("double", tmp_path)
