"""Plain fine-tuning, and what holds for every training method on every architecture."""

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig
from steps import (
    arguments,
    collator,
    gradients,
    other_answers,
    relative_error,
    rows,
    step_gradients,
    weights,
)

from holdfast import (
    LisaConfig,
    LisaTrainer,
    RandomPerturbationConfig,
    RandomPerturbationTrainer,
    RepNoiseConfig,
    RepNoiseTrainer,
    SFTConfig,
    SFTTrainer,
    TVaccineConfig,
    TVaccineTrainer,
    UserError,
    VaccineConfig,
    VaccineTrainer,
)
from holdfast.models.blocks import attention_blocks, decoder_layers
from tiny_models import ARCHITECTURES, attention_linears, lora, tiny_model

METHODS = {
    "sft": (SFTTrainer, SFTConfig, {}, {}),
    "vaccine": (VaccineTrainer, VaccineConfig, {}, {"rho": 1.0}),
    "t_vaccine": (
        TVaccineTrainer,
        TVaccineConfig,
        {"harmful_dataset": rows(6, seed=1)},
        {"rho": 1.0, "layers": 1, "draw_every": 1, "probe_every": 2},
    ),
    "random_perturbation": (
        RandomPerturbationTrainer,
        RandomPerturbationConfig,
        {},
        {"rho": 1.0},
    ),
    "repnoise": (
        RepNoiseTrainer,
        RepNoiseConfig,
        {"paired_dataset": other_answers(rows(12))},
        {"alpha": 0.1, "beta": 0.1},
    ),
    "lisa": (
        LisaTrainer,
        LisaConfig,
        {"alignment_dataset": rows(6, seed=1)},
        {"alignment_steps": 1, "user_steps": 1},
    ),
}


def train(method, model, folder, side="right", data=None, **settings):
    trainer_class, config_class, extra, own = METHODS[method]
    trainer = trainer_class(
        model,
        config_class(**arguments(folder, **{**own, **settings})),
        train_dataset=rows(12) if data is None else data,
        data_collator=collator(side),
        **extra,
    )
    trainer.train()
    return trainer


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_method_trains_every_architecture(tmp_path, method, architecture):
    model = lora(tiny_model(architecture))
    before = weights(model)
    trainer = train(method, model, tmp_path)
    after = weights(trainer.model)
    assert any(not torch.equal(before[name], after[name]) for name in before)
    assert all(w.isfinite().all() for w in after.values())
    assert len(decoder_layers(model)) == len(attention_blocks(model)) == 2


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("architecture", ["llama", "gemma2", "opt", "gpt_neox"])
def test_full_fine_tuning_in_bf16_with_checkpointing_and_left_padding(
    tmp_path, method, architecture
):
    model = tiny_model(architecture).to(torch.bfloat16)
    before = weights(model)
    trainer = train(method, model, tmp_path, "left", activation_checkpointing=True)
    after = weights(trainer.model)
    assert any(not torch.equal(before[name].float(), after[name]) for name in before)
    assert all(w.isfinite().all() for w in after.values())


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_padding_side_does_not_change_the_gradient(tmp_path, architecture):
    model = lora(tiny_model(architecture, layers=3), init_lora_weights=False)
    found = []
    for side in ("right", "left"):
        config = VaccineConfig(**arguments(tmp_path, rho=1.0))
        trainer = VaccineTrainer(model, config, train_dataset=rows(8), data_collator=collator(side))
        found.append(step_gradients(trainer, [collator(side)(rows(8))]))
    assert relative_error(found[1], found[0]) < 1e-5


@pytest.mark.parametrize("method", ["sft", "vaccine", "t_vaccine"])
def test_accumulation_equals_one_batch(tmp_path, method):
    moved = []
    for batch, accumulation in ((8, 1), (1, 8)):
        model = lora(tiny_model("llama"), init_lora_weights=False)
        before = weights(model)
        settings = {
            "per_device_train_batch_size": batch,
            "gradient_accumulation_steps": accumulation,
            "optim": "sgd",
            "learning_rate": 0.05,
        }
        own = {"probe_batch_size": 6} if method == "t_vaccine" else {}
        trainer = train(method, model, tmp_path, data=rows(24), **settings, **own)
        assert trainer.state.global_step == 3
        moved.append({name: w - before[name] for name, w in weights(model).items()})
    assert relative_error(moved[1], moved[0]) < 1e-4


def test_random_perturbation_has_vaccines_norm_and_zero_is_sft(tmp_path):
    model = lora(tiny_model("llama", layers=3), init_lora_weights=False)
    clean, noisy = [], []
    batch = collator()(rows(64))
    for e, rho in ((clean, 0.0), (noisy, 5.0)):
        config = RandomPerturbationConfig(**arguments(tmp_path, rho=rho))
        trainer = RandomPerturbationTrainer(
            model, config, train_dataset=rows(8), data_collator=collator()
        )
        trainer.current_gradient_accumulation_steps = 1
        first = attention_blocks(model)[0]
        # Registered before the trainer's own hook it would see the clean output.
        projection = decoder_layers(model)[0].post_attention_layernorm
        handle = projection.register_forward_pre_hook(lambda _, x, e=e: e.append(x[0].detach()))
        trainer.training_step(model, batch)
        handle.remove()
        assert not first._forward_hooks
    mask = batch["attention_mask"].bool()
    squared = float((noisy[0] - clean[0])[mask].square().sum())
    # One of three blocks carries a third of ρ²; chi-squared with ~14,000 degrees of freedom.
    assert squared == pytest.approx(25 / 3, rel=0.06)
    trained = [
        weights(train(method, lora(tiny_model("llama")), tmp_path, **settings).model)
        for method, settings in (("sft", {}), ("random_perturbation", {"rho": 0.0}))
    ]
    assert all(torch.equal(trained[0][name], trained[1][name]) for name in trained[0])


