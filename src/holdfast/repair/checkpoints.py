"""The three models that a fine-tuned one came from, as a repair needs them: base, aligned, tuned.

    V = W_aligned − W_base        U = W_tuned − W_aligned

for every weight, by its module's name. Of LoRA stacks both are factors (`Update`); nothing here
makes an [out, in] matrix of them. What a repair puts in U's place is written where U was: into the
adapter, into a new adapter of a higher rank, or, where it has no low rank, into the weights.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel
from torch import nn
from transformers.pytorch_utils import Conv1D

from holdfast.errors import UserError
from holdfast.models.adapters import NEW, activate, merge
from holdfast.models.differences import (
    Subtracted,
    adapted,
    adapter_updates,
    as_matrix,
    difference,
    parameters_of,
    weights_in,
    weights_of,
)
from holdfast.models.loading import Loading, is_quantized
from holdfast.models.stack import Stack
from holdfast.models.updates import Update
from holdfast.repair.matrices import find_matrices


@dataclass(frozen=True)
class Checkpoints:
    """What the alignment and the fine-tuning changed, by the name of a weight without ".weight".

    Args:
        alignment: V of every weight that the alignment changed.
        finetuning: U of every weight that the fine-tuning changed.
        inside: what of the aligned model is in the place where U lies: nothing where the
            fine-tuning has an adapter of its own; V where it went on with the alignment's; the
            aligned weights after full fine-tuning.
        linear: the names of ``finetuning`` that are linear layers of the decoder.
    """

    alignment: Mapping[str, Update]
    finetuning: Mapping[str, Update]
    inside: Mapping[str, Update] = field(default_factory=dict)
    linear: tuple[str, ...] = ()

    def both(self) -> list[str]:
        """The linear layers that the alignment changed and the fine-tuning too.

        Raises:
            UserError: there are none.
        """
        found = [name for name in self.linear if name in self.alignment]
        if not found:
            raise UserError(
                "the fine-tuning changed no linear layer that the alignment changed, so the two "
                "cannot be compared: give both the same target_modules."
            )
        return found

    @contextmanager
    def as_if(
        self, layers: Mapping[str, nn.Module], updates: Mapping[str, Update]
    ) -> Iterator[None]:
        """Within the context some layers compute as if other updates were in the place of U.

        Args:
            layers: linear layers of the fine-tuned model, by name.
            updates: what would be added to the aligned weight of each.
        """

        def adds(change: Update) -> Any:
            def add(_layer: nn.Module, inputs: Any, output: torch.Tensor) -> torch.Tensor:
                x = inputs[0].float()
                for factor in (change.right, change.left):
                    x = x if factor is None else x @ factor.to(x.device).T
                return output + x.to(output)

            return add

        handles = [
            layer.register_forward_hook(adds(updates[name].plus(self.finetuning[name].times(-1))))
            for name, layer in layers.items()
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def replace(self, model: nn.Module, updates: Mapping[str, Update]) -> nn.Module:
        """Put other updates in the place of some of U's; all else stays bit for bit.

        Args:
            model: the fine-tuned model that this was made for.
            updates: what is to be added to the aligned weight, by name; a name that the
                fine-tuning did not change gets it too.

        Returns:
            ``model``, changed in place; or, where an update without factors meets an adapter, the
            model with all adapters merged into its weights.

        Raises:
            UserError: that, and the weights are quantized.
        """
        contents = {
            name: self.inside[name].plus(update) if name in self.inside else update
            for name, update in updates.items()
        }
        return self.put(model, contents)

    def put(self, model: nn.Module, contents: Mapping[str, Update]) -> nn.Module:
        """Put something into the place where U lies, ``inside`` taken out with it.

        Args:
            model: the fine-tuned model that this was made for.
            contents: what the adapter adds to each weight from then on, or the weight itself.

        Returns:
            As `replace`.

        Raises:
            UserError: as `replace`.
        """
        if not contents:
            return model
        if not isinstance(model, PeftModel):
            return _written(model, contents)
        if any(content.right is None for content in contents.values()):
            return _merged(model, contents)
        layers = adapted(model, NEW)
        if all(n in layers and layers[n].r[NEW] >= _rank(c) for n, c in contents.items()):
            for name, content in contents.items():
                _fill(layers[name], content)
            return model
        return _with_new_adapter(model, contents)


def compare(
    model: nn.Module, tuned: Stack, aligned: Stack, base: Stack, loading: Loading | None = None
) -> Checkpoints:
    """Compare a fine-tuned model with what it came from.

    Args:
        model: the fine-tuned model, as `holdfast.models.loading.load_last_open` gives it.
        tuned: what it was loaded from.
        aligned: the model that the fine-tuning started from.
        base: the model that the alignment started from.
        loading: how weights are loaded, where the adapters' factors do not suffice.

    Raises:
        UserError: the models are not of one structure, or weights that must be compared are
            quantized.
    """
    loading = loading or Loading()
    same_base = [(s.base, s.revision) for s in (tuned, aligned, base)]
    if (len(set(same_base)) > 1 or not tuned.entries) and loading.quantization:
        raise UserError(
            f"quantization is {loading.quantization}, and the models' own weights have to be "
            "compared: leave quantization out."
        )
    root: Any = model.get_base_model() if isinstance(model, PeftModel) else model
    config = root.config
    alignment = difference(aligned, base, config, loading)
    if isinstance(model, PeftModel):
        opened = adapter_updates(model, NEW)
        below = Stack(tuned.base, tuned.entries[:-1], tuned.revision)
        inside = difference(aligned, below, config, loading)
        finetuning = {
            name: update.plus(inside[name].times(-1)) if name in inside else update
            for name, update in opened.items()
        }
        return Checkpoints(alignment, finetuning, inside, tuple(finetuning))
    before = weights_of(aligned, loading)
    matrices, _ = find_matrices(model)
    linear = tuple(matrix.name.removesuffix(".weight") for matrix in matrices)
    finetuning = Subtracted(weights_in(model), before)
    inside = {name: Update(weight) for name, weight in before.items()}
    return Checkpoints(alignment, finetuning, inside, linear)


def _rank(update: Update) -> int:
    return update.left.shape[1]


@torch.no_grad()
def _fill(layer: Any, content: Update) -> None:
    """Write an update into a LoRA layer's factors: its scale is taken out of B again."""
    B, A = layer.lora_B[NEW].weight, layer.lora_A[NEW].weight
    rank = _rank(content)
    assert content.right is not None
    B[:, :rank] = (content.left / layer.scaling[NEW]).to(B)
    A[:rank] = content.right.to(A)
    B[:, rank:], A[rank:] = 0, 0


