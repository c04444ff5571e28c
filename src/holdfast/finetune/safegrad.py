"""SafeGrad: what of the user's gradient works against the alignment is taken out of it.

    g_u = ∇L_user(w),   g_a = ∇L_align(w)
    g_u ← g_u − (⟨g_u, g_a⟩ / ‖g_a‖²) · g_a   where ⟨g_u, g_a⟩ < 0
    update with  g_u + ρ · g_a

⟨·,·⟩ and ‖·‖ are over all trainable weights together, of the whole step's gradients. L_align is the
divergence from the model as it was when the training began (the aligned one), on alignment rows:

    L_align(w) = (1/N) Σ KL( p_0(· | x, y_<t) ‖ p_w(· | x, y_<t) )   over their N answer tokens

At the first step both models are one and g_a is zero but for rounding: a g_a below 1e-6 of ‖g_u‖
counts as none. There is no neutral strength: with ρ = 0 the user's gradient is still projected.
With ``alignment_loss="sft"`` L_align is the cross-entropy of the safe answers.

Source: B. Yi et al.: Gradient Surgery for Safe LLM Fine-Tuning, arXiv 2508.07172. Unverified: ρ's
published value and the direction of the divergence; its code is not public.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor

from holdfast.errors import UserError
from holdfast.trainer.side_batches import (
    SideBatchesMixin,
    answer_log_probabilities,
    inner,
    norm,
)
from holdfast.trainer.teacher import TeacherMixin
from holdfast.training import SFTConfig, SFTTrainer

SMALLEST = 1e-6  # of the user's gradient's norm


@dataclass
class SafeGradConfig(SFTConfig):
    """Settings of SafeGrad.

    Args:
        rho: ρ, how much of the alignment gradient is added; 0 only projects.
        alignment_loss: "kl" keeps to the aligned model's answers (the paper); "sft" learns the safe
            answers themselves.
    """

    rho: float = field(default=1.0, metadata={"range": "[0, inf)"})
    alignment_loss: Literal["kl", "sft"] = "kl"

    def __post_init__(self):
        super().__post_init__()
        if self.alignment_loss not in ("kl", "sft"):
            raise UserError(f'alignment_loss is "{self.alignment_loss}": it must be "kl" or "sft".')


class SafeGradTrainer(TeacherMixin, SideBatchesMixin, SFTTrainer):
    """SafeGrad. Takes what `SFTTrainer` takes, with a `SafeGradConfig`.

    Args:
        alignment_dataset: alignment rows (harmful prompts with safe answers, benign ones among
            them), in the shapes that ``train_dataset`` may have; a stream is read to its end.

    Raises:
        UserError: as `SFTTrainer`; no alignment rows; weights divided among processes (FSDP2).
    """

    config_class = SafeGradConfig
    args: SafeGradConfig

    def __init__(self, *args: Any, alignment_dataset: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.alignment_rows = self.side_rows(alignment_dataset, "alignment_dataset")

    def change_gradient(self) -> None:
        """Project the user's gradient where it works against g_a, and add ρ·g_a."""
        batches = self.side_batches(self.alignment_rows, self.state.global_step)
        loss_of = self.divergence if self.args.alignment_loss == "kl" else None
        g_a, _ = self.gradient(batches, loss_of)
        g_u = {name: w.grad for name, w in self.trainable_weights() if w.grad is not None}
        scale = self.loss_scale()
        length = norm(g_a)
        if length < SMALLEST * norm(g_u) / scale:
            return
        product = inner(g_u, g_a) / scale
        against = product / length.square() if product < 0 else 0.0
        self.add_to_gradient(g_a, self.args.rho - against)

    def divergence(self, inputs: dict[str, Any]) -> Tensor:
        """The mean of KL(p_0 ‖ p_w) over a micro-batch's answer tokens."""
        with self.as_reference() as reference:
            log_p0 = answer_log_probabilities(reference, inputs)
        log_p = answer_log_probabilities(self.model, inputs)
        return (log_p0.exp() * (log_p0 - log_p)).sum(-1).mean()
