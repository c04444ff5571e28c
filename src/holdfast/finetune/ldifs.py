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
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from holdfast.data.rows import IGNORED
from holdfast.errors import UserError
from holdfast.models.bare import bare
from holdfast.models.blocks import decoder_layers
from holdfast.trainer.teacher import TeacherMixin
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


class LDIFSTrainer(TeacherMixin, SFTTrainer):
    """LDIFS. Takes what `SFTTrainer` takes, with an `LDIFSConfig`.

    Raises:
        UserError: as `SFTTrainer`; see `holdfast.trainer.teacher.TeacherMixin`; the model has no
            decoder layers or, if they are asked for, no MLPs.
    """

    config_class = LDIFSConfig
    args: LDIFSConfig
    _tokens: Any = None

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self._modules()  # told before the first step

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> Any:
        """The micro-batches of the coming optimizer step; counts M."""
        batches, num_items = super().get_batch_samples(*args, **kwargs)
        found = torch.stack([_real(batch).sum() for batch in batches]).sum()
        self._tokens = self.accelerator.reduce(found.to(self.args.device), "sum")
        return batches, num_items

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """The loss of a micro-batch with its part of the distance; in evaluation without."""
        plain = self.args.rho == 0 or not model.training or num_items_in_batch is None
        if plain:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        real, modules = _real(inputs), self._modules()
        given = {name: value for name, value in inputs.items() if name != "labels"}
        with self.as_reference() as reference, _outputs(modules) as start:
            reference(**given)
        with _outputs(modules) as trained:
            found = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        loss = found[0] if return_outputs else found
        if not all(h.requires_grad for h in trained[-1:]):
            raise UserError(
                "LDIFS needs the gradients of hidden states: set gradient_checkpointing_kwargs="
                "{'use_reentrant': False}."
            )
        pairs = zip(trained, start, strict=True)
        total = torch.stack([self._distance(h, h0, real).to(loss) for h, h0 in pairs]).sum()
        loss = loss + self.args.rho / 2 * self.share_of_step(total, self._tokens)
        return (loss, found[1]) if return_outputs else loss

    def _distance(self, h: Tensor, h0: Tensor, real: Tensor) -> Tensor:
        """Σ ‖h − h0‖² over the real tokens."""
        h, h0 = (one[real.to(one.device)].float() for one in (h, h0))
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


def _real(batch: dict[str, Any]) -> Tensor:
    """Which tokens are no padding, of rows that carry a loss (a filled-up batch has others)."""
    mask, ids = batch.get("attention_mask"), batch["input_ids"]
    real = torch.ones_like(ids).bool() if mask is None else mask.bool()
    return real & (batch["labels"] != IGNORED).any(1, keepdim=True)


@contextmanager
def _outputs(modules: list[nn.Module]) -> Iterator[list[Tensor]]:
    """The outputs of modules, in the order in which a pass within the context computes them."""
    found: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: Any, output: Any) -> None:
        found.append(output[0] if isinstance(output, tuple | list) else output)

    with ExitStack() as stack:
        for module in modules:
            stack.callback(module.register_forward_hook(keep).remove)
        yield found
