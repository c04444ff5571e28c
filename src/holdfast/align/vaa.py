"""VAA: alignment rows that a trial attack makes the model forget are learned as well as the others.

    min_w max_q Σ_g q_g·[(1 − λ)·ℓ_g(w) + λ·ℓ_g(w + ε_g)],   ε_g = ρ·∇ℓ_g(w)/‖∇ℓ_g(w)‖

g is one of two groups of rows, the vulnerable and the others, q their probabilities (1/2 each at
first), ℓ_g the loss of a step's rows, all of one group that is drawn by q; ε has one norm over all
weights. As in the authors' code λ is a chance: step s of S takes the gradient at w + ε alone with
the probability λ·s/S. Then q_g ← q_g·exp(η·ℓ_g/q_g) of the drawn group, divided by the sum and kept
within [0.1, 0.9], ℓ_g where the gradient was taken; the paper's update has no 1/q_g.

Until the share ``trial_after`` of the steps is done all rows are one group; then
`holdfast.align.trial` attacks the model as it is, and the rows that it forgets most are the
vulnerable ones. The paper's are found before, in a fine-tuning on Alpaca and a tenth of harmful
rows: those whose answers a judge calls safe at one checkpoint and not at the next, 742 of 2,000.
``trial_steps=0`` makes no groups (the control, SAM); with ρ = 0 too it is plain SFT bit for bit.

Source: L. Chen et al.: VAA, arXiv 2506.03850, and its code (ρ 0.4, λ 1, η 0.007, lr 1e-4, batch 8,
5 epochs), which loses accumulated micro-batches. unverified: the paper's text, its trial's rates.
"""

import json
import math
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from holdfast.align.trial import forgetting, two_groups
from holdfast.errors import UserError
from holdfast.trainer.side_batches import SideBatchesMixin, norm
from holdfast.trainer.streams import is_stream
from holdfast.training import SFTConfig, SFTTrainer

STATE_FILE = "vaa.json"


@dataclass
class VAAConfig(SFTConfig):
    """Settings of VAA.

    Args:
        rho: ρ, the length of the perturbation of the weights; 0 for none.
        lam: λ, the share of perturbed steps at the end, to which it grows from 0.
        sampler_rate: η, how fast the groups' probabilities follow their losses.
        trial_steps: steps of the trial attack; 0 makes no groups.
        trial_learning_rate: its learning rate.
        trial_after: the share of all steps after which the trial is made.
        vulnerable_share: the share of rows that are taken for vulnerable.
    """

    rho: float = field(default=0.4, metadata={"range": "[0, inf)"})
    lam: float = field(default=1.0, metadata={"range": "[0, 1]"})
    sampler_rate: float = field(default=0.007, metadata={"range": "[0, inf)"})
    trial_steps: int = field(default=50, metadata={"range": "[0, inf)"})
    trial_learning_rate: float = field(default=1e-4, metadata={"range": "(0, inf)"})
    trial_after: float = field(default=0.2, metadata={"range": "[0, 1)"})
    vulnerable_share: float = field(default=0.37, metadata={"range": "(0, 1)"})


class VAATrainer(SideBatchesMixin, SFTTrainer):
    """VAA. Takes what `SFTTrainer` takes, with a `VAAConfig`.

    Args:
        harmful_dataset: harmful rows for the trial, none of them the user's, in any shape.

    Attributes:
        q: the probability of the vulnerable group.
        groups: the numbers of the other rows and of the vulnerable ones; none before.

    Raises:
        UserError: as `SFTTrainer`; rows that are a stream, or one; weights divided (FSDP2).
    """

    config_class = VAAConfig
    args: VAAConfig

    def __init__(self, *args: Any, harmful_dataset: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        rows = self.train_dataset
        if rows is None or is_stream(rows) or len(rows) < 2:
            raise UserError("vaa parts its rows in two groups: give a train_dataset of known rows.")
        self.harmful_rows = self.side_rows(harmful_dataset, "harmful_dataset")
        self.q, self.groups, self._read = 0.5, [], [0, 0]
        self._group, self._perturbed, self._loss = None, None, 0.0
        self._moved = ExitStack()  # what brings the weights back

    def get_batch_samples(self, epoch_iterator: Any, *args: Any) -> Any:
        """The micro-batches of the coming step; of a group, where there are any."""
        step, steps = self.state.global_step, max(1, self.state.max_steps)
        if self.args.trial_steps and not self.groups and step >= self.args.trial_after * steps:
            attack = self.harmful_rows, self.args.trial_steps, self.args.trial_learning_rate
            self._part(two_groups(forgetting(self, *attack), self.args.vulnerable_share))
        # By the step alone: a resumed training draws the same.
        chances = torch.Generator().manual_seed((self.args.seed + 900_000) * 1_000_003 + step)
        draw, chance = torch.rand(2, generator=chances).tolist()
        self._group, self._loss = None, 0.0
        if self.groups:
            self._group = int(draw < self.q)
            own = self.group_batches(self._sides[self._group], self._read[self._group])
            epoch_iterator = (batch for _, batch in zip(epoch_iterator, own, strict=False))
        batches, num_items = super().get_batch_samples(epoch_iterator, *args)
        perturbed = self.args.rho > 0 and chance < self.args.lam * step / steps
        self._perturbed = batches if perturbed else None
        return batches, num_items

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """One micro-batch, of a perturbed step at w + ε."""
        if self._perturbed is not None:
            batches = [self._prepare_inputs(batch) for batch in self._perturbed]
            gradient, _ = self.gradient(self.as_group("train_dataset", batches))
            factor, self._perturbed = self.args.rho / (float(norm(gradient)) + 1e-7), None
            self._moved.enter_context(self.shifted(gradient, factor))
        loss = super().training_step(*args, **kwargs)
        self._loss = self._loss + loss
        if self.accelerator.sync_gradients and self._group is not None:
            self._move_sampler(self._group)
        return loss

    def change_gradient(self) -> None:
        """The gradient stays; the weights come back, bit for bit."""
        self._moved.close()

    def _part(self, groups: list[list[int]]) -> None:
        self.groups, rows = groups, self.train_dataset
        parts = enumerate([rows[number] for number in group] for group in groups)
        self._sides = [self.side_rows(part, "train_dataset", 1 + g) for g, part in parts]

    def _move_sampler(self, group: int) -> None:
        loss = float(self.accelerator.reduce(torch.as_tensor(self._loss), "mean"))
        p = self.q if group else 1 - self.q
        raised = p * math.exp(min(self.args.sampler_rate * loss / p, 100.0))
        p = raised / (raised + 1 - p)
        self.q = min(0.9, max(0.1, p if group else 1 - p))
        self._read[group] += 1

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        super()._save_optimizer_and_scheduler(output_dir)
        if self.args.should_save:
            state = {"q": self.q, "groups": self.groups, "read": self._read}
            (Path(output_dir) / STATE_FILE).write_text(json.dumps(state), encoding="utf-8")

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is not None:
            state = json.loads((Path(checkpoint) / STATE_FILE).read_text(encoding="utf-8"))
            self.q, self._read = state["q"], state["read"]
            self._part(state["groups"])
