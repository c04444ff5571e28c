"""Models and comparisons that the tests of Antidote share."""

import torch
from peft import PeftModel
from slow_antidote import padding_collator, token_rows

from tiny_models import lora, tiny_model

ROWS = token_rows(11)
RIGHT = padding_collator("right")


def adapted(name: str = "llama", r: int = 10, **kw) -> PeftModel:
    """A model in fp64, so that batching changes no sum by enough to change a mask."""
    return lora(tiny_model(name), r=r, init_lora_weights=False, **kw).double()


def state(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def assert_only_masked_weights_changed(before: dict, repair, keys: dict[str, str]) -> None:
    after = repair.model.state_dict()
    masks = {keys[name]: mask for name, mask in repair.masks.items()}
    assert set(masks) <= set(after)
    for name, value in after.items():
        mask = masks.get(name, torch.zeros_like(value, dtype=torch.bool))
        assert torch.equal(value, before[name].masked_fill(mask, 0)), name


def lora_keys(masks: dict, adapter: str = "default") -> dict[str, str]:
    return {name: name.removesuffix("weight") + f"{adapter}.weight" for name in masks}


def assert_no_trace(model: torch.nn.Module) -> None:
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in model.modules())
