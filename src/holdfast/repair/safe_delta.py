"""Safe Delta: keep those changes of the fine-tuning that cost the least safety; make up for them.

    H = (2/N) Σ_n X^(n) X^(n)ᵀ + d·I,   H⁻¹ = RᵀR,   U = W_tuned − W_aligned
    cost of keeping w_ij + u_ij:  u_ij² / R_jj²
    kept: in order of rising 1/R_jj², while their costs add up to s/2 · mean(1/R_jj²) · out/4096
    then, column by column:  e_j = (w_j − q_j) / R_jj,   w_k ← w_k − e_j·R_jk  for k > j

W [out, in] is an aligned weight, X^(n) [in, tokens] its inputs at safe row n of N in the aligned
model, d 1 % of H's mean diagonal, R [in, in] upper triangular; q_j is column j with its kept
changes. The last line is OBS's: what was kept moves the columns behind it so that the outputs on
safe rows stay. Kept are chosen by blocks of columns; the 15 % with the largest 1/R_jj² never are.
H_jj is 1, before d, for an input j that no row has.
Linear layers of the decoder that the fine-tuning changed come out so; all else is the aligned
model's. s = 0 leaves the aligned model; no s leaves the tuned one, so none is neutral.

Source: N. Lu et al.: Safe Delta, arXiv 2505.12038, and its code, from which the budget's half and
its scale (of Llama-2-7B's 4,096 columns in blocks of 2,048) and the 15 % are; it takes 128 rows and
s = 0.11. There four columns share one correction, here each has its own. The result has no low
rank: a whole model. unverified: the paper's text, which was read in quotations alone.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from peft import PeftModel
from torch import nn
from transformers import PreTrainedTokenizerBase

from holdfast.errors import UserError
from holdfast.models.loading import is_quantized
from holdfast.models.updates import Update
from holdfast.repair.checkpoints import Checkpoints
from holdfast.repair.hessians import hessians
from holdfast.settings import check_ranges

_DAMPING, _NEVER, _OUT = 0.01, 0.15, 4096


@dataclass
class SafeDeltaConfig:
    """Settings of Safe Delta.

    Args:
        budget: s, how much safety the kept changes may cost; 0 keeps none.
        block: columns of a matrix that are chosen from together.
        max_length: longest row in tokens; what is longer is cut on the right.
    """

    budget: float = field(default=0.11, metadata={"range": "[0, inf)"})
    block: int = field(default=2048, metadata={"range": "[1, inf)"})
    max_length: int = field(default=512, metadata={"range": "[1, inf)"})

    def __post_init__(self):
        check_ranges(self)


def safe_delta(
    model: nn.Module,
    checkpoints: Checkpoints,
    alignment_dataset: Iterable[Mapping[str, Any]],
    config: SafeDeltaConfig | None = None,
    processing_class: PreTrainedTokenizerBase | None = None,
) -> nn.Module:
    """Choose among the fine-tuning's changes by what they cost on safe rows.

    Args:
        model: the fine-tuned model.
        checkpoints: what it came from.
        alignment_dataset: harmful prompts with safe answers; one pass for each row.
        config: the settings.
        processing_class: the tokenizer; not needed for tokenized rows.

    Returns:
        The repaired model, a whole one.

    Raises:
        UserError: the weights are quantized, a layer is no plain linear one, or there are no rows.
    """
    config = SafeDeltaConfig() if config is None else config
    root: Any = model.get_base_model() if isinstance(model, PeftModel) else model
    if is_quantized(root):
        raise UserError(
            "safe_delta changes single weights, and these are quantized: leave quantization out."
        )
    U = {name: checkpoints.finetuning[name].whole() for name in checkpoints.linear}
    nothing = {
        name: Update(torch.zeros(1, 1).expand(update.shape))
        for name, update in checkpoints.finetuning.items()
    }
    aligned = checkpoints.replace(model, nothing)
    layers = {name: aligned.get_submodule(name) for name in U}
    odd = [name for name, layer in layers.items() if type(layer) is not nn.Linear]
    if odd:
        raise UserError(f"{odd[0]} is no plain linear layer, and safe_delta needs its inputs.")
    H = hessians(aligned, layers, alignment_dataset, config.max_length, processing_class)
    for name, layer in layers.items():
        weight: Any = layer.weight
        W = adjusted(weight.detach().cpu().double(), U[name].double(), H.pop(name), config)
        with torch.no_grad():
            weight.copy_(W)
    return aligned


def adjusted(
    W: torch.Tensor, U: torch.Tensor, H: torch.Tensor, config: SafeDeltaConfig
) -> torch.Tensor:
    """The weight with the kept changes and what makes up for them.

    Args:
        W: the aligned weight, [out, in], in float64.
        U: what the fine-tuning changed, likewise.
        H: [in, in], without damping.
        config: the settings.
    """
    H = H.double()
    H.diagonal()[H.diagonal() == 0] = 1  # an input that no row has
    H.diagonal().add_(_DAMPING * H.diagonal().mean())
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(H))
    R = torch.linalg.cholesky(inverse, upper=True)
    tuned, W = W + U, W.clone()
    for start in range(0, W.shape[1], config.block):
        block = slice(start, start + config.block)
        rate = R.diagonal()[block] ** -2
        kept = _kept((tuned - W)[:, block].square() * rate, rate, config.budget)
        for place, j in enumerate(range(*block.indices(W.shape[1]))):
            q = torch.where(kept[:, place], tuned[:, j], W[:, j])
            e = (W[:, j] - q) / R[j, j]
            W[:, j:] -= torch.outer(e, R[j, j:])  # column j itself becomes q
    return W


def _kept(cost: torch.Tensor, rate: torch.Tensor, budget: float) -> torch.Tensor:
    """Which changes of a block are kept, [out, columns], by their costs and 1/R_jj² [columns]."""
    order = rate.expand(cost.shape).flatten().argsort(stable=True)
    order = order[: len(order) - int(_NEVER * len(order))]
    spent = cost.flatten()[order].cumsum(0)
    limit = rate.mean() * budget / 2 * len(cost) / _OUT
    kept = torch.zeros(cost.numel(), dtype=torch.bool)
    kept[order] = spent <= limit
    return kept.reshape(cost.shape)
