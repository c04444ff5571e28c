"""The tensors of an adapter's file by name: where each belongs in the model, and what is missing.

PEFT passes over a tensor that the model has no place for, and leaves a place at random that gets
none, so an adapter saved under other names would load as nothing at all.
"""

from collections import Counter
from pathlib import Path

import torch
from peft import PeftModel
from peft.utils import get_peft_model_state_dict
from peft.utils.transformers_weight_conversion import (
    convert_peft_adapter_state_dict_for_transformers,
)
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from holdfast.errors import UserError
from holdfast.models.adapter_support import ADAPTER_WEIGHTS

PREFIX = "base_model.model."
# What stands before a decoder's own modules, in the names of one class of model or another:
# `AutoModel` has no `model.`, a model with a vision tower has `language_model`, in either order.
_WRAPPERS = {"base_model", "model", "language_model"}
_CHECKED = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


def read_weights(entry: Path) -> dict[str, torch.Tensor]:
    """The tensors of an adapter's file, on the processor.

    Raises:
        UserError: the file is broken, or a number in it is infinite or none.
    """
    path = entry / ADAPTER_WEIGHTS
    try:
        weights = load_file(path)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path} is broken or cut off ({error}): get it again.") from error
    bad = not_finite(weights)
    if bad:
        raise UserError(
            f"{path} holds NaN or infinite numbers in {bad}: its training went wrong, or the file "
            "is damaged."
        )
    return weights


def not_finite(weights: dict[str, torch.Tensor]) -> str | None:
    """The name of a tensor that holds NaN or infinity, if there is one.

    Quantized weights are passed over: they have no such numbers.
    """
    for name, weight in weights.items():
        if weight.dtype not in _CHECKED or weight.device.type == "meta" or not weight.numel():
            continue
        # Both ends at once, without a tensor of that size; where there is a NaN, it is either.
        if not torch.isfinite(torch.stack(torch.aminmax(weight.detach()))).all():
            return name
    return None


def renamed(weights: dict[str, torch.Tensor], base: nn.Module) -> dict[str, torch.Tensor]:
    """The same tensors under the names that they have in ``base``, where they had other prefixes.

    Args:
        weights: an adapter's, as in its file.
        base: the model that the adapter is for, without it.

    Raises:
        UserError: two tensors get the same name.
    """
    modules = {name for name, _ in base.named_modules() if name}
    own = {*_WRAPPERS, getattr(base, "base_model_prefix", "model")}
    tails = Counter(_tail(name, own) for name in modules)
    by_tail = {_tail(name, own): name for name in modules if tails[_tail(name, own)] == 1}
    by_tail.pop("", None)
    found: dict[str, torch.Tensor] = {}
    for key, weight in weights.items():
        name = _renamed(key, modules, by_tail, own)
        if name in found:
            raise UserError(f"two of the adapter's tensors would be {name} in the model.")
        found[name] = weight
    return found


def _renamed(key: str, modules: set[str], by_tail: dict[str, str], own: set[str]) -> str:
    plain = key.removeprefix(PREFIX)
    here, rest = _longest(plain, modules)
    tail, tail_rest = _longest(_tail(plain, own), set(by_tail))
    if tail and (not here or len(tail_rest) < len(rest) or not key.startswith(PREFIX)):
        return f"{PREFIX}{by_tail[tail]}.{tail_rest}"
    return f"{PREFIX}{plain}" if here else key


def _longest(name: str, modules: set[str]) -> tuple[str, str]:
    """The longest beginning of a name that is a module, and what follows it."""
    parts = name.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        start = ".".join(parts[:cut])
        if start in modules:
            return start, ".".join(parts[cut:])
    return "", name


def _tail(name: str, own: set[str]) -> str:
    parts = name.split(".")
    while parts and parts[0] in own:
        parts = parts[1:]
    return ".".join(parts)


def check_names(model: PeftModel, name: str, weights: dict[str, torch.Tensor]) -> set[str]:
    """Compare an adapter's tensors with the model's places for them, name by name.

    Args:
        model: with the adapter on it.
        name: the adapter's.
        weights: what its file holds, under the model's names.

    Returns:
        The names of whole weights of embedding or head, which take the place of the base's.

    Raises:
        ValueError: names a tensor that has no place, or a place without a tensor.
    """
    given = set(
        convert_peft_adapter_state_dict_for_transformers(
            model, model.peft_config[name], weights, adapter_name=name
        )
    )
    places = set(get_peft_model_state_dict(model, adapter_name=name, save_embedding_layers=False))
    others = given - places
    whole: set[str] = set()
    if others:
        more = get_peft_model_state_dict(model, adapter_name=name, save_embedding_layers=True)
        whole = others & (set(more) - places)
    if others - whole:
        raise ValueError(f"the model has no place for its {min(others - whole)}")
    if places - given:
        raise ValueError(f"it has no weights for the model's {min(places - given)}")
    return whole
