"""A term of the loss that is a mean over an optimizer step, however the step is split."""

from typing import Any

import torch
from torch import Tensor

from holdfast.data.rows import IGNORED


class CountedMixin:
    """A Trainer that knows how much the coming optimizer step has of what a mean is taken over."""

    # What transformers.Trainer provides.
    args: Any
    accelerator: Any
    current_gradient_accumulation_steps: int
    model_accepts_loss_kwargs: bool

    _counted = 1

    def counted(self, batch: dict[str, Any]) -> Tensor:
        """What of a batch counts, true or false for each: here every answer token."""
        return batch["labels"][..., 1:] != IGNORED

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> Any:
        """The micro-batches of the coming step; counts them, in all processes."""
        batches, num_items = super().get_batch_samples(*args, **kwargs)  # pyright: ignore[reportAttributeAccessIssue]
        found = torch.tensor(sum(int(self.counted(batch).sum()) for batch in batches))
        self._counted = max(1, int(self.accelerator.reduce(found.to(self.args.device), "sum")))
        return batches, num_items

    def share_of_step(self, num_items: Any) -> float:
        """By what a micro-batch's sum is multiplied, where it joins a loss of ``num_items``."""
        # Gradients are averaged over processes, and losses that are means over micro-batches.
        scaled = self.model_accepts_loss_kwargs and num_items is not None
        split = 1 if scaled else self.current_gradient_accumulation_steps
        return split * self.accelerator.num_processes / self._counted
