"""The router's loss of a mixture of experts, against the formula and against transformers' own."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from architecture_table import ARCHITECTURES, make
from steps import arguments, collator, gradients, relative_error, rows, step_gradients

from holdfast import SFTConfig, SFTTrainer, UserError, VaccineConfig, VaccineTrainer
from holdfast.evaluate.generation import Generator
from holdfast.models.loss import check_loss
from holdfast.models.router_loss import router_loss, routing

EXPERTS = [name for name, wanted in ARCHITECTURES.items() if wanted.experts]
FAST = ("mixtral", "jetmoe")
every = pytest.mark.parametrize(
    "name", [n if n in FAST else pytest.param(n, marks=pytest.mark.long) for n in EXPERTS]
)


def routed(name: str):
    """A mixture whose router's loss counts for a tenth of the gradient and more."""
    model = make(name).train()
    model.config.output_router_logits = True
    own = "aux_loss_coef" if hasattr(model, "aux_loss_coef") else "router_aux_loss_coef"
    setattr(model, own, 0.5)
    return model


def trainer_of(model, folder, trainer_class=SFTTrainer, config_class=SFTConfig):
    config = config_class(**arguments(folder))
    return trainer_class(model, config, train_dataset=rows(8), data_collator=collator())


@every
@pytest.mark.parametrize("method", ["sft", "vaccine"])
def test_accumulation_does_not_change_the_gradient(name, method, tmp_path):
    of = (SFTTrainer, SFTConfig) if method == "sft" else (VaccineTrainer, VaccineConfig)
    trainer = trainer_of(routed(name), tmp_path, *of)
    whole = step_gradients(trainer, [collator()(rows(8))])
    split = step_gradients(trainer, [collator()([row]) for row in rows(8)])
    assert relative_error(split, whole) < 1e-5
    trainer.model.config.output_router_logits = False
    assert relative_error(step_gradients(trainer, [collator()(rows(8))]), whole) > 1e-3


def test_one_batch_is_transformers_own_and_the_formulas(tmp_path):
    model = routed("mixtral")
    batch = collator()(rows(8))
    found = step_gradients(trainer_of(model, tmp_path), [batch])
    model.zero_grad()
    outputs = model(**batch)
    outputs.loss.backward()
    assert relative_error(found, gradients(model)) < 1e-6
    # Switch Transformers, equations 4 to 6, token by token; padding is no token.
    experts, k = 4, 2
    mask = batch["attention_mask"].flatten().bool()
    shares, taken, tokens = [0.0] * experts, [0] * experts, 0
    for layer in outputs.router_logits:
        for token in layer[mask].softmax(-1).tolist():
            tokens += 1
            for expert in sorted(range(experts), key=lambda e: -token[e])[:k]:
                taken[expert] += 1
            shares = [share + p for share, p in zip(shares, token, strict=True)]
    plain = experts * sum(f * p for f, p in zip(taken, shares, strict=True)) / tokens**2
    step = routing(model, outputs, batch["attention_mask"])
    assert step.counts.tolist() == taken
    assert int(step.tokens) == tokens
    assert float(router_loss(outputs, batch["attention_mask"], step)) == pytest.approx(plain)


def test_dropout_meets_the_same_masks_as_without_the_count(tmp_path):
    found = []
    for counted in (True, False):
        model = make("mixtral", attention_dropout=0.5).train()
        model.config.output_router_logits = counted
        model.router_aux_loss_coef = 0.0
        trainer = trainer_of(model, tmp_path)
        torch.manual_seed(3)
        found.append(step_gradients(trainer, [collator()([row]) for row in rows(4)]))
    router = [n for n in found[0] if "gate" in n]
    assert router
    assert relative_error(found[0], found[1]) < 1e-6


@every
def test_answering_is_no_traceback_and_the_setting_comes_back(name):
    model = routed(name)
    tokenizer: Any = SimpleNamespace(pad_token_id=0, bos_token_id=1, eos_token_id=2)
    prompts = [[5, 6, 7], [9, 30, 31, 12], [20]]
    answers = Generator(model, tokenizer, 5, 3).answer_ids(prompts)
    assert model.config.output_router_logits is True
    model.config.output_router_logits = False
    assert Generator(model, tokenizer, 5, 3).answer_ids(prompts) == answers


def test_another_router_loss_is_refused(tmp_path, monkeypatch):
    from transformers.models.mixtral import modeling_mixtral

    original = modeling_mixtral.load_balancing_loss_func
    monkeypatch.setattr(
        modeling_mixtral, "load_balancing_loss_func", lambda *args: 2 * original(*args)
    )
    trainer = trainer_of(routed("mixtral"), tmp_path)
    with pytest.raises(UserError, match="another router loss than the usual one"):
        step_gradients(trainer, [collator()([row]) for row in rows(4)])


def test_classes_that_are_no_causal_language_models_are_refused(tmp_path):
    from transformers import BertConfig, BertLMHeadModel, TrOCRConfig, TrOCRForCausalLM

    size = {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4}
    bert = BertLMHeadModel(BertConfig(**size, intermediate_size=48))
    small = {"d_model": 32, "decoder_layers": 1, "decoder_attention_heads": 4}
    trocr = TrOCRForCausalLM(TrOCRConfig(vocab_size=64, **small, decoder_ffn_dim=48))
    torch.manual_seed(0)
    for parameter in [*bert.parameters(), *trocr.parameters()]:
        if parameter.ndim >= 2:
            torch.nn.init.normal_(parameter, std=0.2)
    with pytest.raises(UserError, match="BertLMHeadModel sees the tokens behind"):
        trainer_of(bert, tmp_path).train()
    with pytest.raises(UserError, match="is not the cross-entropy of the next token"):
        trainer_of(trocr, tmp_path).train()
    trocr.loss_function = lambda **_: None  # a loss of the user's own is the user's matter
    check_loss(trocr, True)
