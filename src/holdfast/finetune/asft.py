"""AsFT: user fine-tuning that is held back wherever it leaves the alignment's directions.

    L_user + λ·Σ_m ‖(I − C_m)·ΔW_m‖²_F,   C = V·Vᵀ / ‖V‖_F,   V = W_aligned − W_base

m goes over the linear layers that train; V_m is what the alignment changed there, ΔW_m what the
fine-tuning did, both [out, in], C_m [out, out]. Of an adapter ΔW = s·(B·A − B0·A0), s = alpha / r,
and B0 = 0 of a fresh one; of the decoder's weights (adapter=full) it is their difference to a copy
of the start. The gradient, 2λ·(I − C)²·ΔW with C = K·Kᵀ, K [out, k], joins once a step; neither C
nor an adapter's ΔW is ever made. λ = 0 is plain fine-tuning.

Where the alignment changed nothing C is 0, the formula's limit, and all of ΔW is held back. C is no
projector: its eigenvalues are V's squared singular values over ‖V‖_F. With ``exact`` it is the one
onto V's columns, V(VᵀV)⁻¹Vᵀ; of a V of full rank, a whole training's, that holds nothing back.
``shuffled`` is the control: K's rows permuted, so that C keeps all but its directions.

The authors' code takes B·A without s = 4, so their λ = 1 is our 1/16; it adds the term once a
micro-batch, and pairs modules by their order.

Source: S. Yang et al.: AsFT, arXiv 2506.08473, and its code (LoRA on q and v, r 8, lr 5e-5, 10
epochs, batch 8). unverified: the paper's own definition of C and of λ; they are its code's.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor

from holdfast.errors import UserError
from holdfast.models.blocks import decoder_layers
from holdfast.models.differences import adapted, as_matrix, parameters_of
from holdfast.models.updates import Update
from holdfast.trainer.kept import KeptMixin
from holdfast.trainer.pull import START
from holdfast.trainer.teacher import fresh_adapter
from holdfast.training import SFTConfig, SFTTrainer


@dataclass
class AsFTConfig(SFTConfig):
    """Settings of AsFT.

    Args:
        lam: λ, how strongly updates outside the alignment's directions are held back; 0 is SFT.
        exact: take the projector V(VᵀV)⁻¹Vᵀ for C, and not VVᵀ/‖V‖.
        shuffled: give C the same eigenvalues and other directions: a control.
    """

    lam: float = field(default=0.0625, metadata={"range": "[0, inf)"})
    exact: bool = False
    shuffled: bool = False


class AsFTTrainer(KeptMixin, SFTTrainer):
    """AsFT. Takes what `SFTTrainer` takes but ``model_init``, with an `AsFTConfig`.

    Args:
        alignment_update: V by a weight's name, see `holdfast.models.differences.difference`.

    Raises:
        UserError: as `SFTTrainer`; the alignment changed nothing that trains here, the adapter is
            no plain LoRA, the weights are divided among processes; a ``model_init``.
    """

    config_class = AsFTConfig
    args: AsFTConfig

    def __init__(self, *args: Any, alignment_update: Mapping[str, Update], **kwargs: Any):
        super().__init__(*args, **kwargs)
        if self.is_fsdp_enabled or self.is_deepspeed_enabled:
            raise UserError("AsFT needs whole matrices: train with DDP or in one process.")
        if self.model_init is not None:
            raise UserError("AsFT knows one model's alignment: pass the model, not model_init.")
        common = [name for name in _linear(self.model) if name in alignment_update]
        if not common:
            raise UserError(
                "the alignment changed no linear layer that trains here: give both the same "
                "target_modules."
            )
        self._roots = {name: self._root(alignment_update[name]) for name in common}

    def make_kept(self) -> dict[str, Tensor]:
        """The start values of what trains; none where ΔW begins at 0 with a fresh adapter."""
        if self.args.lam == 0 or fresh_adapter(self.model) is not None:
            return {}
        return {START + name: w.detach().clone() for name, w in self.trainable_weights()}

    def training_step(self, *args: Any, **kwargs: Any) -> Tensor:
        """One micro-batch; the term's gradient joins with the last of a step."""
        start = self.have_kept()
        loss = super().training_step(*args, **kwargs)
        if self.args.lam and self.accelerator.sync_gradients:
            self._add_term(start)
        return loss

    def _root(self, V: Update) -> Tensor:
        """K, with K·Kᵀ = C."""
        exact = self.args.exact
        K = V.columns().to(V.left) if exact else V.gram_root() / (V.norm() or 1.0) ** 0.5
        if self.args.shuffled:
            K = K[torch.randperm(len(K), generator=torch.Generator().manual_seed(self.args.seed))]
        return K if V.right is None else K.to(self.args.device)  # a whole one waits, as theirs do

    @torch.no_grad()
    def _add_term(self, start: Mapping[str, Tensor]) -> None:
        factor = 2 * self.args.lam * self.loss_scale()
        begun: Any = {w: start[START + n] for n, w in self.trainable_weights() if start}
        for name, layer in _linear(self.model).items():
            for weight, gradient in _gradients(layer, begun, self._roots.get(name)):
                gradient = factor * gradient
                weight.grad = gradient if weight.grad is None else weight.grad.add_(gradient)


def _linear(model: Any) -> dict[str, Any]:
    """An adapter's layers by name, or the decoder's matrices, each with whether it is [in, out]."""
    if isinstance(model, PeftModel):
        return adapted(model, model.active_adapters[0])
    inside = {weight for layer in decoder_layers(model) for weight in layer.parameters()}
    named = parameters_of(model).items()
    return {n: (w, turned) for n, (w, turned) in named if w in inside and w.ndim == 2}


def _gradients(
    layer: Any, begun: Mapping[Any, Tensor], K: Tensor | None
) -> Iterator[tuple[Tensor, Tensor]]:
    """Half the gradient of ‖(I − C)·ΔW‖² for each weight that ΔW = L·R is made of."""
    if isinstance(layer, tuple):
        weight, turned = layer
        yield weight, as_matrix(_outside(as_matrix(weight - begun[weight], turned), K), turned)
        return
    adapter = layer.active_adapters[0]
    s, B, A = layer.scaling[adapter], layer.lora_B[adapter].weight, layer.lora_A[adapter].weight
    L, R = s * B, A.detach()
    if begun:
        L, R = torch.cat([L, -s * begun[B]], dim=1), torch.cat([R, begun[A]])
    M = _outside(L, K)
    yield B, s * M @ (R @ A.T)
    yield A, s * B.T @ M @ R


def _outside(X: Tensor, K: Tensor | None) -> Tensor:
    """(I − C)²·X for X [out, n]."""
    if K is None:
        return X
    K = K.to(X)
    X = X - K @ (K.T @ X)
    return X - K @ (K.T @ X)
