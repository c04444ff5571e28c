"""TAR: safeguards that hold against an attacker who fine-tunes, by training against one.

    min_w  L_retain(w) + λ · Σ_i c_i · L_TR(w_i),   w_0 = w,  w_i = attack(w_{i−1})

In every step an attacker trains k steps on harmful rows (AdamW of its own, from w; a new batch each
step). L_TR is minus the entropy of the next-token distribution at the answer tokens of held-out
harmful rows, in nats, so that the attacked model knows nothing about them:

    L_TR(w) = (1/N) Σ_t Σ_v p_w(v | x, y_<t) · log p_w(v | x, y_<t)

The meta gradient is first order, ∂w_i/∂w = 1: ∇L_TR is taken at every attacked w_i with
i mod ``tamper_every`` = 0, weighted by c_i = exp(γ·(i − k)) (γ = 0.0625 in the authors' biosecurity
run; equal weights at γ = 0 are 1 each), and summed into the step's gradient at w. L_retain is the
training loss on ``train_dataset``. λ = 0 is plain SFT. Cost: k + k / ``tamper_every`` passes beside
the training's, and six copies of what trains (`holdfast.align.plans.TARPlan`).

The last fifth of the harmful rows is held out for L_TR. Beside the paper: one task and one
learning rate of the attacker in place of several drawn ones, entropies at answer tokens alone, and
no term that keeps the hidden states near the start model's. A widely copied port writes its meta
gradient into ``param.data.grad``, which nothing reads; here a test holds that it is the step's.

Source: R. Tamirisa et al.: Tamper-Resistant Safeguards for Open-Weight LLMs, arXiv 2408.00761,
algorithm 1, and its code (k = 64, every 4th, λ = 4, attackers' rates 2e-6 to 4e-5).
"""

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from holdfast.errors import UserError
from holdfast.trainer.side_batches import Gradient, SideBatchesMixin, answer_log_probabilities
from holdfast.training import SFTConfig, SFTTrainer


@dataclass
class TARConfig(SFTConfig):
    """Settings of TAR.

    Args:
        lam: λ, the weight of the tamper resistance; 0 is plain SFT.
        attack_steps: k, the attacker's steps in each step of the training.
        tamper_every: every how many of them the tamper-resistance gradient is taken.
        attack_learning_rate: the attacker's learning rate.
        schedule: γ, how much later attacked weights count more than earlier ones.
    """

    lam: float = field(default=4.0, metadata={"range": "[0, inf)"})
    attack_steps: int = field(default=64, metadata={"range": "[1, inf)"})
    tamper_every: int = field(default=4, metadata={"range": "[1, inf)"})
    attack_learning_rate: float = field(default=2e-5, metadata={"range": "(0, inf)"})
    schedule: float = field(default=0.0625, metadata={"range": "[0, inf)"})

    def __post_init__(self):
        super().__post_init__()
        if self.tamper_every > self.attack_steps:
            raise UserError(
                f"tamper_every is {self.tamper_every}, but the attacker takes {self.attack_steps} "
                "steps: tamper resistance would never be trained."
            )


class TARTrainer(SideBatchesMixin, SFTTrainer):
    """TAR. Takes what `SFTTrainer` takes, with a `TARConfig`.

    Args:
        harmful_dataset: at least two harmful rows (harmful prompt, harmful answer), none of them
            the user's, in the shapes that ``train_dataset`` may have; a stream is read to its end.

    Raises:
        UserError: as `SFTTrainer`; fewer harmful rows; weights divided among processes (FSDP2).
    """

    config_class = TARConfig
    args: TARConfig

    def __init__(self, *args: Any, harmful_dataset: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        rows = self.side_rows(harmful_dataset, "harmful_dataset").rows
        if len(rows) < 2:
            raise UserError(
                "harmful_dataset has one row: TAR attacks with some, and holds out one."
            )
        attacked = len(rows) - math.ceil(len(rows) / 5)
        every = [rows[number] for number in range(len(rows))]
        self.attack_rows = self.side_rows(every[:attacked], "harmful_dataset")
        self.held_out_rows = self.side_rows(every[attacked:], "harmful_dataset", 1)

    def change_gradient(self) -> None:
        """Add λ·Σ_i c_i·∇L_TR(w_i)."""
        if self.args.lam > 0:
            self.add_to_gradient(self.meta_gradient(self.state.global_step), self.args.lam)

    def meta_gradient(self, step: int) -> Gradient:
        """Σ_i c_i·∇L_TR(w_i) of a step, after an attack from the weights as they are."""
        k = self.args.attack_steps
        held_out = self.side_batches(self.held_out_rows, step)
        weights = {n: w.detach().clone() for n, w in self.trainable_weights()}
        total = {name: torch.zeros_like(w) for name, w in weights.items()}
        attacker = torch.optim.AdamW(weights.values(), lr=self.args.attack_learning_rate)
        with self.replaced(weights):
            for i in range(1, k + 1):
                harmful = self.side_batches(self.attack_rows, step * k + i - 1)
                for name, gradient in self.gradient(harmful)[0].items():
                    weights[name].grad = gradient
                attacker.step()  # in place: the model has these weights
                if i % self.args.tamper_every == 0:
                    c = math.exp(self.args.schedule * (i - k))
                    for name, gradient in self.gradient(held_out, self.tamper)[0].items():
                        total[name] += c * gradient
        return total

    def tamper(self, inputs: dict[str, Any]) -> Tensor:
        """L_TR of a micro-batch."""
        log_p = answer_log_probabilities(self.model, inputs)
        return (log_p.exp() * log_p).sum(-1).mean()
