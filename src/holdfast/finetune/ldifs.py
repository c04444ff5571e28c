"""LDIFS: user fine-tuning whose hidden states stay near those of the aligned model.

    L_user(w) + (ρ/2)·(1/M) Σ_tokens Σ_l ‖h_l − h0_l‖²

h_l, [rows, tokens, hidden], is the output of decoder layer l, or of its MLP; h0_l the model's as
the training began, on the same rows without dropout. The sum goes over all real tokens of the rows
that carry a loss, prompts among them, and M is their number in the whole optimizer step. ρ = 0 is
plain fine-tuning. With ``normalized`` each h is divided by its norm first.

The paper has images: the mean over layers, channels and images of squared differences of normalized
layer outputs, its α = 10; so ρ/2 = α / (layers · hidden) with ``normalized``. The port that the
Booster and Antidote papers' tables come from takes the MLPs' outputs, adds up all tokens of a batch
with its padding (ρ = 1e-4, so that ours is that times the tokens of a batch), lets the reference
drop out, and leaves out each layer's term once it exceeds 0.1: it stops where it would act. We
leave nothing out.

Source: J. Mukhoti et al.: Fine-tuning can cripple your foundation model; preserving features may be
the solution, arXiv 2308.13320, by the authors' code; unverified: the paper's own text.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from holdfast.data.rows import IGNORED
from holdfast.errors import UserError
from holdfast.models.bare import bare
from holdfast.models.blocks import decoder_layers
from holdfast.models.outputs import recorded, tensor_of
from holdfast.trainer.held import HeldMixin
from holdfast.training import SFTConfig, SFTTrainer

_MLP = re.compile(r"(mlp|feed_forward|ffn|moe)$")


@dataclass
class LDIFSConfig(SFTConfig):
    """Settings of LDIFS.

    Args:
        rho: ρ, the strength of the pull to the start's hidden states; 0 is plain SFT.
        features: whose outputs: the layers', or the MLPs' in them, as the port has it.
        normalized: compare directions only, each hidden state divided by its norm.
    """

    rho: float = field(default=0.1, metadata={"range": "[0, inf)"})
    features: Literal["layer", "mlp"] = "layer"
    normalized: bool = False

    def __post_init__(self):
        super().__post_init__()
        if self.features not in ("layer", "mlp"):
            raise UserError(f'features is "{self.features}": it must be "layer" or "mlp".')


class LDIFSTrainer(HeldMixin, SFTTrainer):
    """LDIFS. Takes what `SFTTrainer` takes, with an `LDIFSConfig`.

    Raises:
        UserError: as `SFTTrainer`; see `holdfast.trainer.teacher.TeacherMixin`; the model has no
            decoder layers or, if they are asked for, no MLPs.
    """

    config_class = LDIFSConfig
    args: LDIFSConfig

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self._modules()  # told before the first step

    def hold(self) -> float:
        """ρ/2."""
        return self.args.rho / 2

    def counted(self, batch: dict[str, Any]) -> Tensor:
        """No padding, and no row without a loss, as a batch may be filled up with."""
        mask, ids = batch.get("attention_mask"), batch["input_ids"]
        real = torch.ones_like(ids).bool() if mask is None else mask.bool()
        return real & (batch["labels"] != IGNORED).any(1, keepdim=True)

    def distance(
        self, inputs: dict[str, Any], given: dict[str, Any], train: Callable[[], Any]
    ) -> tuple[Any, Tensor]:
        """What ``train()`` gives, and Σ_tokens Σ_l ‖h_l − h0_l‖²."""
        real, modules = self.counted(inputs), self._modules()
        with self.as_reference() as reference, recorded(modules) as start:
            reference(**given)
        with recorded(modules) as trained:
            found = train()
        if not all(tensor_of(h).requires_grad for h in list(trained.values())[-1:]):
            raise UserError(
                "LDIFS needs the gradients of hidden states: set gradient_checkpointing_kwargs="
                "{'use_reentrant': False}."
            )
        each = [self._distance(trained[layer], start[layer], real) for layer in range(len(modules))]
        return found, torch.stack([one.to(found[0]) for one in each]).sum()

    def _distance(self, now: Any, before: Any, real: Tensor) -> Tensor:
        """Σ ‖h − h0‖² of one module over the real tokens."""
        h, h0 = (one[real.to(one.device)].float() for one in map(tensor_of, (now, before)))
        if self.args.normalized:
            h, h0 = (nn.functional.normalize(one, dim=-1) for one in (h, h0))
        return (h - h0).square().sum()

    def _modules(self) -> list[nn.Module]:
        layers = decoder_layers(self.model)
        if self.args.features == "layer":
            return layers
        found = [next((m for n, m in la.named_children() if _MLP.search(n)), None) for la in layers]
        held = [module for module in found if module is not None]
        if len(held) < len(layers):
            name = type(bare(self.model)).__name__
            raise UserError(f"{name} has layers without an MLP of their own: set features=layer.")
        return held
