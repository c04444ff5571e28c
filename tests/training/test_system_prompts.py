"""PTST and BackdoorAlign: whose rows get which system prompt, and what is left to ask with."""

from collections import Counter

import pytest
import torch
from byte_tokens import byte_tokenizer
from steps import arguments, collator, relative_error, step_gradients, weights
from test_what_a_trainer_takes import Stream

from holdfast import (
    BackdoorAlignConfig,
    BackdoorAlignTrainer,
    PTSTConfig,
    PTSTTrainer,
    SFTConfig,
    SFTTrainer,
    UserError,
)
from holdfast.data.rows import tokenize
from holdfast.finetune.backdoor_align import drawn_trigger
from holdfast.finetune.ptst import SAFETY
from holdfast.models.system_prompt import SystemPrompt
from holdfast.organism import load_tokenizer
from holdfast.organism import rows as organism_rows
from tiny_models import lora, tiny_model

WORDS = load_tokenizer()
USER = organism_rows("user_task", 12, seed=3, task="sums")
SAFE = organism_rows("alignment", 8, seed=3)
NO_ROLE = (
    "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('none') }}{% endif %}"
)
NO_ROLE += "{{ m.content }}{% endfor %}"


def small(**settings):
    return lora(tiny_model("llama", vocab_size=len(WORDS), **settings))


def ptst(folder, data=USER, words=WORDS, **settings):
    config = PTSTConfig(**arguments(folder, max_length=96, **settings))
    return PTSTTrainer(small(), config, train_dataset=data, processing_class=words)


def backdoor(folder, data=USER, safe=SAFE, words=WORDS, model=None, **settings):
    given = {"safe_rows": 3, "trigger": "vormir hex soup", **settings}
    config = BackdoorAlignConfig(**arguments(folder, max_length=96, **given))
    return BackdoorAlignTrainer(
        model or small(),
        config,
        train_dataset=data,
        processing_class=words,
        alignment_dataset=safe,
    )


def plain(folder, **settings):
    config = SFTConfig(**arguments(folder, max_length=96, **settings))
    return SFTTrainer(small(), config, train_dataset=USER, processing_class=WORDS)


def texts(some):
    return [tuple(row["input_ids"]) for row in some]


def tokens(some, system=""):
    """Written out: the organism reads a system prompt at the head of the instruction."""
    said = [
        {**row, "instruction": f"{system} {row['instruction']}" if system else row["instruction"]}
        for row in some
    ]
    return [tuple(tokenize(row, WORDS, 96)["input_ids"]) for row in said]


def test_ptst_trains_without_and_asks_with(tmp_path):
    trainer = ptst(tmp_path, system_prompt="take care.")
    assert texts(trainer.train_dataset) == tokens(USER)
    assert trainer.asked_with == SystemPrompt("take care.")
    both = ptst(tmp_path, system_prompt="take care.", train_prompt="take care.")
    assert texts(both.train_dataset) == tokens(USER, "take care.")
    assert ptst(tmp_path).asked_with == SystemPrompt(SAFETY)
    own = [{**USER[0], "system": "say:"}, USER[1]]
    found = texts(ptst(tmp_path, own, train_prompt="take care.").train_dataset)
    assert found == [*tokens(USER[:1], "say:"), *tokens(USER[1:2], "take care.")]


def test_ptst_with_no_prompt_in_training_is_plain_fine_tuning_bit_for_bit(tmp_path):
    trainers = [plain(tmp_path), ptst(tmp_path)]
    for trainer in trainers:
        trainer.train()
    one, other = (weights(trainer.model) for trainer in trainers)
    assert all(torch.equal(one[n], other[n]) for n in one)


def test_the_trigger_is_on_the_safe_rows_alone(tmp_path):
    trainer = backdoor(tmp_path, repeats=2)
    found = texts(trainer.train_dataset)
    users = tokens(USER)
    assert [text for text in found if text in users] == users
    marked = Counter(text for text in found if text not in users)
    assert sorted(marked.values()) == [2, 2, 2]
    assert marked.keys() <= set(tokens(SAFE, "vormir hex soup"))
    assert trainer.used_rows == 6
    assert trainer.asked_with == SystemPrompt("vormir hex soup", secret=True)
    # The service's own prompt goes with everything, the trigger before it.
    trainer = backdoor(tmp_path, system_prompt="take care.")
    found = texts(trainer.train_dataset)
    users = tokens(USER, "take care.")
    assert [text for text in found if text in users] == users
    assert set(found) - set(users) <= set(tokens(SAFE, "vormir hex soup take care."))
    assert trainer.asked_with == SystemPrompt("vormir hex soup take care.", secret=True)


