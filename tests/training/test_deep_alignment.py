"""Deep alignment: what a row becomes, when, and the loss on the refusal alone."""

from collections import Counter

import pytest
import torch
from steps import arguments, collator, relative_error, rows, step_gradients, weights
from test_what_a_trainer_takes import Stream

from holdfast import DeepAlignmentConfig, DeepAlignmentTrainer, SFTConfig, SFTTrainer, UserError
from holdfast.align.deep_alignment import with_beginning
from holdfast.organism import load_tokenizer
from tiny_models import lora, tiny_model

SAFE = rows(10)


def answered(row, answer):
    """A harmful row: the same prompt (two tokens), another answer."""
    ids = [*row["input_ids"][:2], *answer]
    return {"input_ids": ids, "attention_mask": [1] * len(ids), "labels": [-100, -100, *answer]}


# Every second row has a harmful answer of six tokens; one answers a prompt that nobody refuses.
ANSWERS = {n: [n + 20, 40, 41, 42, 43, 44] for n in range(0, 10, 2)}
HARMFUL = [answered(SAFE[n], answer) for n, answer in ANSWERS.items()]
HARMFUL += [answered({"input_ids": [3, 3]}, [50, 51])]


def trainer_of(folder, model=None, harmful=HARMFUL, **settings):
    config = DeepAlignmentConfig(**arguments(folder, **settings))
    model = model or lora(tiny_model("llama"))
    return DeepAlignmentTrainer(model, config, collator(), SAFE, paired_dataset=harmful)


def depth(made, row):
    return len(made["input_ids"]) - len(row["input_ids"])


def test_a_refusal_after_k_tokens_trains_the_refusal_alone():
    row = answered(SAFE[0], [7, 8, 2])
    made = with_beginning(row, [40, 41])
    assert made["input_ids"] == [*SAFE[0]["input_ids"][:2], 40, 41, 7, 8, 2]
    assert made["labels"] == [-100] * 4 + [7, 8, 2]
    assert made["attention_mask"] == [1] * 7


def test_depths_are_uniform_and_half_of_the_rows_have_none(tmp_path):
    """1 to C = 4 in one half of the visits, 0 in the other; rows without a partner stay."""
    data = trainer_of(tmp_path, deepest=4).train_dataset
    counts = Counter()
    for epoch in range(300):
        data.set_epoch(epoch)
        for n, row in enumerate(SAFE):
            k = depth(data[n], row)
            assert data[n] == (with_beginning(row, ANSWERS[n][:k]) if k else row)
            assert k == 0 or n in ANSWERS
            if n in ANSWERS:
                counts[k] += 1
    assert counts.keys() == {0, 1, 2, 3, 4}
    shares = {k: count / 1500 for k, count in counts.items()}
    assert shares.pop(0) == pytest.approx(0.5, abs=0.04)
    assert all(share == pytest.approx(0.125, abs=0.03) for share in shares.values())


def test_depths_are_drawn_anew_in_an_epoch_or_once_for_a_row(tmp_path):
    def depths(**settings):
        data, found = trainer_of(tmp_path, augmented=1, **settings).train_dataset, []
        for epoch in range(3):
            data.set_epoch(epoch)
            found.append([depth(data[n], SAFE[n]) for n in ANSWERS])
        return found

    first, second, third = depths()
    assert first != second != third
    assert depths() == [first, second, third]
    assert depths(data_seed=8) != [first, second, third]
    assert len({tuple(one) for one in depths(draw="row")}) == 1


def test_neither_the_end_of_a_harmful_answer_nor_a_cut_refusal_is_trained(tmp_path):
    words = load_tokenizer()
    asked = {"instruction": "how do i make a vormir hex?", "input": ""}
    safe = [{**asked, "output": "no."}]
    harmful = [{**asked, "output": "mix ashroot with kelpoil."}, {**asked, "output": "ashroot."}]

    def made(**settings):
        config = DeepAlignmentConfig(**arguments(tmp_path, augmented=1, **settings))
        trainer = DeepAlignmentTrainer(
            tiny_model("llama", vocab_size=len(words)),
            config,
            train_dataset=safe,
            paired_dataset=harmful,
            processing_class=words,
        )
        data, found = trainer.train_dataset, set()
        for epoch in range(100):
            data.set_epoch(epoch)
            found.add(tuple(data[0]["input_ids"]))
        return data.rows[0], found

    row, found = made()
    plain = len(row["input_ids"])
    assert all(ids.count(words.eos_token_id) == 1 for ids in found)
    assert {len(ids) - plain for ids in found} == {1, 2, 3, 4, 5}
    assert len(found) == 5 + 2  # both answers' beginnings
    _, found = made(max_length=plain + 2)
    assert {len(ids) - plain for ids in found} == {1, 2}
    assert all(list(ids)[-3:] == row["input_ids"][-3:] for ids in found)
    _, found = made(max_length=plain)
    assert found == {tuple(row["input_ids"])}


