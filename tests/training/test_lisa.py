"""Lisa's schedule and proximal term, against plain calculations."""

import warnings

import pytest
import torch
from steps import arguments, collator, relative_error, rows, weights
from transformers import Trainer, TrainingArguments

from holdfast import (
    LisaConfig,
    LisaMixin,
    LisaSettings,
    LisaTrainer,
    SFTConfig,
    SFTTrainer,
    UserError,
)
from holdfast.finetune.bi_state import BiStateSampler
from tiny_models import lora, tiny_model

LISA = {"alignment_steps": 2, "user_steps": 3, "proximal_warmup": 0.0}


def model_of(dropout=0.0):
    return lora(tiny_model("llama", layers=2, attention_dropout=dropout), init_lora_weights=False)


def trainer_of(folder, model=None, train_rows=24, **settings):
    config = LisaConfig(**arguments(folder, **{**LISA, **settings}))
    return LisaTrainer(
        model or model_of(),
        config,
        train_dataset=rows(train_rows),
        alignment_dataset=rows(10, seed=1),
        data_collator=collator(),
    )


class Watch(LisaTrainer):
    """Remembers every batch's first row and the weights before every step."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.seen, self.before = [], []

    def training_step(self, model, inputs, num_items_in_batch=None):
        self.seen.append([row.tolist() for row in inputs["input_ids"]])
        self.before.append(weights(model))
        return super().training_step(model, inputs, num_items_in_batch)


def test_plain_gradient_descent_with_the_proximal_term_by_hand(tmp_path):
    """SGD of rate η: w ← w − η·(∇L(w) + ρ·(w − a)), a = w at the last switch, at every step."""
    model = model_of()
    eta, rho = 0.05, 3.0
    config = LisaConfig(
        **arguments(tmp_path, **LISA, rho=rho, learning_rate=eta, optim="sgd", weight_decay=0.0)
    )
    trainer = Watch(
        model,
        config,
        train_dataset=rows(24),
        alignment_dataset=rows(10, seed=1),
        data_collator=collator(),
    )
    trainer.train()
    trainer.before.append(weights(model))
    assert len(trainer.seen) == 6 + 4  # six user batches; states 2+3, 2+3
    anchor = None
    for step, batch_rows in enumerate(trainer.seen):
        if step % 5 in (0, 2):  # every switch
            anchor = trainer.before[step]
        twin = model_of()
        twin.load_state_dict(trainer.before[step], strict=False)
        ids = torch.tensor(batch_rows)
        known = {tuple(r["input_ids"]): r for r in rows(24) + rows(10, seed=1)}
        batch = collator()([known[tuple(i for i in row if i)] for row in ids.tolist()])
        logits = twin(batch["input_ids"], attention_mask=batch["attention_mask"]).logits
        loss = torch.nn.functional.cross_entropy(
            logits[:, :-1].flatten(0, 1), batch["labels"][:, 1:].flatten(), ignore_index=-100
        )
        loss.backward()
        expected = {
            name: w.detach() - eta * (w.grad + rho * (w.detach() - anchor[name]))
            for name, w in twin.named_parameters()
            if w.requires_grad
        }
        moved = {n: trainer.before[step + 1][n] - trainer.before[step][n] for n in expected}
        wanted = {n: expected[n] - trainer.before[step][n] for n in expected}
        assert relative_error(moved, wanted) < 1e-4


def test_pure_proximal_pull_has_its_closed_form(tmp_path):
    """With no loss gradient w_k − a = (1 − ηρ)^k (w_0 − a)."""
    model = model_of()
    trainer = trainer_of(tmp_path, model, rho=2.0)
    start = weights(model)
    trainer.anchor = {name: w - 1.0 for name, w in start.items()}
    optimizer = torch.optim.SGD([w for w in model.parameters() if w.requires_grad], lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        trainer._add_proximal_gradient()
        optimizer.step()
    for name, w in weights(model).items():
        torch.testing.assert_close(w - trainer.anchor[name], torch.full_like(w, 0.8**3))
    assert trainer.drift() == pytest.approx(
        0.8**6 * sum(w.numel() for w in start.values()), rel=1e-4
    )


def sampled(**settings):
    settings = {"user_rows": 10, "alignment_rows": 4, "batch_size": 2, "seed": 3, **settings}
    lisa = LisaConfig("unused", use_cpu=True, **{**LISA, **settings.pop("lisa", {})})
    period = lisa.alignment_steps + lisa.user_steps
    state = lambda step: "alignment" if step % period < lisa.alignment_steps else "user"  # noqa: E731
    return BiStateSampler(state_at=state, **settings)


def test_schedule_alternates_and_no_user_batch_is_lost():
    sampler = sampled(batches_per_step=2, user_batches=10)  # two epochs of five batches
    batches = list(sampler)
    states = ["u" if batch[0] < 10 else "a" for batch in batches]
    assert "".join(states) == "aaaa" + "uuuuuu" + "aaaa" + "uuuu"
    assert len(sampler) == len(batches)
    user = [index for batch, s in zip(batches, states, strict=True) for index in batch if s == "u"]
    assert sorted(user[:10]) == sorted(user[10:]) == list(range(10))
    aligned = [i - 10 for batch, s in zip(batches, states, strict=True) for i in batch if s == "a"]
    assert all(sorted(aligned[i : i + 4]) == [0, 1, 2, 3] for i in range(0, len(aligned), 4))
    assert batches == list(sampler), "the same order each time, or a resumed run goes astray"


@pytest.mark.parametrize("per_step", [1, 2, 3])
@pytest.mark.parametrize(("k1", "k2"), [(2, 3), (3, 1), (4, 0), (0, 4)])
def test_swapped_batches_are_the_users_own_with_some_replaced(per_step, k1, k2):
    """As a plain loader gives them, one by one, and a second one where the state is alignment."""
    settings = {"batches_per_step": per_step, "user_batches": 11}
    plain = list(sampled(lisa={"alignment_steps": 0}, **settings))
    aligned = sampled(steps=20, batches_per_step=1).order("alignment")
    state, clock, expected = "alignment" if k1 else "user", 0, []
    for number, batch in enumerate(plain):
        if number and number % per_step == 0:  # a new optimizer step
            clock += 1
            if clock == {"alignment": k1, "user": k2}[state] and k1 and k2:
                state, clock = {"alignment": "user", "user": "alignment"}[state], 0
        expected.append([10 + i for i in next(aligned)] if state == "alignment" else batch)
    turns = {"alignment_steps": k1, "user_steps": k2, "user_rows": "swapped"}
    sampler = sampled(lisa=turns, swapped=True, **settings)
    assert list(sampler) == expected
    assert len(sampler) == 11


def test_swapped_runs_are_as_long_as_plain_fine_tuning(tmp_path):
    trainer = trainer_of(tmp_path, user_rows="swapped", gradient_accumulation_steps=2)
    trainer.train()
    assert trainer.state.global_step == 3  # 24 rows / 4 / 2
    assert [trainer.state_at(step) for step in range(3)] == ["alignment", "alignment", "user"]


def test_only_swapped_rows_may_never_be_trained_on():
    with pytest.raises(UserError, match="swapped puts alignment rows"):
        LisaConfig("unused", use_cpu=True, user_steps=0)
    with pytest.raises(UserError, match='user_rows is "lost"'):
        LisaConfig("unused", use_cpu=True, user_rows="lost")  # pyright: ignore[reportArgumentType] (a mistake)


def test_schedule_ends_after_the_given_steps():
    assert len(list(sampled(batches_per_step=2, steps=7))) == 14


def test_both_states_train_for_k_optimizer_steps_not_micro_batches(tmp_path):
    trainer = trainer_of(tmp_path, gradient_accumulation_steps=2, logging_strategy="steps")
    trainer.train()
    assert trainer.state.global_step == 2 + 3  # 24 rows / 4 / 2 = 3 user steps
    assert trainer.args.num_train_epochs == 1


def run(trainer_class, config_class, folder, extra=None, dropout=0.0, **settings):
    config = config_class(**arguments(folder, **settings))
    trainer = trainer_class(
        model_of(dropout), config, train_dataset=rows(24), data_collator=collator(), **(extra or {})
    )
    trainer.train()
    return weights(trainer.model)


ALIGNMENT = {"alignment_dataset": rows(10, seed=1)}


def test_without_alignment_steps_and_strength_it_is_sft(tmp_path):
    settings = {"num_train_epochs": 2}
    sft = run(SFTTrainer, SFTConfig, tmp_path, **settings)
    none = {"alignment_steps": 0, "user_steps": 3, "rho": 0.0}
    lisa = run(LisaTrainer, LisaConfig, tmp_path, ALIGNMENT, **none, **settings)
    assert all(torch.equal(sft[name], lisa[name]) for name in sft)
    pulled = run(LisaTrainer, LisaConfig, tmp_path, ALIGNMENT, **{**none, "rho": 1.0}, **settings)
    assert not all(torch.equal(sft[name], pulled[name]) for name in sft)


def test_accumulation_equals_one_batch(tmp_path):
    settings = {**LISA, "rho": 2.0, "optim": "sgd", "learning_rate": 0.05}
    # Batches of 8 and 8 × 1 hold the same rows only where no epoch of either state ends inside one.
    extra = {"alignment_dataset": rows(16, seed=1)}
    whole = run(LisaTrainer, LisaConfig, tmp_path, extra, **settings, per_device_train_batch_size=8)
    split = run(
        LisaTrainer,
        LisaConfig,
        tmp_path,
        extra,
        **settings,
        per_device_train_batch_size=1,
        gradient_accumulation_steps=8,
    )
    start = weights(model_of())
    moved = {name: split[name] - start[name] for name in start}
    assert relative_error(moved, {name: whole[name] - start[name] for name in start}) < 1e-4


def test_proximal_term_waits_for_its_warmup(tmp_path):
    settings = {"alignment_steps": 0, "user_steps": 2}
    never = run(LisaTrainer, LisaConfig, tmp_path, ALIGNMENT, **settings, rho=0.0)
    waits = run(
        LisaTrainer, LisaConfig, tmp_path, ALIGNMENT, **settings, rho=5.0, proximal_warmup=1.0
    )
    assert all(torch.equal(never[name], waits[name]) for name in never)


def test_drift_is_logged_at_every_switch(tmp_path):
    trainer = trainer_of(tmp_path)
    trainer.train()
    logged = [entry for entry in trainer.state.log_history if "squared_drift" in entry]
    assert [entry["step"] for entry in logged] == [2, 5, 7]
    assert [entry["switch_to_user"] for entry in logged] == [True, False, True]
    assert all(entry["squared_drift"] > 0 for entry in logged)


def test_resumed_run_equals_one_without_interruption(tmp_path):
    settings = {**LISA, "rho": 2.0, "num_train_epochs": 2, "lr_scheduler_type": "cosine"}
    whole = run(LisaTrainer, LisaConfig, tmp_path / "a", ALIGNMENT, dropout=0.1, **settings)
    saved = {"save_strategy": "steps", "save_steps": 4}  # within the user state
    config = LisaConfig(**arguments(tmp_path / "b", **settings, **saved))
    for resume in (None, str(tmp_path / "b" / "checkpoint-4")):
        trainer = LisaTrainer(
            model_of(0.1), config, train_dataset=rows(24), data_collator=collator(), **ALIGNMENT
        )
        trainer.train(resume_from_checkpoint=resume)
        found = weights(trainer.model)
        assert all(torch.equal(whole[name], found[name]) for name in whole)


def test_mistaken_settings_are_told(tmp_path):
    for name, value in {"rho": -1, "alignment_steps": -1, "user_steps": 0}.items():
        with pytest.raises(UserError, match=f"{name} is {value}"):
            trainer_of(tmp_path, **{name: value})
    with pytest.raises(UserError, match="user_steps is 'often'"):
        trainer_of(tmp_path, user_steps="often")
    with pytest.raises(UserError, match="proximal_warmup is 2"):
        trainer_of(tmp_path, proximal_warmup=2)


class Theirs(Trainer):
    """A Trainer that a user already has."""

    steps = 0

    def training_step(self, *args, **kwargs):
        self.steps += 1
        return super().training_step(*args, **kwargs)


class Mine(LisaMixin, Theirs):
    """The same with Lisa, as the page has it."""


@pytest.mark.parametrize("own", [{"rho": 2.0}, {"rho": 2.0, "alignment_steps": 2, "user_steps": 3}])
def test_the_mixin_makes_lisa_of_any_trainer(tmp_path, own):
    """Bit for bit, with dropout, also on from a checkpoint."""
    settings = {"num_train_epochs": 2, "lr_scheduler_type": "cosine"}
    lisa = run(LisaTrainer, LisaConfig, tmp_path / "a", ALIGNMENT, dropout=0.1, **settings, **own)
    saved = {"save_strategy": "steps", "save_steps": 4}
    args = TrainingArguments(**arguments(tmp_path / "b", **settings, **saved))
    for resume in (None, str(tmp_path / "b" / "checkpoint-4")):
        trainer = Mine(
            model_of(0.1), args, collator(), rows(24), lisa=LisaSettings(**own), **ALIGNMENT
        )
        trainer.train(resume_from_checkpoint=resume)
        found = weights(trainer.model)
        assert all(torch.equal(lisa[name], found[name]) for name in lisa)
    assert trainer.steps


def test_auto_has_four_switches_and_ends_aligned(tmp_path):
    trainer = Watch(
        model_of(),
        LisaConfig(**arguments(tmp_path, num_train_epochs=2, proximal_warmup=0.0)),
        train_dataset=rows(24),
        alignment_dataset=rows(10, seed=1),
        data_collator=collator(),
    )
    trainer.train()
    user = {tuple(row["input_ids"]) for row in rows(24)}
    states = ["".join(
        "u" if tuple(i for i in row if i) in user else "a" for row in batch)
        for batch in trainer.seen]  # fmt: skip
    assert all(set(batch) in ({"u"}, {"a"}) for batch in states)
    # 12 of the user's: n = 2, K2 = 6, K1 = max(round(6/9), 3) = 3.
    assert "".join(batch[0] for batch in states) == "aaa" + "u" * 6 + "aaa" + "u" * 6 + "aaa"
    assert trainer.state.global_step == trainer.state.max_steps == 21
    logged = [entry for entry in trainer.state.log_history if "squared_drift" in entry]
    assert [entry["step"] for entry in logged] == [3, 9, 12, 18]


def test_the_users_last_step_is_whole_before_the_last_alignment(tmp_path):
    """Of 7 batches in steps of two the fourth step takes one of the next pass."""
    seen = []

    def watch(batch):
        seen.append([row["input_ids"] for row in batch])
        return collator()(batch)

    settings = {"gradient_accumulation_steps": 2, "per_device_train_batch_size": 2}
    config = LisaConfig(**arguments(tmp_path, **settings))
    trainer = LisaTrainer(
        model_of(), config, watch, rows(14), alignment_dataset=rows(10, seed=1)
    )  # fmt: skip
    trainer.train()
    user = [row["input_ids"] for row in rows(14)]
    batches = [batch for batch in seen if batch[0] in user]
    assert len(batches) == 8
    assert sorted(ids for batch in batches[:7] for ids in batch) == sorted(user)
    assert trainer.state.global_step == 4 + 3  # K2 = 2, K1 = 1
    assert len(seen) == 2 * 7


def test_settings_that_the_job_never_leaves_are_told_before_the_training(tmp_path):
    trainer = trainer_of(tmp_path, alignment_steps=100, user_steps=900)
    told = "never comes back .* takes 106 steps for 6 of the user's here; auto would be 2 and 3"
    with pytest.warns(UserWarning, match=told):
        trainer.get_train_dataloader()
    for settings in ({"alignment_steps": "auto", "user_steps": "auto"}, {}):
        trainer = trainer_of(tmp_path, num_train_epochs=2, **settings)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            trainer.get_train_dataloader()
