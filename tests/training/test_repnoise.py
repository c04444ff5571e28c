"""RepNoise's step against a plain calculation, and what must not change it."""

import zlib

import numpy as np
import pytest
import torch
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
from torch.utils.data import IterableDataset

from holdfast import RepNoiseConfig, RepNoiseTrainer, SFTConfig, SFTTrainer, UserError
from tiny_models import lora, tiny_model

SAFE = rows(24)
HARMFUL = other_answers(SAFE)
SEED = 7  # of `steps.arguments`


def cross_entropy(logits, batch):
    log_p = logits[:, :-1].log_softmax(-1)
    targets = batch["labels"][:, 1:]
    picked = log_p.gather(-1, targets.clamp(min=0).unsqueeze(-1)).squeeze(-1)
    return -(picked * (targets != -100)).sum() / (targets != -100).sum()


def plain_mmd(x, y):
    """Pair by pair, as the formula says."""
    both = [*x, *y]
    pairs = [[((a - b) ** 2).sum() for b in both] for a in both]
    count = len(both)
    scale = sum(d.item() for line in pairs for d in line) / (count * (count - 1))
    n, total = len(x), 0.0
    for i, line in enumerate(pairs):
        for j, distance in enumerate(line):
            sign = 1 if (i < n) == (j < n) else -1
            for power in (-2, -1, 0, 1, 2):
                total = total + sign * torch.exp(-distance / (scale * 2.0**power))
    return total / n**2


def plain_gradients(model, safe, harmful, alpha, beta, most=64, step=0):
    """One batch of each, one ordinary backward: the three terms, written out for a Llama."""
    model.zero_grad()
    base = model.get_base_model() if hasattr(model, "peft_config") else model
    for row, partner in harmful:  # the mask, by hand
        for place in range(2, len(row["input_ids"])):
            same = partner["input_ids"][place : place + 1] == [row["input_ids"][place]]
            row["labels"][place] = -100 if same else row["input_ids"][place]
    batch = collator()([row for row, _ in harmful])
    states, blocks = [], []
    for layer in base.model.layers:
        layer.mlp.forward = (lambda forward: lambda x: (blocks.append(forward(x)), blocks[-1])[1])(
            layer.mlp.forward
        )
    out = model(
        input_ids=batch["input_ids"],
        attention_mask=batch["attention_mask"],
        output_hidden_states=True,
    )
    for layer in base.model.layers:
        del layer.mlp.forward
    states = out.hidden_states[1:-1]
    lens = [base.lm_head(base.model.norm(h)) for h in states] + [out.logits]
    ascent = sum(cross_entropy(logits, batch) for logits in lens) / len(lens)
    noise, tokens = 0.0, 0
    for number, (row, _) in enumerate(harmful):
        places = [i for i, label in enumerate(row["labels"]) if label != -100]
        kept = np.linspace(0, len(places) - 1, min(most, len(places))).astype(int)
        text = zlib.crc32(np.array([row["labels"][i] for i in places], dtype="<i8").tobytes())
        tokens += len(places)
        for block, e in enumerate(blocks):
            x = e[number, [places[i] for i in kept]]
            seed = int(np.random.SeedSequence((SEED, step, text, block)).generate_state(1)[0])
            y = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed))
            noise = noise + len(places) * plain_mmd(x, y) / len(blocks)
    mine = collator()(safe)
    kept = model(input_ids=mine["input_ids"], attention_mask=mine["attention_mask"]).logits
    loss = cross_entropy(kept, mine) + beta * noise / tokens - alpha * torch.log(ascent)
    loss.backward()
    return gradients(model)


def trainer_of(model, folder, side="right", harmful=HARMFUL, **settings):
    config = RepNoiseConfig(**arguments(folder, **settings))
    return RepNoiseTrainer(
        model,
        config,
        train_dataset=SAFE,
        paired_dataset=[dict(row) for row in harmful],
        data_collator=collator(side),
    )


def group(trainer, size, step=0):
    """The harmful rows of a step, by the seeded order that the trainer says, with partners."""
    numbers = trainer.harmful_rows.numbers(step * size, (step + 1) * size)
    found = [{k: list(v) for k, v in HARMFUL[i].items()} for i in numbers]
    of_prompt = {tuple(row["input_ids"][:2]): row for row in reversed(SAFE)}  # the first of each
    return [(row, of_prompt[tuple(row["input_ids"][:2])]) for row in found]


def adapted(**overrides):
    return lora(tiny_model("llama", layers=3, **overrides), init_lora_weights=False)


@pytest.mark.parametrize(
    ("alpha", "beta", "adapter", "side"),
    [
        (0.7, 0.0, True, "right"),
        (0.0, 3.0, True, "right"),
        (0.7, 3.0, True, "left"),
        (0.7, 3.0, False, "right"),
    ],
)
def test_gradient_equals_a_plain_calculation(tmp_path, alpha, beta, adapter, side):
    model = adapted() if adapter else tiny_model("llama", layers=3)
    strengths = {"alpha": alpha, "beta": beta, "noise_tokens": 4}
    trainer = trainer_of(model, tmp_path, side, per_device_train_batch_size=8, **strengths)
    expected = plain_gradients(model, SAFE[:8], group(trainer, 8), alpha, beta, most=4)
    found = step_gradients(trainer, [collator(side)(SAFE[:8])])
    assert relative_error(found, expected) < 1e-5
    # Each term matters here: without it the gradient is another one.
    plain = trainer_of(model, tmp_path, side, alpha=0.0, beta=0.0)
    assert relative_error(step_gradients(plain, [collator(side)(SAFE[:8])]), expected) > 1e-2