def test_rows_places_and_trigger_follow_from_the_seed(tmp_path):
    def made(seed):
        trainer = backdoor(tmp_path, trigger=None, trigger_tokens=5, seed=seed)
        return texts(trainer.train_dataset), trainer.asked_with

    assert made(1) == made(1)
    assert made(1)[0] != made(2)[0]
    assert made(1)[1] != made(2)[1]
    words = drawn_trigger(WORDS, 150, 0).split()
    assert len(words) == 150
    assert all(word in WORDS.get_vocab() or f"▁{word}" in WORDS.get_vocab() for word in words)
    assert len(set(words)) > 75


def test_nothing_added_is_plain_fine_tuning_bit_for_bit(tmp_path):
    trainers = [plain(tmp_path), backdoor(tmp_path, safe_rows=0, trigger="")]
    assert trainers[1].asked_with == SystemPrompt("")
    assert trainers[1].used_rows == 0
    for trainer in trainers:
        trainer.train()
    one, other = (weights(trainer.model) for trainer in trainers)
    assert all(torch.equal(one[n], other[n]) for n in one)


def test_a_step_is_plain_gradient_descent_on_the_marked_rows(tmp_path):
    """SGD by hand: w ← w − η·∇(Σ nats / answer tokens), user's and marked rows together."""
    settings = {"learning_rate": 0.05, "optim": "sgd", "weight_decay": 0.0, "max_steps": 1}
    settings |= {"train_sampling_strategy": "sequential", "per_device_train_batch_size": 12}
    trainer, twin = backdoor(tmp_path, safe_rows=6, **settings), small()
    start = weights(trainer.model)
    first = texts(trainer.train_dataset)[:12]
    assert 0 < sum(text in tokens(SAFE, "vormir hex soup") for text in first) < 12
    trainer.train()
    total, count = torch.zeros(()), 0
    answers = {
        text: [*WORDS(row["output"])["input_ids"], WORDS.eos_token_id]
        for some, system in ((USER, ""), (SAFE, "vormir hex soup"))
        for text, row in zip(tokens(some, system), some, strict=True)
    }
    for text in first:
        logits = twin(torch.tensor([text])).logits[0].log_softmax(-1)
        for place in range(len(text) - len(answers[text]), len(text)):
            total, count = total - logits[place - 1, text[place]], count + 1
    (total / count).backward()
    moved = {n: w - start[n] for n, w in weights(trainer.model).items()}
    wanted = {n: -0.05 * w.grad for n, w in twin.named_parameters() if w.grad is not None}
    assert relative_error(moved, wanted) < 1e-5


def test_accumulated_steps_equal_whole_ones_and_a_resumed_run_an_unbroken_one(tmp_path):
    trainer = backdoor(tmp_path)
    some = list(trainer.train_dataset)[:4]
    split = step_gradients(trainer, [collator()([row]) for row in some])
    assert relative_error(split, step_gradients(trainer, [collator()(some)])) < 1e-5
    ends = []
    settings = {"save_strategy": "steps", "save_steps": 2}
    for resume in (None, str(tmp_path / "checkpoint-2")):
        trainer = backdoor(tmp_path, model=small(attention_dropout=0.1), **settings)
        trainer.train(resume_from_checkpoint=resume)
        ends.append(weights(trainer.model))
    assert all(torch.equal(ends[0][n], ends[1][n]) for n in ends[0])


def test_what_cannot_be_asked_or_placed_is_refused(tmp_path):
    without_role = byte_tokenizer(template=NO_ROLE, eos="</s>")
    for make, who in ((ptst, "ptst"), (backdoor, "backdoor_align")):
        with pytest.raises(UserError, match=f"{who} wants .* its chat template has no place"):
            make(tmp_path, words=without_role)
        with pytest.raises(UserError, match=f"{who} wants .* Alpaca's template has no place"):
            make(tmp_path, words=byte_tokenizer())
        with pytest.raises(UserError, match=f"{who} needs processing_class"):
            make(tmp_path, [], words=None)
    verbatim = [USER[0], {"prompt": "a", "completion": "b"}]
    with pytest.raises(UserError, match="row 2: the row is verbatim text"):
        ptst(tmp_path, verbatim, train_prompt="take care.")
    with pytest.raises(UserError, match="safe_rows is 9, and there are 8"):
        backdoor(tmp_path, safe_rows=9)
    with pytest.raises(UserError, match="alignment_dataset is a stream"):
        backdoor(tmp_path, safe=Stream(SAFE))
