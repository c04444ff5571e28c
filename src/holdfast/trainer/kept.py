"""Tensors that a training makes once, as it begins, and that go with its checkpoints."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from holdfast.errors import UserError
from holdfast.trainer.divided import divided, whole

STATE_FILE = "kept.safetensors"


class KeptMixin:
    """A Trainer with tensors that follow from the model as its training began.

    A resumed training has them from its checkpoint: the model has moved on by then.

    Attributes:
        kept: the tensors by name; what ends in ``:`` and a weight's name is divided among processes
            as that weight is. None before the training.

    Raises:
        UserError: a training goes on from a checkpoint that lacks them.
    """

    # What SFTTrainer provides.
    model: Any
    args: Any
    state: Any
    accelerator: Any
    compute_loss_context_manager: Callable[[], Any]
    _prepare_inputs: Callable[[Any], Any]
    trainable_weights: Callable[[], Iterator[tuple[str, torch.nn.Parameter]]]
    loss_scale: Callable[[], float]

    kept: dict[str, torch.Tensor] | None = None

    def make_kept(self) -> dict[str, torch.Tensor]:
        """The tensors, of the model as it is; every process calls it."""
        raise NotImplementedError

    def have_kept(self) -> dict[str, torch.Tensor]:
        """The tensors; made now where a step is asked for outside of a training."""
        if self.kept is None:
            self.kept = self.make_kept()
        return self.kept

    def _prepare_for_training(
        self, max_steps: int, train_dataloader: Any, resume_from_checkpoint: str | None
    ) -> Any:
        found = super()._prepare_for_training(  # pyright: ignore[reportAttributeAccessIssue]
            max_steps, train_dataloader, resume_from_checkpoint
        )
        if resume_from_checkpoint is None:
            self.kept = self.make_kept()
        else:
            self.kept = self._from_checkpoint(Path(resume_from_checkpoint))
        return found

    def _from_checkpoint(self, checkpoint: Path) -> dict[str, torch.Tensor]:
        if not (checkpoint / STATE_FILE).is_file():
            raise UserError(
                f"the checkpoint {checkpoint} has no {STATE_FILE}: a training of another method "
                "left it; start this one anew."
            )
        weights = dict(self.model.named_parameters())
        found = {}
        for name, tensor in load_file(checkpoint / STATE_FILE).items():
            like = weights.get(name.partition(":")[2])
            tensor = tensor.to(self.args.device if like is None else like.device)
            found[name] = tensor if like is None else divided(tensor, like)
        return found

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        super()._save_optimizer_and_scheduler(output_dir)  # pyright: ignore[reportAttributeAccessIssue]
        kept = {name: whole(tensor).contiguous() for name, tensor in self.have_kept().items()}
        if self.args.should_save:
            save_file(kept, Path(output_dir) / STATE_FILE)
