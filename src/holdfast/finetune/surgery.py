"""Surgery: user fine-tuning that keeps attention from sinking more in harmful answers than in safe.

    L_user(w) + α·(1/H) Σ_h relu(s_h(harmful) − s_h(safe))

    s_h = (1/N) Σ A_h[t, first]  over all tokens t after the first of all rows, N in number

h are the H heads of all layers, A_h [tokens, tokens] a head's attention weights and `first` a row's
first token, the attention sink. What s_h(harmful) − s_h(safe) is, the sink divergence, is found for
the whole step before the gradient: a head counts whose divergence is positive then. A step reads as
many harmful and as many safe rows as it trains on, each in an order of their own; means are of the
whole step. Attention weights of every layer are kept, [rows, heads, tokens, tokens]. With α = 0 it
is plain SFT.

Source: G. Liu et al.: Surgery, arXiv 2602.05228, by the authors' code (github.com/Lslland/Surgery,
trainer.py): α 300, learning rate 5e-6 (constant, warm-up 0.1), 5 epochs, batch 10, full weights,
of BeaverTails' first 1,000 unsafe and first 1,000 safe rows. What differs here: there each step
draws one row of either kind anew. unverified: whether the paper's text has the same settings.
"""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from holdfast.errors import UserError
from holdfast.finetune.plans import EAGER
from holdfast.models.bare import bare
from holdfast.models.blocks import attention_blocks
from holdfast.models.outputs import recorded
from holdfast.models.random_state import RandomState
from holdfast.trainer.side_batches import SideBatches, SideBatchesMixin
from holdfast.training import SFTConfig, SFTTrainer


@dataclass
class SurgeryConfig(SFTConfig):
    """Settings of Surgery.

    Args:
        alpha: α, the strength with which heads are kept from a positive sink divergence.
    """

    alpha: float = field(default=300.0, metadata={"range": "[0, inf)"})


class SurgeryTrainer(SideBatchesMixin, SFTTrainer):
    """Surgery. Takes what `SFTTrainer` takes, with a `SurgeryConfig`.

    Args:
        harmful_dataset: harmful rows, none of which is the user's.
        alignment_dataset: safe rows; both in the shapes that ``train_dataset`` may have.

    Raises:
        UserError: as `SFTTrainer` and `SideBatchesMixin`; the model's attention is not eager.
    """

    config_class = SurgeryConfig
    args: SurgeryConfig

    def __init__(self, *args: Any, harmful_dataset: Any, alignment_dataset: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        if bare(self.model).config.get_text_config()._attn_implementation != "eager":
            raise UserError(f'{EAGER}: load the model with attn_implementation="eager".')
        attention_blocks(self.model)  # told before the first step
        self.harmful_rows = self.side_rows(harmful_dataset, "harmful_dataset")
        self.safe_rows = self.side_rows(alignment_dataset, "alignment_dataset", 1)

    def change_gradient(self) -> None:
        """Add α·∇ of the mean over all heads of relu(s_h(harmful) − s_h(safe))."""
        if self.args.alpha == 0:
            return
        step = self.state.global_step
        sides = [self.side_batches(rows, step) for rows in (self.harmful_rows, self.safe_rows)]
        (harmful, n), (safe, m) = (self._step_sinks(side) for side in sides)
        diverges = (harmful / n > safe / m).float()
        if not diverges.any():
            return
        for side, tokens, sign in zip(sides, (n, m), (1, -1), strict=True):

            def loss_of(inputs: dict[str, Any], side: Any = side, tokens: Any = tokens) -> Tensor:
                # A sum over the batch's tokens, as the mean over its answers' that is asked for.
                answers = (inputs["labels"][..., 1:] != -100).sum()
                found = (self._sinks(inputs)[0] * diverges).sum() / diverges.numel()
                return found * side.tokens / (answers * tokens)

            gradient, _ = self.gradient(side, loss_of)
            self.add_to_gradient(gradient, sign * self.args.alpha)

    @torch.no_grad()
    def _step_sinks(self, side: SideBatches) -> tuple[Tensor, Any]:
        """Of the whole step as `_sinks`, with the dropout masks that the gradient's pass meets."""
        state = RandomState(self.args.device)
        self.model.train()
        with self.compute_loss_context_manager():
            found = [self._sinks(inputs) for inputs in side.batches]
        state.restore()
        sums, tokens = (torch.stack(some).sum(0) for some in zip(*found, strict=True))
        reduce: Any = self.accelerator.reduce
        return reduce(sums, "sum"), reduce(tokens, "sum")

    def _sinks(self, inputs: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """Σ A_h[t, first] of all heads, [H], and how many tokens t there are."""
        mask = inputs.get("attention_mask")
        real = torch.ones_like(inputs["input_ids"]) if mask is None else mask
        first = real.argmax(1)
        after = real.bool() & (real.cumsum(1) > 1)  # [rows, tokens]
        blocks = attention_blocks(self.model)
        with recorded(blocks) as outputs:
            self.model(**{key: value for key, value in inputs.items() if key != "labels"})
        found = []
        for block in range(len(blocks)):
            weights = outputs[block][1]  # [rows, heads, tokens, tokens]
            if weights is None:
                raise UserError(f"{EAGER}, and this model's attention blocks put out none.")
            rows = torch.arange(len(weights), device=weights.device)
            sunk = weights[rows, :, :, first.to(weights.device)].float()  # [rows, heads, tokens]
            counted = after[:, None].to(weights.device)
            found.append((sunk * counted).sum((0, 2)).to(self.args.device))
        return torch.cat(found), after.sum()
