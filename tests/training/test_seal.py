"""SEAL against a plain calculation of both of its parts, and what must not change it."""

import pytest
import torch
from side_runs import SIDE, divide_weights, model_of, of_group, plain_gradient
from steps import arguments, collator, relative_error, rows, weights
from test_bds import row_gradients
from test_what_a_trainer_takes import Stream

from holdfast import SEALConfig, SEALTrainer, SFTConfig, SFTTrainer, UserError
from holdfast.finetune.plans import SEALPlan
from holdfast.trainer.side_batches import SideRows

USER = rows(12)
SPLIT = {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 4}


def trainer_of(folder, user=USER, side=SIDE, dropout=0.0, **settings):
    return SEALTrainer(
        model_of(dropout),
        SEALConfig(**arguments(folder, **settings)),
        train_dataset=user,
        alignment_dataset=side,
        data_collator=collator(),
    )


def order(count, step, size=4):
    """The numbers of a step's rows, as arguments' seed orders them."""
    return SideRows("", range(count), 7).numbers(step * size, (step + 1) * size)


@pytest.mark.parametrize("split", [{}, SPLIT])
def test_both_parts_by_hand(tmp_path, split):
    """w by SGD with momentum and a falling rate, p by AdamW written out."""
    eta, rate, n, momentum = 0.05, 0.3, len(USER), 0.5
    given = {"learning_rate": eta, "optim": "sgd", "optim_args": f"momentum={momentum}"}
    given |= {"weight_decay": 0.0, "lr_scheduler_type": "linear", "num_train_epochs": 2}
    given |= {"selector_rate": rate, "share": 0.5, "choosing_epochs": 2.0}
    trainer = trainer_of(tmp_path, **given, safe_weight=0.8, safe_weight_decay=0.3, **split)
    twin = model_of()
    start = weights(twin)
    trainer.train()
    assert trainer.state.global_step == 9  # 2·12/4 that choose, and 2·6/4

    p, first, second = torch.zeros(n), torch.zeros(n), torch.zeros(n)
    speed = {name: torch.zeros_like(w) for name, w in start.items()}

    def move(gradient, part):
        with torch.no_grad():
            for name, w in twin.named_parameters():
                if name in speed:
                    speed[name] = momentum * speed[name] + gradient[name]
                    w -= eta * part * speed[name]

    for step in range(6):
        places, c = order(n, step), 0.8 - 0.3 * (step // 3)
        omega = n * p.softmax(0)
        each = row_gradients(twin, [USER[i] for i in places])
        safe = plain_gradient(twin, of_group(step))[0]
        losses = torch.zeros(n)
        losses[places] = torch.tensor([loss for loss, _ in each])
        q = p.clone().requires_grad_()
        (n * q.softmax(0) * losses).sum().div(4).backward()
        first, second = 0.9 * first + 0.1 * q.grad, 0.95 * second + 0.05 * q.grad**2
        own = {
            name: sum(omega[i] * g[name] for i, (_, g) in zip(places, each, strict=True)) / 4
            for name in safe
        }
        move({name: c * safe[name] + (1 - c) * own[name] for name in safe}, 1 - step / 6)
        p = p - rate * (first / (1 - 0.9 ** (step + 1))) / (
            (second / (1 - 0.95 ** (step + 1))).sqrt() + 1e-8
        )
    best = sorted(p.argsort(descending=True)[:6].tolist())
    with torch.no_grad():
        for name, w in twin.named_parameters():
            if name in speed:
                w.copy_(start[name])
                speed[name].zero_()
    for step in range(3):
        some = [USER[best[i]] for i in order(6, step)]
        move(plain_gradient(twin, some)[0], 1 - step / 3)
    moved, wanted = (
        {name: w - start[name] for name, w in weights(m).items()} for m in (trainer.model, twin)
    )
    assert relative_error(moved, wanted) < 1e-5
    assert torch.allclose(trainer.row_scores().detach(), p, rtol=1e-4, atol=1e-5)
    assert trainer.chosen() == best


def test_the_safe_weight_falls_to_nothing_and_no_further(tmp_path):
    trainer = trainer_of(tmp_path, safe_weight=0.5, safe_weight_decay=0.3)
    found = []
    for trainer.state.global_step in (0, 2, 3, 6, 9):  # of three steps a pass
        found += [trainer.safe_weight(), trainer.user_share()]
    assert found == pytest.approx([0.5, 0.5, 0.5, 0.5, 0.2, 0.8, 0, 1, 0, 1])


def test_the_second_part_is_plain_fine_tuning_of_the_chosen_rows(tmp_path):
    """Bit for bit, with AdamW, a rate that falls, and warm-up."""
    given = {"lr_scheduler_type": "cosine", "num_train_epochs": 2, "warmup_steps": 1}
    chooses = {"share": 0.6, "choosing_epochs": 1.0, "selector_rate": 0.3}
    trainer = trainer_of(tmp_path, **given, **chooses)
    trainer.train()
    best = trainer.chosen()
    assert len(best) == 8
    plain = SFTTrainer(
        model_of(), SFTConfig(**arguments(tmp_path, **given)), collator(), [USER[i] for i in best]
    )
    plain.train()
    found, wanted = weights(trainer.model), weights(plain.model)
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


def test_rows_against_the_safe_ones_are_left_out(tmp_path):
    """Half of the rows answer the alignment rows' prompts otherwise."""
    safe = rows(8, seed=2)
    against = [{**row, "labels": [-100, -100, *[9] * (len(row["labels"]) - 2)]} for row in safe]
    against = [{**r, "input_ids": [*r["input_ids"][:2], *r["labels"][2:]]} for r in against]
    given = {"choosing_epochs": 8.0, "selector_rate": 0.05, "learning_rate": 5e-2, "share": 0.5}
    trainer = trainer_of(tmp_path, [*safe, *against], safe, **given)
    trainer.train()
    assert sum(number < 8 for number in trainer.chosen()) >= 7


def test_without_choosing_it_is_plain_fine_tuning_of_rows_drawn(tmp_path):
    given = {"dropout": 0.1, "num_train_epochs": 2, "per_device_train_batch_size": 5}
    settings = {name: value for name, value in given.items() if name != "dropout"}
    ends = []
    for share in (None, 1.0, 0.5):
        if share is None:
            config = SFTConfig(**arguments(tmp_path, **settings))
            some = SFTTrainer(model_of(0.1), config, collator(), USER)
        else:
            some = trainer_of(tmp_path, choosing_epochs=0.0, share=share, **given)
        some.train()
        ends.append(weights(some.model))
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])
    assert not all(torch.equal(ends[0][name], ends[2][name]) for name in ends[0])
    assert len(some.train_dataset) == 6
    assert some.chosen() == trainer_of(tmp_path, choosing_epochs=0.0, share=0.5).chosen()


