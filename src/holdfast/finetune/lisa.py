"""Lisa: user fine-tuning in two states, each held near where the other left off.

    alignment state, K1 steps:  min_w  L_align(w) + (ρ/2)·‖w − a‖²
    user state,      K2 steps:  min_w  L_user(w)  + (ρ/2)·‖w − a‖²

a is w at the last switch of state. One optimizer goes through both states; the run starts in the
alignment state. With ρ = 0 this is bi-state optimization (BSO). The user's rows are seen as often
as plain fine-tuning sees them: steps on alignment rows come on top.

Source: T. Huang, S. Hu, F. Ilhan, S. F. Tekin, L. Liu: Lisa, arXiv 2405.18641, algorithm 2.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load_file, save_file
from torch.utils.data import ConcatDataset, DataLoader, Sampler

from holdfast.errors import UserError
from holdfast.parallel import divided, loader, whole
from holdfast.training import SFTConfig, SFTTrainer, epoch_order

STATE_FILE = "lisa_anchor.safetensors"
State = Literal["alignment", "user"]


@dataclass
class LisaConfig(SFTConfig):
    """Settings of Lisa.

    Args:
        rho: ρ, the strength of the proximal term; 0 is bi-state optimization.
        alignment_steps: K1, optimizer steps on alignment rows before each switch; 0 never aligns.
        user_steps: K2, optimizer steps on the user's rows before each switch.
        proximal_warmup: the share of all steps at the start that run without the proximal term.
    """

    rho: float = field(default=1.0, metadata={"range": "[0, inf)"})
    alignment_steps: int = field(default=100, metadata={"range": "[0, inf)"})
    user_steps: int = field(default=900, metadata={"range": "[1, inf)"})
    proximal_warmup: float = field(default=0.1, metadata={"range": "[0, 1]"})


class LisaTrainer(SFTTrainer):
    """Lisa. Takes what `SFTTrainer` takes, with a `LisaConfig`, and ``alignment_dataset``.

    All epochs are one pass over one schedule of batches, so ``save_strategy="epoch"`` saves at the
    end; use steps. ``max_steps``, if given, counts the steps of both states.

    Args:
        alignment_dataset: alignment rows, in the shapes that ``train_dataset`` may have.
    """

    args: LisaConfig

    def __init__(self, model: Any, args: LisaConfig, *, alignment_dataset: Any, **kwargs: Any):
        super().__init__(model, args, **kwargs)
        self.alignment_rows = self.prepare_rows(alignment_dataset)
        self.anchor: dict[str, torch.Tensor] = {}
        self._anchored_at = -1

    def state_at(self, step: int) -> State:
        """The state that optimizer step ``step`` (from 0) is in."""
        period = self.args.alignment_steps + self.args.user_steps
        return "alignment" if step % period < self.args.alignment_steps else "user"

    def get_train_dataloader(self) -> DataLoader:
        """Batches of both states in the order of the schedule."""
        rows, args = self.train_dataset, self.args
        if rows is None or not hasattr(rows, "__len__"):
            raise UserError("Lisa needs a train_dataset whose length is known.")
        by_epochs = args.max_steps <= 0
        batch_size = self._train_batch_size * self.accelerator.num_processes
        batches_an_epoch = math.ceil(len(rows) / batch_size)
        sampler = BiStateSampler(
            user_rows=len(rows),
            alignment_rows=len(self.alignment_rows),
            batch_size=batch_size,
            batches_per_step=args.gradient_accumulation_steps,
            state_at=self.state_at,
            seed=self.data_seed,
            user_batches=math.ceil(args.num_train_epochs * batches_an_epoch) if by_epochs else None,
            steps=None if by_epochs else args.max_steps,
        )
        return loader(self, ConcatDataset([rows, self.alignment_rows]), sampler)

    def set_initial_training_values(self, args: Any, dataloader: DataLoader) -> Any:
        """One pass over the schedule, which holds all of the user's epochs."""
        epochs, args.num_train_epochs = args.num_train_epochs, 1
        try:
            return super().set_initial_training_values(args, dataloader)
        finally:
            args.num_train_epochs = epochs

    def training_step(
        self, model: torch.nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None
    ) -> torch.Tensor:
        """One micro-batch; the proximal gradient ρ·(w − a) joins with the last of a step."""
        step = self.state.global_step
        switches = step == 0 or self.state_at(step) != self.state_at(step - 1)
        if (switches and self._anchored_at != step) or not self.anchor:
            self._move_anchor(step)
        loss = super().training_step(model, inputs, num_items_in_batch)
        warm = step >= self.args.proximal_warmup * self.state.max_steps
        if self.args.rho > 0 and warm and self.accelerator.sync_gradients:
            self._add_proximal_gradient()
        return loss

    def drift(self) -> float:
        """‖w − a‖², the squared distance of the trainable weights from the anchor."""
        return sum(
            whole((weight.detach() - self.anchor[name]).float().square().sum()).item()
            for name, weight in self._trainable_weights()
        )

    def _move_anchor(self, step: int) -> None:
        if self.anchor:
            self.log(
                {"squared_drift": self.drift(), "switch_to_user": self.state_at(step) == "user"}
            )
        self.anchor = {name: w.detach().clone() for name, w in self._trainable_weights()}
        self._anchored_at = step

    @torch.no_grad()
    def _add_proximal_gradient(self) -> None:
        # Mixed precision in fp16 scales the loss, and so the gradients that are there by now.
        scaler = self.accelerator.scaler
        strength = self.args.rho * (1.0 if scaler is None else scaler.get_scale())
        for name, weight in self._trainable_weights():
            pull = strength * (weight - self.anchor[name])
            weight.grad = pull if weight.grad is None else weight.grad.add_(pull)

    def _trainable_weights(self) -> Iterator[tuple[str, torch.nn.Parameter]]:
        return ((name, w) for name, w in self.model.named_parameters() if w.requires_grad)

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        super()._save_optimizer_and_scheduler(output_dir)
        anchor = {name: whole(w).contiguous() for name, w in self.anchor.items()}
        if self.args.should_save:
            save_file(anchor, Path(output_dir) / STATE_FILE, {"step": str(self._anchored_at)})

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is not None:
            saved = load_file(Path(checkpoint) / STATE_FILE)
            self.anchor = {
                name: divided(saved[name].to(w.device), w) for name, w in self._trainable_weights()
            }