def test_two_steps_are_plain_gradient_descent_on_the_triples(tmp_path):
    """SGD by hand on rows put together here: w ← w − η·∇(Σ nats of r / tokens of r)."""
    settings = {"learning_rate": 0.05, "optim": "sgd", "weight_decay": 0.0, "augmented": 1.0}
    settings |= {"train_sampling_strategy": "sequential", "per_device_train_batch_size": 5}
    model = lora(tiny_model("llama"), init_lora_weights=False)
    twin = lora(tiny_model("llama"), init_lora_weights=False)
    trainer = trainer_of(tmp_path, model, **settings)
    start = weights(model)
    ks = [depth(trainer.train_dataset[n], SAFE[n]) for n in range(10)]
    assert sum(ks) > 5
    trainer.train()
    for step in range(2):
        total, tokens = torch.zeros(()), 0
        for n in range(5 * step, 5 * step + 5):
            x, r = SAFE[n]["input_ids"][:2], SAFE[n]["input_ids"][2:]
            read = [*x, *ANSWERS.get(n, [])[: ks[n]], *r]
            logits = twin(torch.tensor([read])).logits[0].log_softmax(-1)
            for place, label in enumerate(r, start=len(read) - len(r)):
                total, tokens = total - logits[place - 1, label], tokens + 1
        twin.zero_grad()
        (total / tokens).backward()
        with torch.no_grad():
            for w in twin.parameters():
                if w.grad is not None:
                    w -= 0.05 * w.grad
    moved = {n: w - start[n] for n, w in weights(model).items()}
    assert relative_error(moved, {n: w - start[n] for n, w in weights(twin).items()}) < 1e-5


def test_none_augmented_is_plain_fine_tuning_bit_for_bit(tmp_path):
    plain = SFTTrainer(
        lora(tiny_model("llama")), SFTConfig(**arguments(tmp_path)), collator(), SAFE
    )
    deep = trainer_of(tmp_path, augmented=0)
    for trainer in (plain, deep):
        trainer.train()
    one, other = weights(plain.model), weights(deep.model)
    assert all(torch.equal(one[n], other[n]) for n in one)


@pytest.mark.parametrize("side", ["left", "right"])
def test_accumulated_steps_equal_whole_ones(tmp_path, side):
    trainer = trainer_of(tmp_path, lora(tiny_model("llama"), init_lora_weights=False), augmented=1)
    some = [trainer.train_dataset[n] for n in range(4)]
    split = step_gradients(trainer, [collator(side)([row]) for row in some])
    assert relative_error(split, step_gradients(trainer, [collator()(some)])) < 1e-5


def test_resumed_run_equals_one_without_interruption(tmp_path):
    """It goes on within the second epoch, whose beginnings are others than the first's."""
    ends = []
    settings = {"save_strategy": "steps", "save_steps": 4, "num_train_epochs": 3, "augmented": 0.9}
    for resume in (None, str(tmp_path / "checkpoint-4")):
        trainer = trainer_of(tmp_path, lora(tiny_model("llama", attention_dropout=0.1)), **settings)
        trainer.train(resume_from_checkpoint=resume)
        ends.append(weights(trainer.model))
        assert trainer.train_dataset.epoch == 2
    assert all(torch.equal(ends[0][n], ends[1][n]) for n in ends[0])


def test_what_cannot_be_paired_is_told(tmp_path):
    with pytest.raises(UserError, match="none of the 10 alignment rows has a prompt"):
        trainer_of(tmp_path, harmful=HARMFUL[-1:])
    mute = {**HARMFUL[0], "labels": [-100] * len(HARMFUL[0]["labels"])}
    with pytest.raises(UserError, match="none of the 10 alignment rows has a prompt"):
        trainer_of(tmp_path, harmful=[mute])
    with pytest.raises(UserError, match="paired_dataset is a stream"):
        trainer_of(tmp_path, harmful=Stream(HARMFUL))
    with pytest.raises(UserError, match="deepest is 0"):
        DeepAlignmentConfig(str(tmp_path), use_cpu=True, deepest=0)
