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
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from holdfast.errors import UserError
from holdfast.labelled import row_losses
from holdfast.models.padding import refuse_left_padding
from holdfast.models.router_loss import adds_router_loss
from holdfast.trainer.counted import CountedMixin
from holdfast.trainer.numbered import ROW_NUMBER, Numbered, numbering
from holdfast.trainer.side_batches import SideBatchesMixin
from holdfast.trainer.streams import is_stream
from holdfast.training import SFTConfig, SFTTrainer

STATE_FILE = "bds_rows.safetensors"


@dataclass
class BDSConfig(SFTConfig):
    """Settings of BDS.

    Args:
        lam: λ, the weight of the alignment rows' loss.
        selector_rate: the learning rate of the rows' weights; 0 leaves them all at 1.
    """

    lam: float = field(default=1.0, metadata={"range": "[0, inf)"})
    selector_rate: float = field(default=5e-3, metadata={"range": "[0, inf)"})


class BDSTrainer(CountedMixin, SideBatchesMixin, SFTTrainer):
    """BDS. Takes what `SFTTrainer` takes, with a `BDSConfig`.

    Args:
        alignment_dataset: alignment rows, in the shapes that ``train_dataset`` may have.

    Attributes:
        scores: p, float32 [N].

    Raises:
        UserError: as `SFTTrainer`; the train_dataset is a stream; weights divided among processes;
            label smoothing, or a model with a router's loss.
    """

    config_class = BDSConfig
    args: BDSConfig

    def __init__(self, *args: Any, alignment_dataset: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        if self.train_dataset is None or is_stream(self.train_dataset):
            raise UserError("bds learns a weight for each row: give a train_dataset of known rows.")
        if self.args.label_smoothing_factor or adds_router_loss(self.model):
            what = "a router's loss" if adds_router_loss(self.model) else "label smoothing"
            raise UserError(f"bds weighs rows by their own loss, which {what} is no part of.")
        self.alignment_rows = self.side_rows(alignment_dataset, "alignment_dataset")
        self.train_dataset = Numbered(self.train_dataset)
        self.data_collator = numbering(self.data_collator)
        self.scores = torch.zeros(len(self.train_dataset), device=self.args.device)
        self.scores.requires_grad_()
        rate = self.args.selector_rate
        self.selector = torch.optim.AdamW([self.scores], rate, (0.9, 0.95), weight_decay=0.0)
        self._losses = torch.zeros_like(self.scores)  # of the step's rows, by their numbers

    def row_weights(self) -> Tensor:
        """ω, [N]."""
        return len(self.scores) * self.scores.softmax(0)

    def counted(self, batch: dict[str, Any]) -> Tensor:
        """The rows with an answer."""
        return (batch["labels"][:, 1:] != -100).any(1)

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Σ ω_i ℓ_i / B of the user's rows; of others the mean over tokens."""
        inputs = dict(inputs)
        numbers = inputs.pop(ROW_NUMBER, None)
        if numbers is None or return_outputs:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        refuse_left_padding(self.model, inputs.get("attention_mask"))
        losses = row_losses(model, inputs)
        self._losses.index_add_(0, numbers, losses.detach())
        weighted = (self.row_weights().detach()[numbers] * losses).sum()
        return weighted * self.share_of_step(num_items_in_batch)

    def change_gradient(self) -> None:
        """Add λ·∇L_safe(w), and move the rows' weights by the losses of the step."""
        if self.args.lam:
            batches = self.side_batches(self.alignment_rows, self.state.global_step)
            self.add_to_gradient(self.gradient(batches)[0], self.args.lam)
        losses: Any = self.accelerator.reduce(self._losses, "sum")
        self.selector.zero_grad()
        (self.row_weights() @ losses / self._counted).backward()
        self.selector.step()
        self._losses.zero_()

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        super()._save_optimizer_and_scheduler(output_dir)
        if self.args.should_save:
            state = {"scores": self.scores.detach(), **self.selector.state[self.scores]}
            state = {k: v.clone().contiguous() for k, v in state.items()}
            save_file(state, Path(output_dir) / STATE_FILE)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is not None:
            saved = load_file(Path(checkpoint) / STATE_FILE)
            self.scores.data.copy_(saved.pop("scores"))
            device = self.scores.device
            self.selector.state[self.scores] = {
                k: v if k == "step" else v.to(device) for k, v in saved.items()
            }
