"""A weight for each of the user's rows, learned while the model is: what BDS and SEAL share.

    L(w) = (1/B) Σ_i ω_i ℓ_i(w)                    over the step's B rows
    p ← p - AdamW(∇_p (1/B) Σ_i ω_i ℓ_i(w)),       ω = N · softmax(p),   p = 0 at the start

ℓ_i is row i's mean loss over its answer tokens, before the step in both lines; the N rows' weights
have the mean 1. Rows whose loss stays high lose weight to the others. p and its AdamW, whose betas
are 0.9 and 0.95, go with a checkpoint. B counts the rows of all micro-batches and processes.
"""

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
from holdfast.trainer.streams import is_stream

STATE_FILE = "row_weights.safetensors"


class RowWeightsMixin(CountedMixin):
    """An `holdfast.SFTTrainer` whose rows have learned weights, at the rate ``selector_rate``.

    Attributes:
        learned: what p follows from, and what AdamW moves: p itself, float32 [N], unless a
            subclass learns something else (`learn`, `row_scores`).

    Raises:
        UserError: the train_dataset is a stream; label smoothing, or a model with a router's loss.
    """

    # What SFTTrainer provides.
    model: Any
    train_dataset: Any
    data_collator: Any

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        name = type(self).__name__.removesuffix("Trainer")
        if self.train_dataset is None or is_stream(self.train_dataset):
            raise UserError(f"{name} learns a weight a row: give a train_dataset of known rows.")
        if self.args.label_smoothing_factor or adds_router_loss(self.model):
            what = "a router's loss" if adds_router_loss(self.model) else "label smoothing"
            raise UserError(f"{name} weighs rows by their own loss, which {what} is no part of.")
        self.train_dataset = Numbered(self.train_dataset)
        self.data_collator = numbering(self.data_collator)
        self._losses = torch.zeros(len(self.train_dataset), device=self.args.device)  # by numbers
        self.learn(len(self.train_dataset))

    def learn(self, size: int) -> None:
        """Begin with so many zeros to be learned."""
        self.learned = torch.zeros(size, device=self.args.device).requires_grad_()
        rate = self.args.selector_rate
        self.selector = torch.optim.AdamW([self.learned], rate, (0.9, 0.95), weight_decay=0.0)

    def row_scores(self) -> Tensor:
        """p, [N]."""
        return self.learned

    def row_weights(self) -> Tensor:
        """ω, [N]."""
        return len(self._losses) * self.row_scores().softmax(0)

    def user_share(self) -> float:
        """What the user's weighted loss counts in the coming step."""
        return 1.0

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
        """Σ ω_i ℓ_i / B of numbered rows; of others the mean over tokens."""
        inputs = dict(inputs)
        numbers = inputs.pop(ROW_NUMBER, None)
        if numbers is None or return_outputs:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)  # pyright: ignore[reportAttributeAccessIssue]
        refuse_left_padding(self.model, inputs.get("attention_mask"))
        losses = row_losses(model, inputs).to(self._losses)  # of a model on several devices
        self._losses.index_add_(0, numbers, losses.detach())
        weighted = (self.row_weights().detach()[numbers] * losses).sum()
        return self.user_share() * weighted * self.share_of_step(num_items_in_batch)

    def move_scores(self) -> None:
        """A step of what is learned, by the losses of this step's rows; every process calls it."""
        losses: Any = self.accelerator.reduce(self._losses, "sum")
        self.selector.zero_grad()
        (self.row_weights() @ losses / self._counted).backward()
        self.selector.step()
        self._losses.zero_()

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        super()._save_optimizer_and_scheduler(output_dir)  # pyright: ignore[reportAttributeAccessIssue]
        if self.args.should_save:
            state = {"learned": self.learned.detach(), **self.selector.state[self.learned]}
            state = {k: v.clone().contiguous() for k, v in state.items()}
            save_file(state, Path(output_dir) / STATE_FILE)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)  # pyright: ignore[reportAttributeAccessIssue]
        if checkpoint is not None:
            saved = load_file(Path(checkpoint) / STATE_FILE)
            self.learned.data.copy_(saved.pop("learned"))
            device = self.learned.device
            self.selector.state[self.learned] = {
                k: v if k == "step" else v.to(device) for k, v in saved.items()
            }
