"""Panacea: user fine-tuning that ends with the small change of weights that harm suffers from most.

    max_{‖ε‖ ≤ ρ}  L_harm(w + ε) − L_harm(w),   to first order  ε = ρ · ∇L_harm(w) / ‖∇L_harm(w)‖

Every step's gradient makes room for it, and the last step's ε is added when the training is over:

    ∇L_user(w) − λ · ( ∇L_harm(w + ε) − ∇L_harm(w) ),        at the end  w ← w + ε

‖·‖ is one norm over all trainable weights (+ 1e-7); both harmful passes see the same rows, as many
as the user's, and the same dropout masks. ρ = 0 is plain SFT.

A checkpoint holds w without ε, and ε beside it (``panacea.safetensors``); a training that is
stopped before its end adds nothing. ``clamp`` bounds L_harm(w + ε), whose gradient is then zero:
the authors' code clamps at 5, in a line that names an unknown variable and cannot run; here it is
off unless set. Their code trains the adapter of the alignment (``adapter=single``).

Source: Y. Wang et al.: Panacea, arXiv 2501.18100, and its code (ρ = 1, λ = 0.001, 1,000 harmful
rows). Unverified: whether the published numbers were made with the clamp.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from holdfast.trainer.side_batches import Gradient, SideBatchesMixin, norm
from holdfast.training import SFTConfig, SFTTrainer

STATE_FILE = "panacea.safetensors"


@dataclass
class PanaceaConfig(SFTConfig):
    """Settings of Panacea.

    Args:
        rho: ρ, the norm of the perturbation over all trainable weights; 0 is plain SFT.
        lam: λ, how much a step makes room for it.
        clamp: the largest harmful loss at w + ε whose gradient counts; none bounds nothing.
    """

    rho: float = field(default=1.0, metadata={"range": "[0, inf)"})
    lam: float = field(default=0.001, metadata={"range": "[0, inf)"})
    clamp: float | None = field(default=None, metadata={"range": "(0, inf)"})


class PanaceaTrainer(SideBatchesMixin, SFTTrainer):
    """Panacea. Takes what `SFTTrainer` takes, with a `PanaceaConfig`.

    Args:
        harmful_dataset: the defender's harmful rows (harmful prompt, harmful answer), none of them
            the user's, in the shapes that ``train_dataset`` may have; a stream is read to its end.

    Attributes:
        epsilon: the last step's ε by the weights' names; empty before the first.

    Raises:
        UserError: as `SFTTrainer`; no harmful rows; weights divided among processes (FSDP2).
    """

    config_class = PanaceaConfig
    args: PanaceaConfig

    def __init__(self, *args: Any, harmful_dataset: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.harmful_rows = self.side_rows(harmful_dataset, "harmful_dataset")
        self.epsilon: Gradient = {}

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """Train; at the end of all steps w ← w + ε."""
        found = super().train(*args, **kwargs)
        if self.state.global_step >= self.state.max_steps:
            for name, weight in self.trainable_weights():
                if name in self.epsilon:
                    weight.data += self.epsilon[name]
        return found

    def change_gradient(self) -> None:
        """Find ε, and add −λ·(∇L_harm(w + ε) − ∇L_harm(w))."""
        if self.args.rho == 0:
            return
        batches = self.side_batches(self.harmful_rows, self.state.global_step)
        here, _ = self.gradient(batches)
        size = self.args.rho / (norm(here) + 1e-7)
        self.epsilon = {name: size * g for name, g in here.items()}
        if self.args.lam == 0:
            return
        with self.shifted(self.epsilon):
            there, loss = self.gradient(batches)
        counts = self.args.clamp is None or loss <= self.args.clamp
        term = {name: g - there[name] if counts else g for name, g in here.items()}
        self.add_to_gradient(term, self.args.lam)

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        super()._save_optimizer_and_scheduler(output_dir)
        if self.args.should_save:
            tensors = {name: t.contiguous() for name, t in self.epsilon.items()}
            save_file(tensors, Path(output_dir) / STATE_FILE)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is not None:
            saved: dict[str, torch.Tensor] = load_file(Path(checkpoint) / STATE_FILE)
            self.epsilon = {
                name: saved[name].to(w.device)
                for name, w in self.trainable_weights()
                if name in saved
            }
