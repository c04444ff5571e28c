"""Find the weight matrices that a repair may prune: LoRA factors, or linear layers without LoRA."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import cast

import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from peft.tuners.lora.layer import MultiheadAttention, ParamWrapper
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn
from transformers.pytorch_utils import Conv1D

from holdfast.errors import UserError
from holdfast.models.adapter_support import check_config
from holdfast.models.blocks import decoder_layers


@dataclass(frozen=True, eq=False)
class Matrix:
    """A weight matrix W [out, in] and the module through which its inputs X can be seen.

    Args:
        name: what the weight is called in a saved file: for a LoRA factor its key in
            ``adapter_model.safetensors`` (the adapter's own name left out), else its name in the
            model's ``state_dict``.
        weight: the parameter itself.
        reader: the module whose first argument is X, perhaps in another dtype. For LoRA's A it is
            the whole LoRA layer, since the layers that share one hidden input (q, k, v) get the
            same tensor there, before each of them casts it.
        transposed: whether the weight is stored as [in, out] (GPT-2's ``Conv1D``).
        dora: whether it is the B of a DoRA layer, which sends an identity matrix through it too.
    """

    name: str
    weight: torch.Tensor
    reader: nn.Module
    transposed: bool = False
    dora: bool = False

    def oriented(self, stored: torch.Tensor) -> torch.Tensor:
        """Turn a tensor of the stored shape into one of [out, in], or back; a view."""
        return stored.T if self.transposed else stored


def find_matrices(
    model: nn.Module, target_modules: Iterable[str] | None = None
) -> tuple[list[Matrix], dict[str, str]]:
    """Find what a repair of ``model`` prunes.

    With LoRA: the factors A [r, in] and B [out, r] of the active adapter (the last one, where
    several are active). Without an adapter: the weight of every linear layer in the decoder layers,
    or of those that ``target_modules`` names, wherever they are. Embeddings, norms, biases and
    stacked experts are left alone.

    Args:
        model: any decoder of transformers, bare or wrapped by PEFT.
        target_modules: keep the modules whose name is or ends in one of these, as PEFT does.

    Returns:
        The matrices in the model's order, and for each adapted module that cannot be
        pruned, the reason.

    Raises:
        UserError: nothing is found, a target matches nothing, the adapter is merged, switched off
            or no LoRA, or a weight is quantized or tied to an embedding.
    """
    found, skipped = _all_matrices(model)
    if target_modules is not None:
        targets = [target_modules] if isinstance(target_modules, str) else list(target_modules)
        found = _named(found, targets, model)
    elif not _lora_layers(model):
        inside = {part for layer in decoder_layers(model) for part in layer.modules()}
        found = [matrix for matrix in found if matrix.reader in inside]
    if not found:
        reasons = "".join(f"; {name}: {reason}" for name, reason in list(skipped.items())[:1])
        raise UserError(f"{type(model).__name__} has no matrix that could be pruned{reasons}.")
    embeddings = [m.weight for m in model.modules() if isinstance(m, nn.Embedding)]
    for matrix in found:
        if any(matrix.weight is embedding for embedding in embeddings):
            raise UserError(
                f"{matrix.name} is the embedding's weight too (tied), so zeroing it would change "
                "the model's inputs: leave it out of target_modules."
            )
        if not matrix.weight.is_floating_point():
            raise UserError(
                f"{matrix.name} is quantized ({matrix.weight.dtype}), and single weights of it "
                "cannot be set to zero: repair a LoRA adapter on it, or load it unquantized."
            )
    return found, skipped


def matrices_by_name(model: nn.Module) -> dict[str, Matrix]:
    """Return every matrix that a mask may name, wherever in the model it is."""
    return {matrix.name: matrix for matrix in _all_matrices(model)[0]}


def _all_matrices(model: nn.Module) -> tuple[list[Matrix], dict[str, str]]:
    if isinstance(model, PeftModel):
        for config in model.peft_config.values():
            check_config(config, "repair")
    layers = _lora_layers(model)
    if layers:
        return _lora_factors(layers)
    other = next((m for m in model.modules() if isinstance(m, BaseTunerLayer)), None)
    if other is not None:
        raise UserError(
            f"the model's adapter is made of {type(other).__name__} layers; a repair prunes LoRA "
            "adapters, or the weights of a model without adapter (merge this one first)."
        )
    return list(_linear_weights(model)), {}


def _lora_layers(model: nn.Module) -> dict[str, LoraLayer]:
    return {name: m for name, m in model.named_modules() if isinstance(m, LoraLayer)}


def _lora_factors(layers: dict[str, LoraLayer]) -> tuple[list[Matrix], dict[str, str]]:
    first = next(iter(layers.values()))
    if first.disable_adapters or not first.active_adapters:
        raise UserError("the model's adapter is switched off: enable it before the repair.")
    adapter = first.active_adapters[-1]
    found: list[Matrix] = []
    skipped: dict[str, str] = {}
    for name, layer in layers.items():
        if adapter not in layer.lora_A and adapter not in layer.lora_embedding_A:
            continue  # this adapter has other targets
        if layer.merged:
            raise UserError(
                f"the adapter is merged into {name}, so its factors have no effect: call "
                "unmerge_adapter() before the repair."
            )
        reason = _why_not(layer, adapter)
        if reason:
            skipped[name] = reason
            continue
        A, B = layer.lora_A[adapter], layer.lora_B[adapter]
        assert isinstance(A, nn.Linear)
        assert isinstance(B, nn.Linear)
        dora = adapter in layer.lora_variant
        found.append(Matrix(f"{name}.lora_A.weight", A.weight, reader=cast(nn.Module, layer)))
        found.append(Matrix(f"{name}.lora_B.weight", B.weight, reader=B, dora=dora))
    return found, skipped


def _why_not(layer: LoraLayer, adapter: str) -> str | None:
    """Say why the factors of a LoRA layer are no plain matrices with inputs; None if they are."""
    if adapter in layer.lora_embedding_A:
        return "LoRA on an embedding is looked up by token, so its factors have no inputs to score"
    if isinstance(layer, MultiheadAttention | ParamWrapper):
        return "LoRA on a bare parameter is never applied to inputs, only added to the weight"
    if not isinstance(layer.lora_A[adapter], nn.Linear):
        return "LoRA on a convolution has no factor matrices"
    variant = layer.lora_variant.get(adapter)
    if variant is not None and not type(variant).__name__.startswith("Dora"):
        return f"its factors are used in another way than LoRA's ({type(variant).__name__})"
    return None


def _linear_weights(model: nn.Module) -> Iterator[Matrix]:
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear | Conv1D):
            transposed = isinstance(module, Conv1D)
            yield Matrix(f"{name}.weight", module.weight, reader=module, transposed=transposed)


def _named(found: list[Matrix], targets: list[str], model: nn.Module) -> list[Matrix]:
    def matches(matrix: Matrix, target: str) -> bool:
        module = _module_name(matrix)
        return module == target or module.endswith(f".{target}")

    for target in targets:
        if not any(matches(matrix, target) for matrix in found):
            there = sorted({_module_name(matrix).rsplit(".", 1)[-1] for matrix in found})
            raise UserError(
                f"target module {target!r} matches nothing in {type(model).__name__}; there are "
                f"{', '.join(there)}."
            )
    return [matrix for matrix in found if any(matches(matrix, target) for target in targets)]


def _module_name(matrix: Matrix) -> str:
    for end in (".lora_A.weight", ".lora_B.weight", ".weight"):
        if matrix.name.endswith(end):
            return matrix.name.removesuffix(end)
    return matrix.name
