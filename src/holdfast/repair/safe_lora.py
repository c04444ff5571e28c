"""Safe LoRA: project updates that leave the alignment's subspace back onto it.

    V = W_aligned − W_base,   C = V·Vᵀ / ‖V‖_F,   U = W_tuned − W_aligned = B·A
    U ← C·U   where   cos(C·U, U) = ⟨C·U, U⟩ / (‖C·U‖ ‖U‖)  is at most τ, or among the n smallest

V and U are [out, in], C is [out, out] and never made: C·B = V·(Vᵀ·B)/‖V‖_F, by V's factors where
the alignment was a LoRA adapter. By threshold every module with a cosine of at most τ is projected;
by number those n whose cosine is smallest, and no other. τ = −1 and n = 0 leave the model as it is,
bit for bit. A module that the alignment did not change has no subspace, and is left alone.

C is no projector: its eigenvalues are V's squared singular values over ‖V‖_F, so a small V shrinks
U too. It stands for the projector onto V's columns, V(VᵀV)⁻¹Vᵀ, which costs more; ``exact`` takes
that one. Of a V of full rank, a whole training's, that is the identity.

Source: C.-Y. Hsu et al.: Safe LoRA, arXiv 2405.16833, and its code, whose defaults are τ = 0.5 and
n = 10. There n projects with a threshold of 0.3 first, which stays in the model, and pairs modules
by their order; here each module is projected once, with its own V. Those defaults are of
Llama-2-7B-Chat, whose V is a whole training: of LoRA's V the cosines are others. unverified: that
the paper itself derives C from the projector (quoted by others).
"""

from dataclasses import dataclass, field

from torch import nn

from holdfast.repair.checkpoints import Checkpoints
from holdfast.repair.subspace import cosines, project
from holdfast.settings import check_ranges


@dataclass
class SafeLoraConfig:
    """Settings of Safe LoRA.

    Args:
        threshold: τ, the largest cosine of a module that is projected; -1 projects none, 1 all.
        number: how many modules are projected, those of the smallest cosines; in the place of the
            threshold.
        exact: project by V(VᵀV)⁻¹Vᵀ, which keeps the length of what lies in the subspace, and not
            by VVᵀ/‖V‖.
    """

    threshold: float = field(default=0.5, metadata={"range": "[-1, 1]"})
    number: int | None = field(default=None, metadata={"range": "[0, inf)"})
    exact: bool = False

    def __post_init__(self):
        check_ranges(self)


def safe_lora(
    model: nn.Module, checkpoints: Checkpoints, config: SafeLoraConfig | None = None
) -> nn.Module:
    """Project what the fine-tuning changed in the modules that left the alignment's subspace.

    Args:
        model: the fine-tuned model; a LoRA adapter keeps its A and its rank.
        checkpoints: what it came from.
        config: the settings.

    Returns:
        The repaired model.

    Raises:
        UserError: the alignment changed no linear layer that the fine-tuning changed.
    """
    config = SafeLoraConfig() if config is None else config
    found = cosines(checkpoints, config.exact)
    chosen = [name for name, cosine in found.items() if cosine <= config.threshold]
    if config.number is not None:
        chosen = sorted(found, key=lambda name: found[name])[: config.number]
    elif config.threshold == -1:
        chosen = []  # also where a cosine is -1
    V, U = checkpoints.alignment, checkpoints.finetuning
    updates = {name: project(U[name], V[name], config.exact) for name in chosen}
    return checkpoints.replace(model, updates)