@pytest.mark.parametrize("at", [1, 3, 4])
def test_resumed_run_equals_one_without_interruption(tmp_path, at):
    """From a checkpoint of the first part, of its end, and of the second."""
    ends = []
    given = {"save_strategy": "steps", "save_steps": 1, "selector_rate": 0.3, "dropout": 0.1}
    given |= {"choosing_epochs": 1.0, "num_train_epochs": 2, "lr_scheduler_type": "linear"}
    for resume in (None, str(tmp_path / f"checkpoint-{at}")):
        trainer = trainer_of(tmp_path, share=0.5, **given)
        trainer.train(resume_from_checkpoint=resume)
        ends.append({**weights(trainer.model), "p": trainer.row_scores().detach()})
    assert trainer.state.global_step == 6
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


@pytest.mark.parametrize("extra", [{}, {"max_steps": 7}, {"choosing_epochs": 0.0}])
def test_steps_and_passes_are_those_of_the_plan(tmp_path, extra):
    given = {"share": 0.7, "choosing_epochs": 1.5, "num_train_epochs": 2, **extra}
    given |= {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2}
    trainer = trainer_of(tmp_path, rows(9), **given)
    seen = []
    measured = trainer.gradient
    trainer.gradient = lambda *a: seen.append(trainer.state.global_step) or measured(*a)
    trainer.train()
    plan, steps = SEALPlan(), trainer.state.global_step
    if "max_steps" not in extra:
        settings = {**given, "rows": plan.rows(given, 9)}
        assert plan.steps(settings, 0) == (steps, 0)
    assert plan.passes(given, steps) == steps + len(seen)
    assert seen == [*range(len(seen))]
    assert plan.epochs(given) == (2 if extra.get("choosing_epochs") == 0 else 1.5 + 0.7 * 2)
    assert steps == 7 or "max_steps" not in extra


def test_what_cannot_be_done_is_told(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="train_dataset of known rows"):
        trainer_of(tmp_path, Stream(USER), max_steps=2)
    with pytest.raises(UserError, match="label smoothing is no part of"):
        trainer_of(tmp_path, label_smoothing_factor=0.1)
    with pytest.raises(UserError, match="share is 0"):
        trainer_of(tmp_path, share=0.0)
    with pytest.raises(UserError, match=r"too few steps for both \(1\)"):
        trainer_of(tmp_path, max_steps=1).train()
    odd = trainer_of(tmp_path)
    odd.args.lr_scheduler_type = "reduce_lr_on_plateau"
    with pytest.raises(UserError, match="reduce_lr_on_plateau, which cannot begin again"):
        odd.train()
    divide_weights(monkeypatch)
    with pytest.raises(UserError, match="FSDP2"):
        trainer_of(tmp_path)


def test_every_token_is_counted_once(tmp_path):
    """Two steps that choose, of 4 rows and 4 safe ones each, and one on 4 chosen rows."""
    same = [row for row in rows(60) if len(row["input_ids"]) == 7][:8]
    given = {"choosing_epochs": 1.0, "share": 0.5, "include_num_input_tokens_seen": "all"}
    trainer = trainer_of(tmp_path, same, same, **given)
    trainer.train()
    assert trainer.state.num_input_tokens_seen == (2 * (4 + 4) + 4) * 7
