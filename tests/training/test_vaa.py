"""VAA, against its steps written out row by row."""

import json
import math

import pytest
import torch
from side_runs import (
    SIDE,
    assert_accumulates,
    assert_resumes,
    divide_weights,
    model_of,
    moved,
    norm_of,
    plain_gradient,
    trained,
)
from steps import arguments, collator, relative_error, rows, weights
from torch.utils.data import IterableDataset
from transformers import TrainerCallback

from holdfast import SFTConfig, SFTTrainer, UserError, VAAConfig, VAATrainer
from holdfast.align.plans import VAAPlan
from holdfast.align.trial import two_groups
from holdfast.plans import Pass
from holdfast.trainer.side_batches import SideRows

EXTRA = {"harmful_dataset": SIDE}
OWN = {"rho": 0.3, "sampler_rate": 0.05, "trial_steps": 3, "trial_learning_rate": 0.02}
OWN |= {"trial_after": 0.25, "vulnerable_share": 0.4}
TRAIN = rows(16)


class Watch(TrainerCallback):
    """Which rows each step was trained on, by the rows' numbers, and q after it."""

    def __init__(self):
        self.rows, self.q, self.start = [], [], []
        self.trainer = None

    def on_pre_optimizer_step(self, args, state, control, **_):
        self.start.append(weights(self.trainer.model))

    def on_step_end(self, args, state, control, **_):
        self.q.append(self.trainer.q)


def watched(folder, **own):
    """A run whose rows are collected as they are trained on."""
    watch = Watch()
    settings = {"optim": "sgd", "learning_rate": 0.05, **OWN, **own}
    args = VAAConfig(**arguments(folder, weight_decay=0.0, num_train_epochs=2, **settings))
    trainer = VAATrainer(model_of(), args, collator(), TRAIN, callbacks=[watch], **EXTRA)
    watch.trainer = trainer
    take = trainer.get_batch_samples

    def taken(*given):
        batches, count = take(*given)
        numbers = []
        for batch in batches:
            for ids, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True):
                ids = ids[mask.bool()].tolist()
                numbers += [n for n, row in enumerate(TRAIN) if row["input_ids"] == ids]
        watch.rows.append(numbers)
        return batches, count

    trainer.get_batch_samples = taken
    trainer.train()
    return trainer, watch


def mean_loss(model, row):
    return plain_gradient(model, [row])[1]


def plain_groups(start, harmful_seed=7):
    """The rows whose loss rises most in three steps of AdamW on harmful rows, by hand."""
    model = moved(model_of(), {n: w - weights(model_of())[n] for n, w in start.items()})
    before = [mean_loss(model, row) for row in TRAIN]
    trained_ones = {n: w for n, w in model.named_parameters() if w.requires_grad}
    attacker = torch.optim.AdamW(trained_ones.values(), lr=OWN["trial_learning_rate"])
    order = SideRows("", SIDE, harmful_seed + 500_000)
    for step in range(OWN["trial_steps"]):
        some = [SIDE[i] for i in order.numbers(4 * step, 4 * step + 4)]
        for name, gradient in plain_gradient(model, some)[0].items():
            trained_ones[name].grad = gradient
        attacker.step()
    rise = [mean_loss(model, row) - was for row, was in zip(TRAIN, before, strict=True)]
    order = sorted(range(len(TRAIN)), key=lambda n: -rise[n])
    return [sorted(order[6:]), sorted(order[:6])]  # 0.4 of 16 is 6


def draws(step):
    generator = torch.Generator().manual_seed((7 + 900_000) * 1_000_003 + step)
    return torch.rand(2, generator=generator).tolist()


def test_every_step_by_hand(tmp_path):
    """Eight steps: two on all rows, then the trial, then six on drawn groups, some perturbed."""
    trainer, watch = watched(tmp_path)
    begun = weights(model_of())
    groups = plain_groups(watch.start[2])
    assert trainer.groups == groups
    assert all(torch.equal(watch.start[0][n], w) for n, w in begun.items())
    model = model_of()
    q, read, drawn = 0.5, [0, 0], []
    for step in range(8):
        draw, chance = draws(step)
        some = [TRAIN[n] for n in watch.rows[step]]
        if step >= 2:
            g = int(draw < q)
            drawn.append(g)
            order = SideRows("", groups[g], 7 + 500_000 + 1_000 * (1 + g))
            numbers = [groups[g][i] for i in order.numbers(4 * read[g], 4 * read[g] + 4)]
            assert watch.rows[step] == numbers
            read[g] += 1
        gradient, loss = plain_gradient(model, some)
        if chance < step / 8:
            factor = OWN["rho"] / norm_of(gradient)
            there = moved(model, gradient, factor)
            second, loss = plain_gradient(there, some)
            moved(model, gradient, -factor)
            gradient = second
        moved(model, gradient, -0.05)
        if step >= 2:
            p = q if g else 1 - q
            raised = p * math.exp(OWN["sampler_rate"] * loss / p)
            p = raised / (raised + 1 - p)
            q = min(0.9, max(0.1, p if g else 1 - p))
            assert abs(watch.q[step] - q) < 1e-5
    assert {*drawn} == {0, 1}
    assert any(draws(step)[1] < step / 8 for step in range(8))
    found = {n: w - begun[n] for n, w in weights(trainer.model).items()}
    assert relative_error(found, {n: w - begun[n] for n, w in weights(model).items()}) < 1e-5


