"""VLGuard's loss: user fine-tuning with alignment rows beside the user's in every step.

    min_w  L_user(w) + λ · L_align(w)

Each step's gradient is ∇L_user of its rows plus λ·∇L_align of as many alignment rows, two scalars'
mean losses over their own answer tokens, at the same w. With λ = 0 this is plain fine-tuning.

Source: the loss of this name in the code of T. Huang et al.: Booster, arXiv 2409.01586 (λ = 0.1 in
its script, alignment batches of 4 rows), after Y. Zong et al.: Safety fine-tuning at (almost) no
cost (VLGuard), arXiv 2402.02207, which mixes the rows themselves instead. Here an alignment batch
has as many rows as the user's, and λ = 1, at which both count alike.
"""

from dataclasses import dataclass, field
from typing import Any

from holdfast.trainer.side_batches import SideBatchesMixin
from holdfast.training import SFTConfig, SFTTrainer


@dataclass
class VLGuardConfig(SFTConfig):
    """Settings of VLGuard's loss.

    Args:
        lam: λ, the weight of the alignment rows' loss; 0 is plain SFT.
    """

    lam: float = field(default=1.0, metadata={"range": "[0, inf)"})


class VLGuardTrainer(SideBatchesMixin, SFTTrainer):
    """VLGuard's loss. Takes what `SFTTrainer` takes, with a `VLGuardConfig`.

    Args:
        alignment_dataset: alignment rows (harmful prompts with safe answers, benign ones among
            them), in the shapes that ``train_dataset`` may have; a stream is read to its end.

    Raises:
        UserError: as `SFTTrainer`; no alignment rows; weights divided among processes (FSDP2).
    """

    config_class = VLGuardConfig
    args: VLGuardConfig

    def __init__(self, *args: Any, alignment_dataset: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.alignment_rows = self.side_rows(alignment_dataset, "alignment_dataset")

    def change_gradient(self) -> None:
        """Add λ·∇L_align(w)."""
        if self.args.lam == 0:
            return
        batches = self.side_batches(self.alignment_rows, self.state.global_step)
        gradient, _ = self.gradient(batches)
        self.add_to_gradient(gradient, self.args.lam)
