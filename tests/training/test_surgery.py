"""Surgery's step against a plain calculation, and what must not change it."""

import pytest
import torch
from steps import arguments, collator, gradients, relative_error, rows, step_gradients, weights

from holdfast import SFTConfig, SFTTrainer, SurgeryConfig, SurgeryTrainer, UserError
from holdfast.registry import plan_of
from tiny_models import lora, tiny_model

USER, HARMFUL, SAFE = rows(12), rows(9, seed=1), rows(10, seed=2)


def cross_entropy(logits, batch):
    log_p = logits[:, :-1].log_softmax(-1)
    targets = batch["labels"][:, 1:]
    picked = log_p.gather(-1, targets.clamp(min=0).unsqueeze(-1)).squeeze(-1)
    return -(picked * (targets != -100)).sum() / (targets != -100).sum()


def plain_sinks(model, chosen):
    """The mean of attention to the first token, of every head, a row at a time without padding."""
    sums, count = 0.0, 0
    for row in chosen:
        ids = torch.tensor([row["input_ids"]])
        layers = model(input_ids=ids, output_attentions=True).attentions
        sums = sums + torch.stack([layer[0, :, 1:, 0].sum(-1) for layer in layers])
        count += ids.shape[1] - 1
    return sums / count


def plain_gradients(model, user, harmful, safe, alpha):
    model.zero_grad()
    batch = collator()(user)
    out = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
    divergence = plain_sinks(model, harmful) - plain_sinks(model, safe)
    assert 0 < (divergence > 0).sum() < divergence.numel()
    (cross_entropy(out.logits, batch) + alpha * divergence.clamp(min=0).mean()).backward()
    return gradients(model)


def trainer_of(model, folder, side="right", **settings):
    return SurgeryTrainer(
        model,
        SurgeryConfig(**arguments(folder, **settings)),
        train_dataset=USER,
        harmful_dataset=HARMFUL,
        alignment_dataset=SAFE,
        data_collator=collator(side),
    )


def made(architecture="llama", **overrides):
    return tiny_model(architecture, layers=3, attn_implementation="eager", **overrides)


@pytest.mark.parametrize(
    ("adapter", "side", "split", "architecture"),
    [
        (True, "right", 1, "llama"),
        (False, "left", 1, "llama"),
        (True, "right", 8, "gemma3"),
        (True, "left", 4, "opt"),
    ],
)
def test_gradient_equals_a_plain_calculation(tmp_path, adapter, side, split, architecture):
    model = made(architecture)
    model = lora(model, init_lora_weights=False) if adapter else model
    settings = {"per_device_train_batch_size": 8 // split, "gradient_accumulation_steps": split}
    trainer = trainer_of(model, tmp_path, side, alpha=30.0, **settings)
    harmful = [HARMFUL[i] for i in trainer.harmful_rows.numbers(0, 8)]
    safe = [SAFE[i] for i in trainer.safe_rows.numbers(0, 8)]
    expected = plain_gradients(model, USER[:8], harmful, safe, 30.0)
    if split == 8:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    size = 8 // split
    parts = [collator(side)(USER[i : i + size]) for i in range(0, 8, size)]
    assert relative_error(step_gradients(trainer, parts), expected) < 1e-5
    trainer.args.alpha = 0.0
    assert relative_error(step_gradients(trainer, parts), expected) > 1e-2


def run(trainer_class, config_class, folder, resume=None, extra=None, **settings):
    model = lora(made(attention_dropout=0.1), lora_dropout=0.1)
    config = config_class(**arguments(folder, **settings))
    trainer = trainer_class(
        model, config, train_dataset=USER, data_collator=collator(), **(extra or {})
    )
    trainer.train(resume_from_checkpoint=resume)
    return weights(trainer.model)


SIDES = {"harmful_dataset": HARMFUL, "alignment_dataset": SAFE}


def test_strength_zero_is_sft_bit_for_bit_with_dropout(tmp_path):
    settings = {"num_train_epochs": 2, "gradient_accumulation_steps": 2}
    sft = run(SFTTrainer, SFTConfig, tmp_path, **settings)
    none = run(SurgeryTrainer, SurgeryConfig, tmp_path, extra=SIDES, alpha=0.0, **settings)
    assert all(torch.equal(sft[name], none[name]) for name in sft)
    some = run(SurgeryTrainer, SurgeryConfig, tmp_path, extra=SIDES, alpha=1.0, **settings)
    assert not all(torch.equal(sft[name], some[name]) for name in sft)


def test_resumed_run_equals_one_without_interruption(tmp_path):
    settings = {"alpha": 10.0, "num_train_epochs": 2, "lr_scheduler_type": "cosine"}
    mine = (SurgeryTrainer, SurgeryConfig)
    whole = run(*mine, tmp_path / "a", extra=SIDES, **settings)
    settings |= {"save_strategy": "steps", "save_steps": 2}
    for resume in (None, str(tmp_path / "b" / "checkpoint-2")):
        found = run(*mine, tmp_path / "b", resume, extra=SIDES, **settings)
        assert all(torch.equal(whole[name], found[name]) for name in whole)


def test_attention_that_is_not_eager_is_refused_in_a_sentence(tmp_path):
    with pytest.raises(UserError, match="eager attention alone puts out: load the model with"):
        trainer_of(tiny_model("llama", attn_implementation="sdpa"), tmp_path)
    check = plan_of("finetune", "surgery").check
    assert check({"attn_implementation": "eager"}) is None
    where, told = check({"attn_implementation": None})
    assert (where, told[-32:]) == ("attn_implementation", ": set attn_implementation=eager.")