class BiStateSampler(Sampler[list[int]]):
    """Batches of indices in the order of Lisa's schedule.

    Indices below ``user_rows`` are the user's rows, those from there on are alignment rows. Each
    state goes on where it left its own rows; nobody's batch is skipped while the other state runs.
    The schedule ends with the user's last batch, or after ``steps`` optimizer steps.

    Args:
        user_rows, alignment_rows: how many there are.
        batch_size: rows in a batch, of all processes together.
        batches_per_step: batches in one optimizer step, its micro-batches.
        state_at: the state of an optimizer step.
        seed: the seed of the order.
        user_batches: how many of the user's batches the schedule holds.
        steps: how many optimizer steps the schedule holds, if ``user_batches`` is not given.
    """

    drop_last = False

    def __init__(
        self,
        user_rows: int,
        alignment_rows: int,
        batch_size: int,
        batches_per_step: int,
        state_at: Callable[[int], State],
        seed: int,
        user_batches: int | None = None,
        steps: int | None = None,
    ):
        self.user_rows, self.alignment_rows = user_rows, alignment_rows
        self.batch_size, self.batches_per_step = batch_size, batches_per_step
        self.state_at, self.seed = state_at, seed
        self.user_batches, self.steps = user_batches, steps
        self.length = sum(size for _, size in self._schedule())

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[list[int]]:
        streams = {
            "user": self._batches(self.user_rows, 0, self.seed),
            # Another seed, or equal sizes would put both sets in the same order.
            "alignment": self._batches(self.alignment_rows, self.user_rows, self.seed + 500_000),
        }
        for state, size in self._schedule():
            for _ in range(size):
                yield next(streams[state])

    def _schedule(self) -> Iterator[tuple[State, int]]:
        """The state and the number of batches of every optimizer step."""
        user_left = self.user_batches
        for step in count():
            if user_left == 0 or step == self.steps:
                return
            state, size = self.state_at(step), self.batches_per_step
            if state == "user" and user_left is not None:
                size = min(size, user_left)
                user_left -= size
            yield state, size

    def _batches(self, rows: int, offset: int, seed: int) -> Iterator[list[int]]:
        for epoch in count():
            order = [offset + index for index in epoch_order(rows, seed, epoch)]
            for start in range(0, rows, self.batch_size):
                yield order[start : start + self.batch_size]
