"""Lisa: user fine-tuning in two states, each held near where the other left off.

    alignment state, K1 steps:  min_w  L_align(w) + (ρ/2)·‖w − a‖²
    user state,      K2 steps:  min_w  L_user(w)  + (ρ/2)·‖w − a‖²

a is w at the last switch of state. One optimizer goes through both states; the run starts in the
alignment state. With ρ = 0 this is bi-state optimization (BSO). The user's rows are seen as often
as plain fine-tuning sees them: steps on alignment rows come on top. With ``user_rows="swapped"``
an alignment batch takes the place of the user's, which is lost: the run has as many steps as plain
fine-tuning, as in the authors' code, whose published numbers are of such runs. How long the states
are where nobody says so is in `holdfast.finetune.schedule`.

Source: T. Huang, S. Hu, F. Ilhan, S. F. Tekin, L. Liu: Lisa, arXiv 2405.18641, algorithm 2.
"""

import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load_file, save_file
from torch.utils.data import ConcatDataset, DataLoader

from holdfast.errors import UserError
from holdfast.finetune.bi_state import BiStateSampler, BiStateStream
from holdfast.finetune.schedule import (
    SWAPPED,
    Schedule,
    State,
    check_turns,
    doubtful,
    schedule,
)
from holdfast.parallel import loader, stream_loader
from holdfast.settings import check_ranges
from holdfast.trainer.divided import divided, whole
from holdfast.trainer.one_pass import OnePassMixin
from holdfast.trainer.streams import is_stream, length
from holdfast.training import SFTConfig, SFTTrainer

STATE_FILE = "lisa_anchor.safetensors"


@dataclass
class LisaSettings:
    """What makes a training Lisa.

    Args:
        rho: ρ, the strength of the proximal term; 0 is bi-state optimization.
        alignment_steps: K1, optimizer steps on alignment rows before each switch; 0 never aligns;
            auto follows from the job's length, and the run then ends with alignment steps.
        user_steps: K2, optimizer steps on the user's rows before each switch, or auto; 0, with
            user_rows=swapped, never trains on them.
        user_rows: seen gives the user's rows all of their epochs, alignment steps come on top;
            swapped takes the alignment steps out of these epochs, as the authors' code does: the
            user's batches meanwhile are lost.
        proximal_warmup: the share of all steps at the start that run without the proximal term.
    """

    rho: float = field(default=1.0, metadata={"range": "[0, inf)"})
    alignment_steps: int | Literal["auto"] = field(default="auto", metadata={"range": "[0, inf)"})
    user_steps: int | Literal["auto"] = field(default="auto", metadata={"range": "[0, inf)"})
    user_rows: Literal["seen", "swapped"] = "seen"
    proximal_warmup: float = field(default=0.1, metadata={"range": "[0, 1]"})

    def __post_init__(self):
        check_ranges(self)
        self.check_rows()

    def check_rows(self) -> None:
        """Check that the two states make a run.

        Raises:
            UserError: see `holdfast.finetune.schedule.check_turns`; an unknown ``user_rows``.
        """
        if self.user_rows not in ("seen", SWAPPED):
            raise UserError(f'user_rows is "{self.user_rows}": it must be "seen" or "swapped".')
        check_turns(self.alignment_steps, self.user_steps, self.user_rows)


@dataclass
class LisaConfig(LisaSettings, SFTConfig):
    """Settings of Lisa: those of `LisaSettings` and of `SFTConfig`."""

    def __post_init__(self):
        SFTConfig.__post_init__(self)  # it checks the ranges of all fields
        self.check_rows()


