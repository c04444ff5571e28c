"""Booster: alignment that makes a harmful training step buy little.

    min_w  L_align(w) + λ · ( L_harm(w) − L_harm(w − α · g_h / ‖g_h‖) ),   g_h = ∇L_harm(w)

The term is how much the harmful loss falls by one normalised step on harmful rows. To first order,
the step's direction taken as fixed, its gradient is that of the two harmful losses:

    ∇L_align(w) + λ · ( ∇L_harm(w) − ∇L_harm(w') ),   w' = w − α · g_h / (‖g_h‖ + 1e-7)

‖·‖ is one norm over all trainable weights. Both harmful passes see the same rows, as many as the
step's alignment rows, and the same dropout masks. λ = 0 or α = 0 is plain SFT.

The simulated step is one of the adapter that is aligned: its authors say that user fine-tuning must
go on with that adapter. So it does where ``finetune.adapter`` is not given, and a fresh adapter on
top, which takes another step, is refused.

Source: T. Huang, S. Hu, F. Ilhan, S. F. Tekin, L. Liu: Booster, arXiv 2409.01586, algorithm 1, and
its code (λ = 5, α = 0.1, 5,000 harmful rows). There w − step + step brings w back up to rounding;
here it comes back bit for bit, and accumulated micro-batches count, which the code throws away.
"""

from dataclasses import dataclass, field
from typing import Any

from holdfast.trainer.side_batches import SideBatchesMixin, norm
from holdfast.training import SFTConfig, SFTTrainer


@dataclass
class BoosterConfig(SFTConfig):
    """Settings of Booster.

    Args:
        lam: λ, the weight of the fall of the harmful loss; 0 is plain SFT.
        alpha: α, the length of the simulated harmful step, over all trainable weights.
    """

    lam: float = field(default=5.0, metadata={"range": "[0, inf)"})
    alpha: float = field(default=0.1, metadata={"range": "[0, inf)"})


class BoosterTrainer(SideBatchesMixin, SFTTrainer):
    """Booster. Takes what `SFTTrainer` takes, with a `BoosterConfig`.

    Args:
        harmful_dataset: harmful rows (harmful prompt, harmful answer), none of them the user's, in
            the shapes that ``train_dataset`` may have; a stream is read to its end.

    Raises:
        UserError: as `SFTTrainer`; no harmful rows; weights divided among processes (FSDP2).
    """

    config_class = BoosterConfig
    args: BoosterConfig

    def __init__(self, *args: Any, harmful_dataset: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.harmful_rows = self.side_rows(harmful_dataset, "harmful_dataset")

    def change_gradient(self) -> None:
        """Add λ·(∇L_harm(w) − ∇L_harm(w'))."""
        if self.args.lam == 0:
            return
        batches = self.side_batches(self.harmful_rows, self.state.global_step)
        here, _ = self.gradient(batches)
        with self.shifted(here, -self.args.alpha / (norm(here) + 1e-7)):
            there, _ = self.gradient(batches)
        term = {name: here[name] - there[name] for name in here}
        self.add_to_gradient(term, self.args.lam)
