"""LDIFS against a plain calculation of the distance of hidden states, row by row."""

import pytest
import torch
from steps import arguments, collator, relative_error, rows, weights
from torch.nn.functional import cross_entropy

from holdfast import LDIFSConfig, LDIFSTrainer, SFTConfig, SFTTrainer, UserError
from tiny_models import lora, tiny_model

SGD = {"learning_rate": 0.02, "optim": "sgd", "weight_decay": 0.0}


def model_of(fresh=False, dropout=0.0):
    return lora(tiny_model("llama", attention_dropout=dropout), init_lora_weights=fresh)


def run(folder, kind="ldifs", model=None, collate=None, **settings):
    kinds = {"ldifs": (LDIFSTrainer, LDIFSConfig), "sft": (SFTTrainer, SFTConfig)}
    trainer_class, config = kinds[kind]
    args = config(**arguments(folder, **settings))
    trainer = trainer_class(model or model_of(), args, collate or collator(), rows(12))
    trainer.train()
    return trainer


def states(model, ids, features):
    """The logits, and the outputs of both layers or MLPs, [tokens, hidden] each."""
    if features == "mlp":
        found = []
        layers = model.get_base_model().model.layers
        handles = [
            la.mlp.down_proj.register_forward_hook(lambda _m, _i, out: found.append(out[0]))
            for la in layers
        ]
        logits = model(ids).logits[0]
        for handle in handles:
            handle.remove()
        return logits, found
    first, norm = model.get_base_model().model.layers[1], model.get_base_model().model.norm
    found = []
    handles = [
        first.input_layernorm.register_forward_hook(lambda _m, i, _o: found.append(i[0][0])),
        norm.register_forward_hook(lambda _m, i, _o: found.append(i[0][0])),
    ]
    logits = model(ids).logits[0]
    for handle in handles:
        handle.remove()
    return logits, found


@pytest.mark.parametrize(
    ("fresh", "features", "normalized"),
    [(True, "layer", False), (False, "mlp", False), (False, "layer", True)],
)
def test_three_steps_by_hand(tmp_path, fresh, features, normalized):
    seen, rho = [], 0.4

    def watch(batch_rows):
        seen.append(batch_rows)
        return collator()(batch_rows)

    own = {"rho": rho, "features": features, "normalized": normalized}
    trainer = run(tmp_path, model=model_of(fresh), collate=watch, **own, **SGD)
    model, teacher = model_of(fresh), model_of(fresh)
    trained = {n: w for n, w in model.named_parameters() if w.requires_grad}
    start = weights(model)
    for batch_rows in seen:
        answers = tokens = 0
        loss = distance = torch.zeros(())
        for row in batch_rows:
            ids = torch.tensor([row["input_ids"]])
            logits, h = states(model, ids, features)
            with torch.no_grad():
                _, h0 = states(teacher, ids, features)
            for one, other in zip(h, h0, strict=True):
                if normalized:
                    one = one / one.norm(dim=-1, keepdim=True)
                    other = other / other.norm(dim=-1, keepdim=True)
                distance = distance + (one - other).square().sum()
            loss = loss + cross_entropy(logits[1:-1], ids[0, 2:], reduction="sum")
            answers, tokens = answers + ids.shape[1] - 2, tokens + ids.shape[1]
        whole = loss / answers + rho / 2 * distance / tokens
        found = torch.autograd.grad(whole, list(trained.values()))
        with torch.no_grad():
            for w, g in zip(trained.values(), found, strict=True):
                w -= SGD["learning_rate"] * g
    moved = {n: w - start[n] for n, w in weights(trainer.model).items()}
    assert relative_error(moved, {n: w - start[n] for n, w in weights(model).items()}) < 1e-5


def test_without_strength_it_is_sft_and_with_it_is_not(tmp_path):
    sft, none, some = (
        weights(run(tmp_path, kind, model_of(dropout=0.1), **own).model)
        for kind, own in (("sft", {}), ("ldifs", {"rho": 0.0}), ("ldifs", {"rho": 1.0}))
    )
    assert all(torch.equal(sft[name], none[name]) for name in sft)
    assert not all(torch.equal(sft[name], some[name]) for name in sft)


def test_mistakes_are_told(tmp_path):
    with pytest.raises(UserError, match="rho is -1"):
        run(tmp_path, rho=-1)
    with pytest.raises(UserError, match='features is "heads"'):
        run(tmp_path, features="heads")
    with pytest.raises(UserError, match="OPTForCausalLM has layers without an MLP"):
        run(tmp_path, model=tiny_model("opt"), features="mlp")


@pytest.mark.parametrize("features", ["layer", "mlp"])
def test_either_kind_of_activation_checkpointing_or_refused(tmp_path, features):
    plain = weights(run(tmp_path, features=features, **SGD).model)
    start = weights(model_of())
    for reentrant in (False, True):
        kind = {"gradient_checkpointing_kwargs": {"use_reentrant": reentrant}}
        settings = {"features": features, "gradient_checkpointing": True, **kind, **SGD}
        if reentrant and features == "mlp":  # computed within the checkpoint, without a graph
            with pytest.raises(UserError, match="use_reentrant"):
                run(tmp_path, **settings)
            continue
        found = weights(run(tmp_path, **settings).model)
        moved, wanted = ({n: w[n] - start[n] for n in start} for w in (found, plain))
        assert relative_error(moved, wanted) < 1e-5
