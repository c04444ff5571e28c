"""SafeInstr's mixing: how many rows, which ones, where, and that training on them is plain SFT."""

import math
from collections import Counter

import datasets
import pytest
import torch
from steps import arguments, collator, relative_error, rows, step_gradients, weights
from test_what_a_trainer_takes import Stream

from holdfast import SafeMixConfig, SafeMixTrainer, SFTConfig, SFTTrainer, UserError
from tiny_models import lora, tiny_model

USER, SAFE = rows(13), rows(9, seed=1)


def trainer_of(folder, model=None, user=USER, safe=SAFE, **settings):
    config = SafeMixConfig(**arguments(folder, **{"share": 0.3, **settings}))
    model = model or lora(tiny_model("llama"))
    return SafeMixTrainer(model, config, collator(), user, alignment_dataset=safe)


def texts(some):
    return [tuple(row["input_ids"]) for row in some]


@pytest.mark.parametrize(("n", "share"), [(13, 0.3), (10, 0.3), (30, 0.1), (1, 0.01), (4, 2)])
def test_it_mixes_the_ceiling_of_the_share(tmp_path, n, share):
    """0.1 of 30 is 3: as floats it is 3.0000000000000004, whose ceiling is 4."""
    exact = {(30, 0.1): 3}.get((n, share), math.ceil(n * share))
    trainer = trainer_of(tmp_path, user=rows(n), share=share)
    assert trainer.used_rows == exact
    assert len(trainer.train_dataset) == n + exact
    mixed, users = Counter(texts(trainer.train_dataset)), Counter(texts(rows(n)))
    drawn = mixed - users
    assert drawn.total() == exact
    assert all(count == 1 for count in drawn.values())
    assert drawn.keys() <= set(texts(SAFE))


def test_the_seed_draws_and_places_and_the_users_rows_keep_their_order(tmp_path):
    one, same, other = (
        texts(trainer_of(tmp_path, data_seed=seed).train_dataset) for seed in (5, 5, 6)
    )
    assert one == same
    assert one != other
    for mixed in (one, other):
        assert [text for text in mixed if text in set(texts(USER))] == texts(USER)
    mixes = [texts(trainer_of(tmp_path, seed=seed).train_dataset) for seed in range(6)]
    safe = set(texts(SAFE))
    assert len({tuple(text for text in mix if text in safe) for mix in mixes}) == 6
    assert len({tuple(text in safe for text in mix) for mix in mixes}) == 6


def test_a_step_is_plain_gradient_descent_on_the_mixed_rows(tmp_path):
    """SGD by hand over both batches of a pass: w ← w − η·∇(Σ nats / answer tokens)."""
    settings = {"learning_rate": 0.05, "optim": "sgd", "weight_decay": 0.0, "max_steps": 2}
    settings |= {"train_sampling_strategy": "sequential", "per_device_train_batch_size": 5}
    model = lora(tiny_model("llama"), init_lora_weights=False)
    twin = lora(tiny_model("llama"), init_lora_weights=False)
    trainer = trainer_of(tmp_path, model, **settings)
    start, mixed = weights(model), list(trainer.train_dataset)
    trainer.train()
    for step in range(2):
        total, tokens = torch.zeros(()), 0
        for row in mixed[5 * step : 5 * step + 5]:
            logits = twin(torch.tensor([row["input_ids"]])).logits[0].log_softmax(-1)
            for place, label in enumerate(row["labels"]):
                if label != -100:
                    total, tokens = total - logits[place - 1, label], tokens + 1
        twin.zero_grad()
        (total / tokens).backward()
        with torch.no_grad():
            for w in twin.parameters():
                if w.grad is not None:
                    w -= 0.05 * w.grad
    moved = {n: w - start[n] for n, w in weights(model).items()}
    assert relative_error(moved, {n: w - start[n] for n, w in weights(twin).items()}) < 1e-5
    assert any(row in SAFE for row in mixed[:10])


def test_share_zero_is_plain_fine_tuning_bit_for_bit(tmp_path):
    plain = SFTTrainer(
        lora(tiny_model("llama")), SFTConfig(**arguments(tmp_path)), collator(), USER
    )
    mixed = trainer_of(tmp_path, share=0)
    assert mixed.train_dataset is plain.train_dataset
    for trainer in (plain, mixed):
        trainer.train()
    one, other = weights(plain.model), weights(mixed.model)
    assert all(torch.equal(one[n], other[n]) for n in one)


def test_accumulated_steps_equal_whole_ones(tmp_path):
    trainer = trainer_of(tmp_path, lora(tiny_model("llama"), init_lora_weights=False))
    some = list(trainer.train_dataset)[:4]
    split = step_gradients(trainer, [collator()([row]) for row in some])
    assert relative_error(split, step_gradients(trainer, [collator()(some)])) < 1e-5


def test_resumed_run_equals_one_without_interruption(tmp_path):
    ends = []
    settings = {"save_strategy": "steps", "save_steps": 3, "num_train_epochs": 2}
    for resume in (None, str(tmp_path / "checkpoint-3")):
        trainer = trainer_of(tmp_path, lora(tiny_model("llama", attention_dropout=0.1)), **settings)
        trainer.train(resume_from_checkpoint=resume)
        ends.append(weights(trainer.model))
    assert all(torch.equal(ends[0][n], ends[1][n]) for n in ends[0])


def test_arrow_rows_are_drawn_as_lists_are(tmp_path):
    arrow = trainer_of(
        tmp_path, user=datasets.Dataset.from_list(USER), safe=datasets.Dataset.from_list(SAFE)
    )
    assert texts(arrow.train_dataset) == texts(trainer_of(tmp_path).train_dataset)


def test_what_cannot_be_mixed_is_told(tmp_path):
    with pytest.raises(UserError, match="asks for 10 alignment rows, and there are 9"):
        trainer_of(tmp_path, share=0.75)
    with pytest.raises(UserError, match="train_dataset is a stream"):
        trainer_of(tmp_path, user=Stream(USER), max_steps=2)
    with pytest.raises(UserError, match="alignment_dataset is a stream"):
        trainer_of(tmp_path, safe=Stream(SAFE))
    with pytest.raises(UserError, match=r"share is -0\.1"):
        SafeMixConfig(str(tmp_path), use_cpu=True, share=-0.1)
