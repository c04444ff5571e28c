"""LoX: train the alignment, then go further along its leading directions.

    W = W_aligned + c · SVD_k(V),   V = W_aligned − W_base = U S Rᵀ,   SVD_k(V) = U_k U_kᵀ V

V [out, in] is what the alignment changed in a matrix, U_k [out, k] its k first left singular
vectors, k = 0 all of them. The alignment is plain SFT, and the step past it is taken once, when the
training has come to its end: before the user's fine-tuning, which it is to stand. Checkpoints of a
training that goes on have the trained weights. c = 0 is plain SFT, bit for bit.

Of an adapter V = s·B·A, and SVD_k(V) has A's rows: B ← B + c·U_k U_kᵀ B, with U_k by the factors'
QR decompositions; rank and A stay. Of the weights themselves (adapter=full) every trained matrix is
stepped with, embedding and head too, as the authors' code does, each expert of a stack by itself;
vectors stay. That takes a copy of the weights at the start, on the processor.

Source: G. J. Perin et al.: LoX, arXiv 2506.15606, and its code, which takes two models in 16 bits
and whose defaults are k = 0 and c = 1. unverified: the paper's text, of which quotations alone were
read; they have k = 6 and c = 1.25.
"""

from dataclasses import dataclass, field
from typing import Any

import torch
from peft import PeftModel

from holdfast.errors import UserError
from holdfast.models.differences import adapted
from holdfast.models.updates import Update
from holdfast.settings import check_ranges
from holdfast.training import SFTConfig, SFTTrainer


@dataclass
class LoxConfig(SFTConfig):
    """Settings of LoX.

    Args:
        coefficient: c, how far past the aligned weights; 0 is plain SFT.
        directions: k, how many singular directions of each matrix are followed; 0 is all.
    """

    coefficient: float = field(default=1.25, metadata={"range": "[0, inf)"})
    directions: int = field(default=6, metadata={"range": "[0, inf)"})

    def __post_init__(self):
        super().__post_init__()
        check_ranges(self)


class LoxTrainer(SFTTrainer):
    """LoX. Takes what `SFTTrainer` takes, with a `LoxConfig`.

    Raises:
        UserError: as `SFTTrainer`; the adapter is no plain LoRA on linear layers, or the weights
            are divided among processes.
    """

    config_class = LoxConfig
    args: LoxConfig

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        if self.is_fsdp_enabled:
            raise UserError("LoX needs whole matrices, which FSDP divides: use parallel=ddp.")
        self._start: dict[str, torch.Tensor] = {}
        if isinstance(self.model, PeftModel):
            adapted(self.model, self._adapter())
        elif self.args.coefficient:
            trained = self.model.named_parameters()
            self._start = {n: w.detach().cpu().clone() for n, w in trained if _steps(w)}

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """Train; once all steps are done, step past the aligned weights."""
        result = super().train(*args, **kwargs)
        if self.args.coefficient and self.state.global_step >= self.state.max_steps:
            self._extrapolate()
        return result

    def _adapter(self) -> str:
        names = self.model.active_adapters
        return names[0]

    @torch.no_grad()
    def _extrapolate(self) -> None:
        c, k = self.args.coefficient, self.args.directions
        if isinstance(self.model, PeftModel):
            adapter = self._adapter()
            for layer in adapted(self.model, adapter).values():
                B, A = layer.lora_B[adapter].weight, layer.lora_A[adapter].weight
                B.add_(leading(Update(B.cpu().float(), A.cpu().float()), k).left.to(B), alpha=c)
            return
        weights = dict(self.model.named_parameters())
        for name, before in self._start.items():
            W = weights[name]
            V = (W.cpu().float() - before.float()).reshape(-1, *W.shape[-2:])
            step = torch.stack([leading(Update(one), k).left for one in V])
            W.add_(step.reshape(W.shape).to(W), alpha=c)


def leading(V: Update, k: int) -> Update:
    """SVD_k(V), the part of an update along its k first singular directions; all with k = 0."""
    if k == 0 or k >= V.left.shape[1]:
        return V
    U_k = V.svd()[0][:, :k]
    return Update((U_k @ (U_k.T @ V.left.double())).to(V.left), V.right)


def _steps(weight: torch.Tensor) -> bool:
    return weight.requires_grad and weight.ndim >= 2