def _with_new_adapter(model: PeftModel, contents: Mapping[str, Update]) -> PeftModel:
    """Put one adapter of the highest rank in the place of the last one."""
    old = model.peft_config[NEW]
    contents = {**adapter_updates(model, NEW), **contents}
    rank = max(map(_rank, contents.values()))
    config = LoraConfig(
        task_type="CAUSAL_LM",
        inference_mode=True,
        r=rank,
        lora_alpha=rank,
        target_modules=sorted(contents),
        fan_in_fan_out=getattr(old, "fan_in_fan_out", False),
    )
    model.delete_adapter(NEW)
    model.add_adapter(NEW, config)
    layers = adapted(model, NEW)
    for name, content in contents.items():
        _fill(layers[name], content)
    if len(model.peft_config) > 1:
        activate(model, trainable=False)
    else:
        model.set_adapter(NEW)
    model.requires_grad_(False)
    return model


@torch.no_grad()
def _merged(model: PeftModel, contents: Mapping[str, Update]) -> nn.Module:
    """The model without adapters, its weights with ``contents`` in the place of the adapter's."""
    if is_quantized(model.get_base_model()):
        raise UserError(
            "the repaired update has no low rank, so it must go into the weights, and these are "
            "quantized: leave quantization out."
        )
    layers = adapted(model, NEW)
    for name, layer in layers.items():
        if name in contents:
            base = layer.get_base_layer()
            _add(base.weight, isinstance(base, Conv1D), contents[name])
            layer.lora_B[NEW].weight.zero_()
    whole = merge(model, Path(NEW))
    parameters = parameters_of(whole)
    for name, content in contents.items():
        if name not in layers:
            _add(*parameters[name], content)
    return whole


@torch.no_grad()
def _written(model: nn.Module, contents: Mapping[str, Update]) -> nn.Module:
    parameters = parameters_of(model)
    for name, content in contents.items():
        weight, turned = parameters[name]
        as_matrix(weight.data, turned).copy_(content.whole())
    return model


def _add(weight: nn.Parameter, turned: bool, content: Update) -> None:
    matrix = as_matrix(weight.data, turned)
    matrix.copy_(matrix.float() + content.whole().to(matrix.device))