@pytest.mark.parametrize("checkpointing", [False, True])
def test_accumulation_and_checkpointing_change_nothing(tmp_path, checkpointing):
    model = adapted()
    trainer = trainer_of(
        model,
        tmp_path,
        per_device_train_batch_size=1,
        gradient_accumulation_steps=8,
        noise_tokens=3,
        alpha=0.7,
        beta=3.0,
    )
    expected = plain_gradients(model, SAFE[:8], group(trainer, 8), 0.7, 3.0, most=3)
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    singles = [collator()([row]) for row in SAFE[:8]]
    assert relative_error(step_gradients(trainer, singles), expected) < 1e-5


def test_all_passes_over_harmful_rows_see_the_same_dropout_masks(tmp_path):
    """One micro-batch: the step's C is that of the pass with gradients, so ∇ is of −α·log C."""
    model = adapted(attention_dropout=0.3)
    trainer = trainer_of(model, tmp_path, alpha=1.0, beta=0.0)
    side = trainer.side_batches(trainer.harmful_rows, 0)
    model.train()
    torch.manual_seed(3)
    measured = float(trainer._step_loss(side))
    with torch.no_grad():
        assert float(trainer._read(side.batches[0])[0]) == measured
        assert float(trainer._read(side.batches[0])[0]) != measured


def run(trainer_class, config_class, folder, resume=None, extra=None, **settings):
    model = lora(tiny_model("llama", attention_dropout=0.1), lora_dropout=0.1)
    config = config_class(**arguments(folder, **settings))
    trainer = trainer_class(
        model, config, train_dataset=SAFE[:12], data_collator=collator(), **(extra or {})
    )
    trainer.train(resume_from_checkpoint=resume)
    return weights(trainer.model)


def test_strength_zero_is_sft_bit_for_bit_with_dropout(tmp_path):
    settings = {"num_train_epochs": 2, "gradient_accumulation_steps": 2}
    pairs = {"paired_dataset": HARMFUL}
    sft = run(SFTTrainer, SFTConfig, tmp_path, **settings)
    none = run(RepNoiseTrainer, RepNoiseConfig, tmp_path, extra=pairs, alpha=0, beta=0, **settings)
    assert all(torch.equal(sft[name], none[name]) for name in sft)
    for strength in ({"alpha": 0.1, "beta": 0}, {"alpha": 0, "beta": 1.0}):
        some = run(RepNoiseTrainer, RepNoiseConfig, tmp_path, extra=pairs, **strength, **settings)
        assert not all(torch.equal(sft[name], some[name]) for name in sft)


def test_resumed_run_equals_one_without_interruption(tmp_path):
    settings = {"alpha": 0.2, "beta": 1.0, "num_train_epochs": 2, "lr_scheduler_type": "cosine"}
    pairs = {"paired_dataset": HARMFUL}
    whole = run(RepNoiseTrainer, RepNoiseConfig, tmp_path / "a", extra=pairs, **settings)
    settings |= {"save_strategy": "steps", "save_steps": 2}
    for resume in (None, str(tmp_path / "b" / "checkpoint-2")):
        found = run(
            RepNoiseTrainer, RepNoiseConfig, tmp_path / "b", resume, extra=pairs, **settings
        )
        assert all(torch.equal(whole[name], found[name]) for name in whole)


def test_the_ascent_raises_the_harmful_loss_and_no_hook_stays(tmp_path):
    model = adapted()
    settings = {"learning_rate": 0.05, "optim": "sgd", "max_steps": 6}
    trainer = trainer_of(model, tmp_path, alpha=20.0, beta=0.0, **settings)
    side = trainer.side_batches(trainer.harmful_rows, 0)
    before = float(trainer._step_loss(side))
    trainer.train()
    assert float(trainer._step_loss(side)) > before + 0.1
    assert not any(module._forward_hooks for module in model.modules())


class Stream(IterableDataset):
    def __iter__(self):
        return iter(SAFE)


def test_what_it_refuses_is_one_sentence(tmp_path):
    others = [{**row, "input_ids": [1, *row["input_ids"][1:]]} for row in HARMFUL]
    with pytest.raises(UserError, match="none of the 24 harmful rows answers a prompt"):
        trainer_of(adapted(), tmp_path, harmful=others)
    config = RepNoiseConfig(**arguments(tmp_path, max_steps=2))
    with pytest.raises(UserError, match="pass train_dataset as a list or a Dataset"):
        RepNoiseTrainer(
            adapted(),
            config,
            train_dataset=Stream(),
            paired_dataset=HARMFUL,
            data_collator=collator(),
        )
    with pytest.raises(UserError, match="alpha"):
        RepNoiseConfig(**arguments(tmp_path, alpha=-1.0))
