"""A pull of the weights towards where the training began: what EWC and L2-SP share.

    L(w) + Σ_i s_i·(w_i − w0_i)²        with the gradient  2·s_i·(w_i − w0_i)

w0 are the trainable weights as the training began, s_i ≥ 0 the strength of weight i. The term does
not depend on the rows, so its gradient joins once a step, with the last micro-batch, and no graph.
"""

from typing import Any

import torch

from holdfast.trainer.kept import KeptMixin

START, STRENGTH = "start:", "strength:"


class PullMixin(KeptMixin):
    """A Trainer whose weights are pulled to their start values: s_i = ``pull()`` · strength_i."""

    def pull(self) -> float:
        """The factor λ of all strengths; 0 for none."""
        raise NotImplementedError

    def strengths(self) -> dict[str, torch.Tensor]:
        """The strength of every weight by name, of the shape of the weight; nothing for 1."""
        return {}

    def make_kept(self) -> dict[str, torch.Tensor]:
        """The start values and the strengths."""
        if self.pull() == 0:
            return {}
        kept = {START + name: w.detach().clone() for name, w in self.trainable_weights()}
        return kept | {STRENGTH + name: s for name, s in self.strengths().items()}

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """One micro-batch; the pull joins with the last of a step."""
        kept = self.have_kept()  # before the first step's gradients, of the weights at the start
        loss = super().training_step(*args, **kwargs)  # pyright: ignore[reportAttributeAccessIssue]
        if kept and self.accelerator.sync_gradients:
            self._add_pull(kept)
        return loss

    @torch.no_grad()
    def _add_pull(self, kept: dict[str, torch.Tensor]) -> None:
        factor = 2 * self.pull() * self.loss_scale()
        for name, weight in self.trainable_weights():
            gradient = factor * (weight - kept[START + name])
            if STRENGTH + name in kept:
                gradient *= kept[STRENGTH + name]
            weight.grad = gradient if weight.grad is None else weight.grad.add_(gradient)
