"""EWC: user fine-tuning that changes least what the alignment's answers depend on most.

    L_user(w) + λ·Σ_i F_i·(w_i − w0_i)²        F_i = (1/n) Σ_rows (∂ log p_w0(answer|prompt)/∂w_i)²

w are the trainable weights, w0 their values as the training began; F is the diagonal of the
empirical Fisher information on n alignment rows, of the whole answer's log-likelihood and without
dropout, of w's shape. It is computed once, a row at a time, so no batch size enters it.

With ``fisher="sum"`` it is what the code of the Vaccine paper computes: F_i = Σ_batches (∂L/∂w_i)²,
L the mean loss of a batch's tokens, batches of the training's size in the rows' order. A sum that
is not divided grows with the number of batches, and a batch's mean gradient is smaller than a
row's, so its λ (1e6 to 1e12) is another scale. ``fisher="shuffled"`` is a control: the same
numbers, permuted within each tensor, so that only which weights they belong to is lost.

A fresh adapter has F = 0 for its factors A, on which nothing depends while B is zero: the authors
go on with the alignment's own adapter (``adapter: single``), which F knows all about.

Source: J. Kirkpatrick et al.: Overcoming catastrophic forgetting in neural networks, arXiv
1612.00796, equation 3 (λ/2 there, λ in the code of arXiv 2402.01109, and here).
"""

from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from holdfast.data.rows import IGNORED
from holdfast.errors import UserError
from holdfast.models.modes import evaluation_mode
from holdfast.trainer.pull import PullMixin
from holdfast.trainer.streams import is_stream
from holdfast.training import SFTConfig, SFTTrainer

_FISHERS = ("row", "sum", "shuffled")


@dataclass
class EWCConfig(SFTConfig):
    """Settings of EWC.

    Args:
        strength: λ, the strength of the pull to the start weights; 0 is plain SFT.
        fisher: row averages the squared gradients of single rows; sum adds up those of batches,
            as the Vaccine paper's code does; shuffled permutes row's within each tensor.
    """

    strength: float = field(default=1.0, metadata={"range": "[0, inf)"})
    fisher: Literal["row", "sum", "shuffled"] = "row"

    def __post_init__(self):
        super().__post_init__()
        if self.fisher not in _FISHERS:
            raise UserError(f'fisher is "{self.fisher}": it must be one of {", ".join(_FISHERS)}.')


class EWCTrainer(PullMixin, SFTTrainer):
    """EWC. Takes what `SFTTrainer` takes, with an `EWCConfig`, and ``alignment_dataset``.

    Args:
        alignment_dataset: alignment rows (harmful prompts with safe answers, benign ones among
            them), in the shapes that ``train_dataset`` may have; no stream.

    Raises:
        UserError: as `SFTTrainer`; the alignment rows are a stream; or FSDP2 or DeepSpeed divides
            the weights.
    """

    config_class = EWCConfig
    args: EWCConfig

    def __init__(self, *args: Any, alignment_dataset: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        if is_stream(alignment_dataset):
            raise UserError("EWC needs alignment rows that can be counted, not a stream.")
        if self.is_fsdp_enabled or self.is_deepspeed_enabled:
            raise UserError("EWC's Fisher information needs whole weights: train with DDP.")
        self.alignment_rows = self.prepare_rows(alignment_dataset)

    def pull(self) -> float:
        """λ."""
        return self.args.strength

    def strengths(self) -> dict[str, Tensor]:
        """F by name, the same in every process."""
        names, weights = zip(*self.trainable_weights(), strict=True)
        by_row = self.args.fisher != "sum"
        size = 1 if by_row else self.args.train_batch_size * self.accelerator.num_processes
        batches = DataLoader(self.alignment_rows, size, collate_fn=self.data_collator)  # pyright: ignore[reportArgumentType]
        total = [torch.zeros_like(w) for w in weights]
        with evaluation_mode(self.model), self.compute_loss_context_manager():
            for number, batch in enumerate(batches):
                if number % self.accelerator.num_processes != self.accelerator.process_index:
                    continue
                for held, gradient in zip(total, self._gradients(batch, weights), strict=True):
                    held.add_(gradient.float().square())
        share = len(self.alignment_rows) if by_row else 1
        fisher = [self.accelerator.reduce(held, "sum") / share for held in total]
        if self.args.fisher == "shuffled":
            fisher = [_permuted(f, self.args.seed + n) for n, f in enumerate(fisher)]
        return dict(zip(names, fisher, strict=True))

    def _gradients(self, batch: Any, weights: Any) -> list[Tensor]:
        """The gradients of the summed loss of a row's answer, or of a batch's mean loss."""
        inputs = dict(self._prepare_inputs(batch))
        tokens = (inputs["labels"][:, 1:] != IGNORED).sum()
        if tokens == 0:
            return [torch.zeros_like(w) for w in weights]
        by_row = self.args.fisher != "sum"
        loss = self.model(**inputs).loss.float() * (tokens if by_row else 1)
        found = torch.autograd.grad(loss, weights, allow_unused=True)
        return [
            torch.zeros_like(w) if g is None else g for g, w in zip(found, weights, strict=True)
        ]


def _permuted(tensor: Tensor, seed: int) -> Tensor:
    order = torch.randperm(tensor.numel(), generator=torch.Generator().manual_seed(seed))
    return tensor.flatten()[order.to(tensor.device)].view_as(tensor)
