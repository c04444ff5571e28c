"""What a training logs follows from the training alone, also where it is interrupted.

transformers' Trainer forgets with an interruption the losses since the last line of its log, the
sum that ``train_loss`` is the mean of, and when the training began. They go into its
checkpoints here, and what a clock says (``train_runtime``, ``…_per_second``) into no line of the
log: ``trainer.train()`` gives it, as of all parts of the training together.
"""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

STATE_FILE = "logged.json"
_CLOCK = ("_runtime", "_per_second")


class LoggedMixin:
    """A `transformers.Trainer` whose log goes on after an interruption as if there was none."""

    # What transformers.Trainer provides.
    args: Any
    accelerator: Any
    _tr_loss: torch.Tensor
    _total_loss_scalar: float
    _globalstep_last_logged: int
    _save_rng_state: Callable[..., None]

    _resumed_from: str | None = None
    _seconds_before = 0.0
    _began = 0.0

    def log(self, logs: dict[str, Any], start_time: float | None = None) -> None:
        """As transformers does, without what a clock says."""
        kept = {name: value for name, value in logs.items() if not name.endswith(_CLOCK)}
        super().log(kept)  # pyright: ignore[reportAttributeAccessIssue]
        logs.update(kept)  # transformers adds to the caller's, such as the epoch

    def _init_training_state(self, *args: Any, **kwargs: Any) -> Any:
        found = super()._init_training_state(*args, **kwargs)  # pyright: ignore[reportAttributeAccessIssue]
        self._resumed_from, self._seconds_before = args[3], 0.0
        return found

    def _run_epoch(self, **kwargs: Any) -> None:
        self._restore_log()
        self._began = kwargs["start_time"] = kwargs["start_time"] - self._seconds_before
        super()._run_epoch(**kwargs)  # pyright: ignore[reportAttributeAccessIssue]

    def _finalize_training(self, trial: Any, num_train_samples: Any, start_time: float) -> Any:
        self._restore_log()
        # What was not logged yet is this process's share of the loss; the whole is their mean.
        self._tr_loss = self.accelerator.reduce(self._tr_loss, reduction="mean")
        return super()._finalize_training(  # pyright: ignore[reportAttributeAccessIssue]
            trial, num_train_samples, start_time - self._seconds_before
        )

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        super()._save_optimizer_and_scheduler(output_dir)  # pyright: ignore[reportAttributeAccessIssue]
        unlogged = self.accelerator.gather(self._tr_loss.reshape(1)).tolist()
        if self.args.should_save:
            state = {
                "unlogged": unlogged,  # summed losses since the last line of the log, by process
                "logged": self._total_loss_scalar,
                "last_logged": self._globalstep_last_logged,
                "seconds": time.time() - self._began,
            }
            (Path(output_dir) / STATE_FILE).write_text(json.dumps(state))

    def _restore_log(self) -> None:
        """Go on with the sums of the checkpoint, once; one of plain transformers has none."""
        checkpoint, self._resumed_from = self._resumed_from, None
        path = Path(checkpoint or "") / STATE_FILE
        if checkpoint is None or not path.is_file():
            return
        state = json.loads(path.read_text())
        losses = state["unlogged"]
        mine = (
            losses[self.accelerator.process_index]
            if len(losses) == self.accelerator.num_processes
            else sum(losses) / len(losses)
        )
        self._tr_loss += mine
        self._total_loss_scalar = state["logged"]
        self._globalstep_last_logged = state["last_logged"]
        self._seconds_before = state["seconds"]
        # All of the training counts, not only what comes after the interruption.
        self._initial_global_step = self._initial_num_input_tokens_seen = 0