def test_loss_is_the_mean_over_answer_tokens_and_trains_the_end_token(tmp_path):
    model = tiny_model("llama")
    batch = collator()([{**row, "labels": [*row["labels"][:-1], 2]} for row in rows(4)])
    config = SFTConfig(**arguments(tmp_path))
    trainer = SFTTrainer(model, config, train_dataset=rows(4), data_collator=collator())
    found = step_gradients(trainer, [batch])
    model.zero_grad()
    log_p = model(batch["input_ids"], attention_mask=batch["attention_mask"]).logits.log_softmax(-1)
    terms = [
        -log_p[r, t - 1, batch["labels"][r, t]]
        for r in range(4)
        for t in range(1, batch["labels"].shape[1])
        if batch["labels"][r, t] != -100
    ]
    torch.stack(terms).mean().backward()
    assert relative_error(found, gradients(model)) < 1e-5


def test_tokenized_rows_reach_the_callers_collator_untouched(tmp_path):
    seen = []

    def own_collator(batch_rows):
        seen.extend(batch_rows)
        return collator()(batch_rows)

    data = Dataset.from_list([{**row, "mark": f"row {i}"} for i, row in enumerate(rows(8))])
    config = SFTConfig(**arguments(tmp_path))
    trainer = SFTTrainer(
        lora(tiny_model("llama")), config, train_dataset=data, data_collator=own_collator
    )
    trainer.train()
    assert trainer.train_dataset is data
    assert sorted(row["mark"] for row in seen) == [f"row {i}" for i in range(8)]
    assert all(row in list(data) for row in seen)


def test_peft_config_trains_a_fresh_adapter_that_the_seed_decides(tmp_path):
    adapters = []
    for _ in range(2):
        base = tiny_model("llama")
        config = LoraConfig(r=2, target_modules=list(attention_linears(base)))
        torch.rand(1)  # the state of the global generator must not matter
        trainer = SFTTrainer(
            base,
            SFTConfig(**arguments(tmp_path)),
            train_dataset=rows(8),
            data_collator=collator(),
            peft_config=config,
        )
        assert all("lora" in name for name in weights(trainer.model))
        trainer.train()
        adapters.append(weights(trainer.model))
    assert all(torch.equal(adapters[0][name], adapters[1][name]) for name in adapters[0])


def test_a_methods_random_numbers_do_not_change_the_order_of_rows(tmp_path):
    orders = []
    for method in METHODS:
        if method == "lisa":
            continue
        order = []

        def watch(batch_rows, order=order):
            order.extend(tuple(row["input_ids"]) for row in batch_rows)
            return collator()(batch_rows)

        trainer_class, config_class, extra, own = METHODS[method]
        own = {**own, "num_train_epochs": 2}
        config = config_class(**arguments(tmp_path, **own))
        data = rows(12)
        trainer_class(
            lora(tiny_model("llama")), config, train_dataset=data, data_collator=watch, **extra
        ).train()
        known = {tuple(row["input_ids"]) for row in data}
        orders.append([ids for ids in order if ids in known])
    assert all(order == orders[0] for order in orders)
    assert orders[0][:12] != orders[0][12:], "every epoch has its own order"


def test_mistakes_are_told_in_a_sentence(tmp_path):
    base = tiny_model("llama")
    config = SFTConfig(**arguments(tmp_path))
    with pytest.raises(UserError, match="the data set is empty"):
        SFTTrainer(base, config, train_dataset=[], data_collator=collator())
    with pytest.raises(UserError, match="there is no tokenizer"):
        SFTTrainer(base, config, train_dataset=[{"instruction": "a", "output": "b"}],
                   data_collator=collator())  # fmt: skip
    with pytest.raises(UserError, match="needs processing_class"):
        SFTTrainer(base, config, train_dataset=rows(4))
    with pytest.raises(UserError, match=r"\(nothing_like_it\) match nothing.*q_proj"):
        SFTTrainer(base, config, train_dataset=rows(4), data_collator=collator(),
                   peft_config=LoraConfig(target_modules=["nothing_like_it"]))  # fmt: skip
    with pytest.raises(UserError, match="already carries an adapter"):
        SFTTrainer(lora(base), config, train_dataset=rows(4), data_collator=collator(),
                   peft_config=LoraConfig())  # fmt: skip
    with pytest.raises(UserError, match="no stack of layers with attention"):
        attention_blocks(torch.nn.Linear(2, 2))
