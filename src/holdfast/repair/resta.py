"""RESTA: add the alignment's update once more to what the fine-tuning left.

    W = W_tuned + γ · V,   V = W_aligned − W_base

and with DARE, before that, the fine-tuning's update is thinned out: each of its numbers is dropped
with probability p, and what is left is divided by 1 − p, so that its mean stays:

    W = W_aligned + m ∘ U / (1 − p) + γ · V,   U = W_tuned − W_aligned,   m_ij ~ Bernoulli(1 − p)

γ = 0 with p = 0 leaves the model as it is, bit for bit. Where both trainings had adapters, the
result is one adapter of both ranks in the place of the last: [γ·B_V, B_U] [A_V; A_U]. DARE's mask
has no low rank, so with p > 0 the result is a whole model.

Source: R. Bhardwaj et al.: Language Models are Homer Simpson!, arXiv 2402.11746; DARE: L. Yu et
al., arXiv 2311.03099. There the safety vector is the difference of an aligned model and of the same
model made harmful by fine-tuning; here it is that of the aligned model and of its base, which is
what a pipeline has. Name a model that was made harmful as ``base_model`` for the paper's.
unverified: γ and p of the paper, whose code could not be had (others run it with γ = 1), and
whether with LoRA its mask is on the factors or, as here and in DARE, on their product.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import nn

from holdfast.models.updates import Update
from holdfast.repair.checkpoints import Checkpoints
from holdfast.settings import check_ranges


@dataclass
class RestaConfig:
    """Settings of RESTA.

    Args:
        gamma: γ, how many times the alignment's update is added; 0 adds nothing.
        drop_rate: p of DARE, the share of the fine-tuning's update that is dropped at random; 0 is
            without DARE.
        seed: of DARE's mask; the global random state is neither used nor changed.
    """

    gamma: float = field(default=0.5, metadata={"range": "[0, inf)"})
    drop_rate: float = field(default=0.0, metadata={"range": "[0, 1)"})
    seed: int = field(default=0, metadata={"range": "[0, 4294967295]"})

    def __post_init__(self):
        check_ranges(self)


def resta(
    model: nn.Module, checkpoints: Checkpoints, config: RestaConfig | None = None
) -> nn.Module:
    """Add the alignment's update to a fine-tuned model.

    Args:
        model: the fine-tuned model.
        checkpoints: what it came from.
        config: the settings.

    Returns:
        The repaired model; with DARE, or where the alignment was no adapter, a whole one.

    Raises:
        UserError: that, and the weights are quantized.
    """
    config = RestaConfig() if config is None else config
    generator = torch.Generator().manual_seed(config.seed)
    updates: dict[str, Update] = {}
    if config.drop_rate > 0:
        for name, U in checkpoints.finetuning.items():
            updates[name] = _thinned(U, config.drop_rate, generator)
    if config.gamma > 0:
        for name, V in checkpoints.alignment.items():
            updates[name] = _sum(updates, checkpoints.finetuning, name, V.times(config.gamma))
    return checkpoints.replace(model, updates)


def _thinned(U: Update, p: float, generator: torch.Generator) -> Update:
    whole = U.whole()
    kept = torch.rand(whole.shape, generator=generator) >= p
    return Update(whole * kept / (1 - p))


def _sum(
    updates: Mapping[str, Update], others: Mapping[str, Update], name: str, added: Update
) -> Update:
    """``added`` to what a weight has so far, if it has anything."""
    before = updates.get(name) or others.get(name)
    return added if before is None else added.plus(before)
