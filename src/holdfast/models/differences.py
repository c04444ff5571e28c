"""The difference of two models of one structure, weight by weight, without a copy where it can be.

Two stacks of LoRA adapters on one base differ by the adapters alone, whose factors are read from
their files; of other models the weights themselves are subtracted.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from peft import PeftConfig, PeftModel, PeftModelForCausalLM
from peft.tuners.lora import LoraLayer
from peft.utils import set_peft_model_state_dict
from torch import nn
from transformers import PretrainedConfig
from transformers.pytorch_utils import Conv1D

from holdfast.errors import UserError
from holdfast.models.adapter_keys import read_weights, renamed
from holdfast.models.adapter_support import check_adapter
from holdfast.models.adapters import NEW
from holdfast.models.fingerprint import folder_fingerprint
from holdfast.models.loading import Loading, load_merged
from holdfast.models.saving import skeleton
from holdfast.models.stack import Stack
from holdfast.models.updates import Update, total


def difference(
    later: Stack, earlier: Stack, config: PretrainedConfig, loading: Loading
) -> Mapping[str, Update]:
    """``later`` minus ``earlier``, by the name of a weight without its ".weight".

    Args:
        later: a model.
        earlier: another one of the same structure.
        config: theirs.
        loading: how their weights are loaded, where they have to be.

    Raises:
        UserError: their weights have other names or shapes, or are quantized.
    """
    if (later.base, later.revision) != (earlier.base, earlier.revision):
        return Subtracted(weights_of(later, loading), weights_of(earlier, loading))
    here, there = list(later.entries), list(earlier.entries)
    while here and there and _same(here[0], there[0]):
        here, there = here[1:], there[1:]
    terms = [(entry, 1.0) for entry in here] + [(entry, -1.0) for entry in there]
    parts: dict[str, list[Update]] = {}
    for entry, sign in terms:
        for name, update in entry_updates(entry, config).items():
            parts.setdefault(name, []).append(update if sign > 0 else update.times(sign))
    return {name: total(some) for name, some in parts.items()}


def _same(one: Path, other: Path) -> bool:
    return one == other or folder_fingerprint(one) == folder_fingerprint(other)


def entry_updates(entry: Path, config: PretrainedConfig) -> dict[str, Update]:
    """What a LoRA adapter in a folder adds to each weight.

    Raises:
        UserError: it is no plain LoRA.
    """
    check_adapter(entry, "stack")
    model = skeleton(config)
    weights = renamed(read_weights(entry), model)
    weights = {key: weight.float() for key, weight in weights.items() if ".lora_" in key}
    lora: Any = PeftConfig.from_pretrained(str(entry))
    lora.task_type, lora.inference_mode = "CAUSAL_LM", True
    with_adapter = PeftModelForCausalLM(model, lora, NEW)
    set_peft_model_state_dict(with_adapter, weights, NEW)
    return adapter_updates(with_adapter, NEW)


def adapter_updates(model: PeftModel, adapter: str) -> dict[str, Update]:
    """What a LoRA adapter on a model adds to each weight: s·B [out, r] and A [r, in].

    Raises:
        UserError: it is on something else than linear layers.
    """
    found: dict[str, Update] = {}
    for name, layer in adapted(model, adapter).items():
        B, A = layer.lora_B[adapter].weight.detach(), layer.lora_A[adapter].weight.detach()
        found[name] = Update(layer.scaling[adapter] * B.cpu().float(), A.cpu().float())
    return found


def adapted(model: PeftModel, adapter: str) -> dict[str, Any]:
    """The layers that carry an adapter, by name in the base model.

    Raises:
        UserError: one of them is no linear layer.
    """
    layers: dict[str, Any] = {}
    for name, layer in model.get_base_model().named_modules():
        if not isinstance(layer, LoraLayer) or adapter not in layer.r:
            continue
        plain = adapter in layer.lora_A and isinstance(layer.lora_A[adapter], nn.Linear)
        if not plain or adapter in layer.lora_variant:
            raise UserError(
                f"the adapter's update of {name} is no plain product of two matrices, so it cannot "
                "be compared with the alignment's."
            )
        layers[name] = layer
    return layers


class Subtracted(Mapping[str, Update]):
    """The differences of two models' weights, each made when it is asked for.

    A vector, a bias say, is a matrix of one column.
    """

    def __init__(self, later: Mapping[str, torch.Tensor], earlier: Mapping[str, torch.Tensor]):
        for name, weight in later.items():
            other = earlier.get(name)
            if other is None or other.shape != weight.shape:
                what = "is not there" if other is None else f"has the shape {tuple(other.shape)}"
                raise UserError(
                    f"the two models that are compared are not of one structure: {name} has the "
                    f"shape {tuple(weight.shape)} in one of them and {what} in the other."
                )
        self.later, self.earlier = later, earlier

    def __getitem__(self, name: str) -> Update:
        return Update(self.later[name].float() - self.earlier[name].float())

    def __iter__(self) -> Iterator[str]:
        return iter(self.later)

    def __len__(self) -> int:
        return len(self.later)


def weights_of(stack: Stack, loading: Loading) -> dict[str, torch.Tensor]:
    """All weights of a model with its adapters merged, as matrices on the processor."""
    return weights_in(load_merged(stack, loading, "full"))


def weights_in(model: nn.Module) -> dict[str, torch.Tensor]:
    """A model's weights by name without ".weight", [out, in] or [n, 1]; views where they can be."""
    return {
        name: as_matrix(weight.detach(), turned).cpu()
        for name, (weight, turned) in parameters_of(model).items()
    }


def parameters_of(model: nn.Module) -> dict[str, tuple[nn.Parameter, bool]]:
    """A model's parameters by name without ".weight", and whether each is stored as [in, out]."""
    turned = {name for name, module in model.named_modules() if isinstance(module, Conv1D)}
    found = {}
    for name, weight in model.named_parameters():
        short = name.removesuffix(".weight")
        found[short] = (weight, name.endswith(".weight") and short in turned)
    return found


def as_matrix(weight: torch.Tensor, turned: bool) -> torch.Tensor:
    """A weight as [out, in], a vector as [n, 1], stacked experts as [all the others, last]."""
    if weight.ndim < 2:
        return weight.reshape(-1, 1)
    return weight.T if turned else weight.reshape(-1, weight.shape[-1])
