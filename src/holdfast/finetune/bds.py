"""BDS, the Bayesian data scheduler: the user's rows have weights that are learned while tuning.

    w ← w - opt(∇_w [λ · L_safe(w) + (1/B) Σ_i ω_i ℓ_i(w)])     over the step's B rows
    p ← p - AdamW(∇_p [(1/B) Σ_i ω_i ℓ_i(w)]),     ω = N · softmax(p),   p = 0 at the start

ℓ_i is row i's mean loss over its answer tokens, before the step in both lines; the N rows' weights
have the mean 1. L_safe is the mean over the answer tokens of as many alignment rows. Rows that the
safe ones make hard to fit keep a high loss, and their weight falls; the others' rises.

A row counts by its mean, whatever its length, where plain fine-tuning counts tokens: so no setting
is plain fine-tuning bit for bit (λ = 0 and a selector rate of 0 weigh all rows alike). p and its
AdamW go with a checkpoint. Alignment rows count by tokens here, and by rows in the authors' code.

``scheduler="neural"`` is the paper's second form, amortized: a network that reads row i gives its
score, and its weights v [d] are learned in p's place, from 0:

    p_i = ⟨v, f_i⟩,   f_i = c_i / ‖c_i‖,   c_i = h_i − (1/N) Σ_j h_j

h_i [d] is the mean over row i's tokens of the last hidden states of the model as it was at the
start, one pass over all rows, kept with a checkpoint. So rows of a kind rise and fall together, and
there are d numbers to learn, not N. The authors' network is a language model of 125M parameters
with a head on its mean state; it trains whole, softmax is over a batch, and their code as published
never steps it. Using v on rows that it was not learned on is not here.

Defaults are that code's (scalar scheduler, softmax, no prior, no entropy): λ = 1, rate 5e-3, betas
0.9 and 0.95, no decay; 1,000 safe rows, batch 10, 20 epochs, lr 1e-5, r 32.

Source: Z. Hu et al.: BDS, arXiv 2510.27172; github.com/Egg-Hu/Bayesian-Data-Scheduler.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from holdfast.errors import UserError
from holdfast.models.modes import evaluation_mode
from holdfast.trainer.kept import KeptMixin
from holdfast.trainer.row_weights import RowWeightsMixin
from holdfast.trainer.side_batches import SideBatchesMixin
from holdfast.training import SFTConfig, SFTTrainer

SCHEDULERS = ("scalar", "neural")


@dataclass
class BDSConfig(SFTConfig):
    """Settings of BDS.

    Args:
        lam: λ, the weight of the alignment rows' loss.
        selector_rate: the learning rate of the rows' weights; 0 leaves them all at 1.
        scheduler: whether each row has a score of its own (scalar), or one that follows from what
            the model makes of it (neural).
    """

    lam: float = field(default=1.0, metadata={"range": "[0, inf)"})
    selector_rate: float = field(default=5e-3, metadata={"range": "[0, inf)"})
    scheduler: Literal["scalar", "neural"] = "scalar"

    def __post_init__(self):
        super().__post_init__()
        if self.scheduler not in SCHEDULERS:
            raise UserError(f'scheduler is "{self.scheduler}": it must be "scalar" or "neural".')


class BDSTrainer(KeptMixin, RowWeightsMixin, SideBatchesMixin, SFTTrainer):
    """BDS. Takes what `SFTTrainer` takes, with a `BDSConfig`.

    Args:
        alignment_dataset: alignment rows, in the shapes that ``train_dataset`` may have.

    Attributes:
        learned: p, float32 [N]; of the neural scheduler v, [d].

    Raises:
        UserError: as `SFTTrainer` and `RowWeightsMixin`; weights divided among processes.
    """

    config_class = BDSConfig
    args: BDSConfig

    def __init__(self, *args: Any, alignment_dataset: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.alignment_rows = self.side_rows(alignment_dataset, "alignment_dataset")
        if self.args.scheduler == "neural":
            self.learn(self.model.get_output_embeddings().in_features)  # OPT's may be narrower

    def row_scores(self) -> Tensor:
        """p, [N]."""
        if self.args.scheduler == "scalar":
            return self.learned
        return (self.have_kept()["features"] * self.learned).sum(1)  # in float32 in autocast too

    def make_kept(self) -> dict[str, Tensor]:
        """f of all rows, [N, d], where the scheduler is neural."""
        if self.args.scheduler == "scalar":
            return {}
        rows, size, found = self.train_dataset.rows, self.args.per_device_train_batch_size, []
        with torch.no_grad(), evaluation_mode(self.model), self.compute_loss_context_manager():
            for start in range(0, len(rows), size):
                some = [rows[i] for i in range(start, min(start + size, len(rows)))]
                inputs = dict(self._prepare_inputs(self.data_collator(some)))
                mask = inputs["attention_mask"][..., None]
                del inputs["labels"]
                states = self.model(**inputs, output_hidden_states=True).hidden_states[-1].float()
                found.append((states * mask).sum(1) / mask.sum(1))
        h = torch.cat(found)
        return {"features": torch.nn.functional.normalize(h - h.mean(0))}

    def change_gradient(self) -> None:
        """Add λ·∇L_safe(w), and move the rows' weights by the losses of the step."""
        if self.args.lam:
            batches = self.side_batches(self.alignment_rows, self.state.global_step)
            self.add_to_gradient(self.gradient(batches)[0], self.args.lam)
        self.move_scores()