def test_the_trial_leaves_no_trace(tmp_path):
    """With a sampler and a perturbation that do nothing, the steps before the trial's end and the
    random numbers after it are those of a run without it."""
    args = VAAConfig(**arguments(tmp_path, **OWN))
    trainer = VAATrainer(model_of(0.1), args, collator(), TRAIN, **EXTRA)
    torch.rand(3)  # on the way from the seed, which the trial begins with
    before, numbers = weights(trainer.model), torch.get_rng_state()
    trainer.state.max_steps = 4
    trainer.state.global_step = 1
    trainer.get_batch_samples(iter([collator()(TRAIN[:4])]), 1, torch.device("cpu"))
    assert len(trainer.groups[1]) == 6
    assert torch.equal(numbers, torch.get_rng_state())
    assert all(torch.equal(w, before[n]) for n, w in weights(trainer.model).items())
    assert all(w.grad is None for w in trainer.model.parameters())


def test_without_groups_and_perturbation_it_is_sft(tmp_path):
    neutral = {"trial_steps": 0, "rho": 0.0}
    sft = weights(trained(SFTTrainer, SFTConfig, tmp_path, dropout=0.1).model)
    found = trained(VAATrainer, VAAConfig, tmp_path, dropout=0.1, extra=EXTRA, **neutral)
    assert all(torch.equal(w, sft[n]) for n, w in weights(found.model).items())


@pytest.mark.parametrize("own", [{"rho": 0.0}, {"trial_steps": 0}])
def test_each_half_is_something_of_its_own(tmp_path, own):
    plain = weights(
        trained(VAATrainer, VAAConfig, tmp_path, extra=EXTRA, rho=0.0, trial_steps=0).model
    )
    found = trained(VAATrainer, VAAConfig, tmp_path, extra=EXTRA, **{**OWN, **own})
    assert any(not torch.equal(w, plain[n]) for n, w in weights(found.model).items())


def test_accumulation_equals_one_batch(tmp_path):
    assert_accumulates(VAATrainer, VAAConfig, tmp_path, EXTRA, **OWN, num_train_epochs=3)


@pytest.mark.parametrize("trial_after", [0.1, 0.5])
def test_resumed_run_equals_one_without_interruption(tmp_path, trial_after):
    """Before its trial and after; eight steps, saved at the third."""
    own = {**OWN, "trial_after": trial_after, "sampler_rate": 5.0}  # so that q decides the draws
    assert_resumes(VAATrainer, VAAConfig, tmp_path, EXTRA, **own)
    state = json.loads((tmp_path / "b" / "checkpoint-3" / "vaa.json").read_text())
    assert bool(state["groups"]) == (trial_after < 0.3)


def test_tokens_of_a_step_are_counted_once(tmp_path):
    counted = {"include_num_input_tokens_seen": "all", "per_device_train_batch_size": 16}
    same = [{**row, "input_ids": row["input_ids"][:4], "labels": row["labels"][:4],
             "attention_mask": [1] * 4} for row in TRAIN]  # fmt: skip
    args = VAAConfig(**arguments(tmp_path, **counted, **{**OWN, "trial_after": 0.0}))
    trainer = VAATrainer(model_of(), args, collator(), same, harmful_dataset=same)
    trainer.train()
    assert trainer.state.num_input_tokens_seen == (1 + OWN["trial_steps"]) * 16 * 4


def test_no_group_is_empty():
    rise = torch.tensor([0.1, 0.3, 0.2])
    assert two_groups(rise, 0.01) == [[0, 2], [1]]
    assert two_groups(rise, 0.99) == [[0], [1, 2]]
    assert two_groups(rise, 0.5) == [[0], [1, 2]]


def test_the_plan_counts_the_passes(tmp_path):
    """100 steps of 10 rows of 1,000: the perturbed ones on average, 50 of the trial, two forward
    passes over all rows, of which 100 are one."""
    settings = {"lam": 1.0, "rho": 0.4, "trial_steps": 50, "rows": 1000, "processes": 1}
    settings |= {"per_device_train_batch_size": 10, "gradient_accumulation_steps": 1}
    one = Pass(forward=1.0, again=0.0, backward=1.0, weights=0.0)
    assert VAAPlan().passes(settings, 100) == 100 + 49.5 + 50
    found = VAAPlan().operations(one, settings, 4, 100)
    assert found == pytest.approx(2 * 1.995 + 2 * 100 / 100)
    none = VAAPlan().operations(one, {**settings, "trial_steps": 0, "rho": 0.0}, 4, 100)
    assert none == pytest.approx(2)


class Stream(IterableDataset):
    """Rows without a length."""

    def __iter__(self):
        return iter(TRAIN)


def test_mistakes_are_told(tmp_path, monkeypatch):
    def made(train=TRAIN, harmful=SIDE, **own):
        args = VAAConfig(**arguments(tmp_path, **own))
        return VAATrainer(model_of(), args, collator(), train, harmful_dataset=harmful)

    with pytest.raises(UserError, match="vulnerable_share is 1"):
        made(vulnerable_share=1.0)
    with pytest.raises(UserError, match="is empty: it needs at least one row"):
        made(harmful=[])
    for train in (Stream(), TRAIN[:1]):
        with pytest.raises(UserError, match="parts its rows in two groups"):
            made(train, max_steps=2)
    divide_weights(monkeypatch)
    with pytest.raises(UserError, match="VAA takes gradients of whole weights"):
        made()
