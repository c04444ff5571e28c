"""Vaccine: alignment that holds under the worst small perturbation of the hidden embeddings.

    min_w  max_{Σ_l ‖ε_l‖² ≤ ρ²}  L(w; e_1 + ε_1, …, e_L + ε_L)

e_l is the output of attention block l, [rows, tokens, hidden]. To first order the worst ε is
ε_l = ρ · g_l / sqrt(Σ_l ‖g_l‖²) with g_l = dL/de_l, so each step takes two passes.

Source: T. Huang, S. Hu, L. Liu: Vaccine, arXiv 2402.01109, algorithm 1; appendix A for ``every``.
"""

from dataclasses import dataclass, field
from typing import Any

from holdfast.align.perturbation import StepPlan, TwoPassMixin
from holdfast.models.blocks import attention_blocks
from holdfast.training import SFTConfig, SFTTrainer


@dataclass
class VaccineConfig(SFTConfig):
    """Settings of Vaccine.

    Args:
        rho: ρ, the norm of the perturbation over all blocks, tokens and rows; 0 is plain SFT.
        every: τ, perturb on every τ-th step only, with plain steps between (accelerated Vaccine).
    """

    rho: float = field(default=2.0, metadata={"range": "[0, inf)"})
    every: int = field(default=1, metadata={"range": "[1, inf)"})


class VaccineMixin(TwoPassMixin):
    """Vaccine's step, for any `transformers.Trainer` whose ``args`` have ``rho`` and ``every``."""

    def plan_step(self) -> StepPlan | None:
        """Perturb every attention block on each τ-th step, the first one included."""
        if self.state.global_step % self.args.every:
            return None
        return StepPlan(self.args.rho, attention_blocks(self.model))


class VaccineTrainer(VaccineMixin, SFTTrainer):
    """Vaccine. Takes what `SFTTrainer` takes, with a `VaccineConfig`.

    Raises:
        UserError: as `SFTTrainer`; the model has no attention blocks.
    """

    config_class = VaccineConfig
    args: VaccineConfig

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        attention_blocks(self.model)  # told before the first step