class LisaMixin(OnePassMixin):
    """Lisa for any `transformers.Trainer`: ``class Mine(LisaMixin, MyTrainer): pass``.

    All epochs are one pass over one schedule of batches, so ``save_strategy="epoch"`` saves at the
    end; use steps. ``max_steps``, if given, counts the steps of both states.

    Args:
        alignment_dataset: alignment rows (harmful prompts with safe answers, benign ones among
            them), as the trainer's own train_dataset reaches its collator: of most trainers
            tokenized rows. May be a stream.
        lisa: the settings; if not given, ``args`` where they have them, else the defaults.

    Attributes:
        schedule: K1, K2 and the states of all steps; known once training begins.

    Raises:
        UserError: the train_dataset has no length, and there is no ``max_steps``.
    """

    # What transformers.Trainer provides.
    model: Any
    args: Any
    state: Any
    accelerator: Any
    train_dataset: Any
    log: Callable[..., None]
    _train_batch_size: int

    schedule: Schedule | None = None

    def __init__(
        self,
        *args: Any,
        alignment_dataset: Any,
        lisa: LisaSettings | None = None,
        **kwargs: Any,
    ):
        super().__init__(*args, **kwargs)
        own = hasattr(self.args, "rho") and hasattr(self.args, "proximal_warmup")
        self.lisa: Any = lisa or (self.args if own else LisaSettings())
        prepare = getattr(self, "prepare_rows", lambda rows: rows)
        self.alignment_rows = prepare(alignment_dataset)
        self.anchor: dict[str, torch.Tensor] = {}
        self._anchored_at = -1

    def state_at(self, step: int) -> State:
        """The state that optimizer step ``step`` (from 0) is in."""
        if self.schedule is None:
            self.schedule = self._plan()[0]
        return self.schedule.state_at(step)

    def get_train_dataloader(self) -> DataLoader:
        """Batches of both states in the order of the schedule."""
        self.schedule, user_batches = self._plan()
        rows, args = self.train_dataset, self.args
        batches = BiStateSampler(
            user_rows=length(rows),
            alignment_rows=length(self.alignment_rows),
            batch_size=self._whole_batch(),
            batches_per_step=args.gradient_accumulation_steps,
            state_at=self.schedule.state_at,
            seed=args.seed if args.data_seed is None else args.data_seed,
            user_batches=user_batches,
            steps=self.schedule.steps if user_batches is None else None,
            swapped=self.lisa.user_rows == SWAPPED,
        )
        if is_stream(rows) or is_stream(self.alignment_rows):
            return stream_loader(self, BiStateStream(batches, rows, self.alignment_rows), None)
        return loader(self, ConcatDataset([rows, self.alignment_rows]), batches)

    def _plan(self) -> tuple[Schedule, int | None]:
        """The schedule, and the batches that end it where they are the user's; tells doubts."""
        rows, args, lisa = self.train_dataset, self.args, self.lisa
        given = args.max_steps if args.max_steps > 0 else None
        if rows is None or (length(rows) is None and given is None):
            raise UserError("Lisa needs a train_dataset whose length is known, or max_steps.")
        numbers = (lisa.alignment_steps, lisa.user_steps)
        if given is not None:
            found = schedule(*numbers, steps=given)
            user = list(found.states(given)).count("user")
            batches = None
        else:
            a_pass = math.ceil(len(rows) / self._whole_batch())
            batches = math.ceil(args.num_train_epochs * a_pass)
            user = math.ceil(batches / args.gradient_accumulation_steps)
            if lisa.user_rows == SWAPPED:
                found = schedule(*numbers, steps=user)
            else:
                found = schedule(*numbers, user=user)
                batches = None if found.steps else batches
        told = doubtful(*numbers, user, given, lisa.user_rows)
        if told:
            warnings.warn(told, stacklevel=3)
        return found, batches

    def _whole_batch(self) -> int:
        """Rows in a batch of all processes together."""
        return self._train_batch_size * self.accelerator.num_processes

    def training_step(
        self, model: torch.nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None
    ) -> torch.Tensor:
        """One micro-batch; the proximal gradient ρ·(w − a) joins with the last of a step."""
        step = self.state.global_step
        switches = step == 0 or self.state_at(step) != self.state_at(step - 1)
        if (switches and self._anchored_at != step) or not self.anchor:
            self._move_anchor(step)
        loss = super().training_step(model, inputs, num_items_in_batch)  # pyright: ignore[reportAttributeAccessIssue]
        warm = step >= self.lisa.proximal_warmup * self.state.max_steps
        if self.lisa.rho > 0 and warm and self.accelerator.sync_gradients:
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
        strength = self.lisa.rho * (1.0 if scaler is None else scaler.get_scale())
        for name, weight in self._trainable_weights():
            pull = strength * (weight - self.anchor[name])
            weight.grad = pull if weight.grad is None else weight.grad.add_(pull)

    def _trainable_weights(self) -> Iterator[tuple[str, torch.nn.Parameter]]:
        return ((name, w) for name, w in self.model.named_parameters() if w.requires_grad)

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        super()._save_optimizer_and_scheduler(output_dir)  # pyright: ignore[reportAttributeAccessIssue]
        anchor = {name: whole(w).contiguous() for name, w in self.anchor.items()}
        if self.args.should_save:
            save_file(anchor, Path(output_dir) / STATE_FILE, {"step": str(self._anchored_at)})

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)  # pyright: ignore[reportAttributeAccessIssue]
        if checkpoint is not None:
            saved = load_file(Path(checkpoint) / STATE_FILE)
            self.anchor = {
                name: divided(saved[name].to(w.device), w) for name, w in self._trainable_weights()
            }


class LisaTrainer(LisaMixin, SFTTrainer):
    """Lisa. Takes what `SFTTrainer` takes, with a `LisaConfig`, and ``alignment_dataset``.

    See `LisaMixin`. Alignment rows come in the shapes that ``train_dataset`` may have.
    """

    config_class = LisaConfig
    args: LisaConfig
