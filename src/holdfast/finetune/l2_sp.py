"""L2-SP: user fine-tuning near the weights that it began with.

    L_user(w) + λ·Σ_i (w_i − w0_i)²

w are the trainable weights, w0 their values as the training began. EWC with every weight as
important as any other: its control, and that of all methods that hold a model near its start by
another measure than the weights. λ = 0 is plain fine-tuning.

With a fresh adapter the factors A and B are held, B at zero, which is decay of B; to hold the
aligned model's own weights, go on with its adapter (``adapter: single``) or train it fully.

Source: X. Li, Y. Grandvalet, F. Davoine: Explicit Inductive Bias for Transfer Learning with
Convolutional Networks, arXiv 1802.01483 (their α/2 is our λ).
"""

from dataclasses import dataclass, field

from holdfast.trainer.pull import PullMixin
from holdfast.training import SFTConfig, SFTTrainer


@dataclass
class L2SPConfig(SFTConfig):
    """Settings of L2-SP.

    Args:
        strength: λ, the strength of the pull to the start weights; 0 is plain SFT.
    """

    strength: float = field(default=0.01, metadata={"range": "[0, inf)"})


class L2SPTrainer(PullMixin, SFTTrainer):
    """L2-SP. Takes what `SFTTrainer` takes, with an `L2SPConfig`."""

    config_class = L2SPConfig
    args: L2SPConfig

    def pull(self) -> float:
        """λ."""
        return self.args.strength
