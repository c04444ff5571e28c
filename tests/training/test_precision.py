"""What trains is float32, whatever type the model is stored in."""

from types import SimpleNamespace

import pytest
import torch
from steps import arguments, collator, rows, weights

from holdfast import SFTConfig, SFTTrainer, UserError
from holdfast.trainer.precision import train_in_float32
from tiny_models import lora, tiny_model


def trained(model, folder, **settings):
    """The model after six steps at a learning rate of 1e-5."""
    config = SFTConfig(
        **arguments(folder, learning_rate=1e-5, num_train_epochs=2, weight_decay=0.0, **settings)
    )
    trainer = SFTTrainer(model, config, train_dataset=rows(12), data_collator=collator())
    trainer.train()
    return trainer


def share_changed(before, after):
    changed = sum((before[n].float() != after[n].float()).sum() for n in before)
    return float(changed) / sum(w.numel() for w in before.values())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_as_many_weights_change_as_in_float32(tmp_path, dtype):
    shares = []
    for kind in (torch.float32, dtype):
        model = tiny_model("llama").to(dtype).to(kind)
        before = weights(model)
        trainer = trained(model, tmp_path)
        after = weights(trainer.model)
        assert {w.dtype for w in after.values()} == {torch.float32}
        shares.append(share_changed(before, after))
    assert shares[0] > 0.9
    assert abs(shares[1] - shares[0]) < 0.02
    assert trainer.args.bf16 is (dtype == torch.bfloat16), "float16 has no autocast on a processor"


def test_a_model_in_bf16_still_computes_in_it(tmp_path):
    model, seen = tiny_model("llama").to(torch.bfloat16), []
    layer = model.model.layers[0].mlp.up_proj

    def note(module, inputs, output):
        if module.training:  # not what the trainer asks the model before it trains
            seen.append(output.dtype)

    layer.register_forward_hook(note)
    trained(model, tmp_path)
    assert set(seen) == {torch.bfloat16}


def test_an_adapter_in_bf16_becomes_float32_and_its_base_stays(tmp_path):
    model = lora(tiny_model("llama"), init_lora_weights=False).to(torch.bfloat16)
    before = weights(model)
    trainer = trained(model, tmp_path)
    assert share_changed(before, weights(trainer.model)) > 0.9
    types = {w.dtype for w in trainer.model.parameters() if not w.requires_grad}
    assert types == {torch.bfloat16}


def test_settings_of_the_caller_stay_as_they_are(tmp_path):
    config = SFTConfig(**arguments(tmp_path))
    SFTTrainer(
        tiny_model("llama").to(torch.bfloat16), config, train_dataset=rows(4),
        data_collator=collator(),
    )  # fmt: skip
    assert not config.bf16


@pytest.mark.parametrize(
    ("frozen", "trained_in", "device", "mixed"),
    [
        ("float32", "float32", "cuda", "no"),
        ("float16", "float16", "cuda", "fp16"),
        ("float16", "float32", "cuda", "fp16"),  # LoRA: the gradients pass the base
        ("float16", "float32", "cpu", "no"),
        ("bfloat16", "float32", "cuda", "no"),
        ("bfloat16", "bfloat16", "cuda", "bf16"),
    ],
)
def test_how_a_model_computes(frozen, trained_in, device, mixed):
    """By stand-ins: no accelerator is here."""
    model = torch.nn.ModuleList([torch.nn.Linear(2, 2, bias=False) for _ in range(2)])
    model[0].to(getattr(torch, frozen)).requires_grad_(False)
    model[1].to(getattr(torch, trained_in))
    given = SimpleNamespace(
        device=torch.device(device), bf16=False, fp16=False, mixed_precision="no"
    )
    args = train_in_float32(model, given)
    assert args.mixed_precision == mixed
    assert (args.bf16, args.fp16) == (mixed == "bf16", mixed == "fp16")
    assert model[1].weight.dtype == torch.float32


def test_a_model_of_model_init_needs_its_type_said(tmp_path):
    def make():
        return tiny_model("llama").to(torch.bfloat16)

    config = arguments(tmp_path)
    with pytest.raises(UserError, match="set bf16=True"):
        SFTTrainer(args=SFTConfig(**config), model_init=make, data_collator=collator())
    trainer = SFTTrainer(
        args=SFTConfig(**config, bf16=True), model_init=make, train_dataset=rows(4),
        data_collator=collator(),
    )  # fmt: skip
    trainer.train()
    assert {w.dtype for w in weights(trainer.model).values()} == {torch.float32}
