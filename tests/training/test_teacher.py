"""The frozen reference: always the model as training began, and the training is none the wiser."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from steps import arguments, collator, rows, weights

from holdfast import SFTConfig, SFTTrainer, UserError
from holdfast.models.adapters import NEW, activate
from holdfast.trainer.kept import STATE_FILE
from holdfast.trainer.teacher import TeacherMixin, fresh_adapter
from tiny_models import attention_linears, lora, tiny_model

BATCH = collator()(rows(5, seed=3))


class Asks(TeacherMixin, SFTTrainer):
    """Plain fine-tuning that asks the reference at every step, within the step's own autocast."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.answers = []

    def compute_loss(self, model, inputs, *args, **kwargs):
        flags = [(w.requires_grad, w.data_ptr()) for w in self.model.parameters()]
        modes = [m.training for m in self.model.modules()]
        with self.as_reference() as reference:
            assert not reference.training
            logits = reference(BATCH["input_ids"], attention_mask=BATCH["attention_mask"]).logits
        self.answers.append(logits.float())
        assert flags == [(w.requires_grad, w.data_ptr()) for w in self.model.parameters()]
        assert modes == [m.training for m in self.model.modules()]
        return super().compute_loss(model, inputs, *args, **kwargs)


def double(**settings):
    return lora(tiny_model("llama", attention_dropout=0.1), lora_dropout=0.1, **settings)


def single():
    return double(init_lora_weights=False)


def full():
    return tiny_model("llama", attention_dropout=0.1)


def stacked():
    """A frozen adapter below, as it lies on a quantized base, and a fresh one."""
    model = tiny_model("llama", attention_dropout=0.1)
    settings = {"r": 4, "lora_alpha": 4, "target_modules": list(attention_linears(model))}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        below = LoraConfig(**settings, init_lora_weights=False)
        model = get_peft_model(model, below, "below0")
        model.add_adapter(NEW, LoraConfig(**settings, lora_dropout=0.1))
    activate(model, trainable=True)
    return model


MODELS = {"double": double, "single": single, "full": full, "stacked": stacked}


def run(folder, make, kind=Asks, resume=None, **settings):
    config = SFTConfig(**arguments(folder, num_train_epochs=2, **settings))
    trainer = kind(make(), config, train_dataset=rows(12), data_collator=collator())
    trainer.train(resume_from_checkpoint=resume)
    return trainer


def at_start(make):
    model = make().eval()
    with torch.no_grad():
        return model(BATCH["input_ids"], attention_mask=BATCH["attention_mask"]).logits


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("other", [{}, {"gradient_checkpointing": True}, {"bf16": True}], ids=str)
def test_the_reference_stays_and_the_training_does_not_notice(tmp_path, kind, other):
    asked = run(tmp_path, MODELS[kind], **other)
    plain = run(tmp_path, MODELS[kind], SFTTrainer, **other)
    found, expected = weights(asked.model), weights(plain.model)
    assert all(torch.equal(found[n], expected[n]) for n in expected)
    start = weights(MODELS[kind]())
    assert any(not torch.equal(found[n], start[n]) for n in start)
    assert len(asked.answers) == 6
    assert all(torch.equal(answer, asked.answers[0]) for answer in asked.answers)
    if "bf16" not in other:
        assert torch.equal(asked.answers[0], at_start(MODELS[kind]))


def test_a_fresh_adapter_keeps_nothing_and_others_one_copy():
    kept = {}
    for kind, make in MODELS.items():
        trainer = Asks(make(), SFTConfig(**arguments("unused")), collator(), rows(4))
        kept[kind] = sum(tensor.numel() for tensor in trainer.make_kept().values())
    trains = {k: sum(w.numel() for w in weights(make()).values()) for k, make in MODELS.items()}
    assert kept == {**trains, "double": 0, "stacked": 0}


def test_what_is_no_zero_adapter_is_not_fresh():
    assert fresh_adapter(double()) == NEW
    assert fresh_adapter(double(use_dora=True)) is None
    assert fresh_adapter(double(init_lora_weights="pissa")) is None
    assert fresh_adapter(double(modules_to_save=["norm"])) is None
    assert fresh_adapter(full()) is None


@pytest.mark.parametrize("kind", ["double", "single", "full"])
def test_resumed_with_the_reference_of_the_start(tmp_path, kind):
    saving = {"save_strategy": "steps", "save_steps": 4}
    whole = run(tmp_path / "a", MODELS[kind], **saving)
    checkpoint = tmp_path / "a" / "checkpoint-4"
    resumed = run(tmp_path / "a", MODELS[kind], resume=str(checkpoint), **saving)
    assert len(resumed.answers) == 2
    assert torch.equal(resumed.answers[-1], whole.answers[0])
    assert all(torch.equal(w, weights(whole.model)[n]) for n, w in weights(resumed.model).items())
    (checkpoint / STATE_FILE).unlink()
    with pytest.raises(UserError, match=r"has no kept\.safetensors"):
        run(tmp_path / "a", MODELS[kind], resume=str(checkpoint))


def test_start_values_of_divided_weights_are_refused(monkeypatch):
    def set_up(self):
        self.is_fsdp_enabled, self.is_deepspeed_enabled = True, False

    original = SFTTrainer.create_accelerator_and_postprocess

    def both(self):
        original(self)
        set_up(self)

    monkeypatch.setattr(SFTTrainer, "create_accelerator_and_postprocess", both)
    settings = SFTConfig(**arguments("unused"))
    Asks(double(), settings, collator(), rows(4))
    with pytest.raises(UserError, match=r"Asks keeps the start values .* FSDP divides"):
        Asks(single(), settings, collator(), rows(4))


def test_asked_outside_of_a_training():
    model = single()
    trainer = Asks(model, SFTConfig(**arguments("unused")), collator(), rows(4))
    with trainer.as_reference():
        pass
    with torch.no_grad():
        for weight in weights(model):
            model.get_parameter(weight).add_(1.0)
    with trainer.as_reference() as reference:
        found = reference(BATCH["input_ids"], attention_mask=BATCH["attention_mask"]).logits
    assert torch.equal(found, at_start(single))


def test_neither_random_numbers_nor_the_casts_of_an_autocast_remain():
    model = single()
    trainer = Asks(model, SFTConfig(**arguments("unused")), collator(), rows(4))
    trainer.have_kept()
    with torch.no_grad():
        for weight in weights(model):
            model.get_parameter(weight).add_(1.0)
    model.eval()
    with torch.autocast("cpu", torch.bfloat16):
        expected = model(BATCH["input_ids"]).logits
        at_first = single().eval()(BATCH["input_ids"]).logits
    with torch.autocast("cpu", torch.bfloat16):
        model(BATCH["input_ids"])  # its casts must not be the reference's
        before = torch.get_rng_state()
        with trainer.as_reference() as reference, torch.enable_grad():
            started = reference(BATCH["input_ids"]).logits
            torch.rand(3)
        assert torch.equal(before, torch.get_rng_state())
        found = model(BATCH["input_ids"]).logits
    assert torch.equal(found, expected)
    assert torch.equal(started, at_first)
    assert not torch.equal(found, started)
