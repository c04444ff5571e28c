"""BDS, the Bayesian data scheduler: the user's rows have weights that are learned while tuning.

    w ← w - opt(∇_w [λ · L_safe(w) + (1/B) Σ_i ω_i ℓ_i(w)])     over the step's B rows
    p ← p - AdamW(∇_p [(1/B) Σ_i ω_i ℓ_i(w)]),     ω = N · softmax(p),   p = 0 at the start

ℓ_i is row i's mean loss over its answer tokens, before the step in both lines; the N rows' weights
have the mean 1. L_safe is the mean over the answer tokens of as many alignment rows. Rows that the
safe ones make hard to fit keep a high loss, and their weight falls; the others' rises.

A row counts by its mean, whatever its length, where plain fine-tuning counts tokens: so no setting
is plain fine-tuning bit for bit (λ = 0 and a selector rate of 0 weigh all rows alike). p and its
AdamW go with a checkpoint. Alignment rows count by tokens here, and by rows in the authors' code.

Defaults are that code's (scalar scheduler, softmax, no prior, no entropy): λ = 1, rate 5e-3, betas
0.9 and 0.95, no decay; 1,000 safe rows, batch 10, 20 epochs, lr 1e-5, r 32. Its other scheduler, a
small network that reads the rows, is not here.

Source: Z. Hu et al.: BDS, arXiv 2510.27172; github.com/Egg-Hu/Bayesian-Data-Scheduler.
"""

from dataclasses import dataclass, field
from typing import Any

from holdfast.trainer.row_weights import RowWeightsMixin
from holdfast.trainer.side_batches import SideBatchesMixin
from holdfast.training import SFTConfig, SFTTrainer


@dataclass
class BDSConfig(SFTConfig):
    """Settings of BDS.

    Args:
        lam: λ, the weight of the alignment rows' loss.
        selector_rate: the learning rate of the rows' weights; 0 leaves them all at 1.
    """

    lam: float = field(default=1.0, metadata={"range": "[0, inf)"})
    selector_rate: float = field(default=5e-3, metadata={"range": "[0, inf)"})


class BDSTrainer(RowWeightsMixin, SideBatchesMixin, SFTTrainer):
    """BDS. Takes what `SFTTrainer` takes, with a `BDSConfig`.

    Args:
        alignment_dataset: alignment rows, in the shapes that ``train_dataset`` may have.

    Attributes:
        scores: p, float32 [N].

    Raises:
        UserError: as `SFTTrainer` and `RowWeightsMixin`; weights divided among processes.
    """

    config_class = BDSConfig
    args: BDSConfig

    def __init__(self, *args: Any, alignment_dataset: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.alignment_rows = self.side_rows(alignment_dataset, "alignment_dataset")

    def change_gradient(self) -> None:
        """Add λ·∇L_safe(w), and move the rows' weights by the losses of the step."""
        if self.args.lam:
            batches = self.side_batches(self.alignment_rows, self.state.global_step)
            self.add_to_gradient(self.gradient(batches)[0], self.args.lam)
        self.move_scores()
