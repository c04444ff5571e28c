"""A loss with a term that holds what a model puts out near its reference: what KL and LDIFS share.

    L(w) + λ·(1/M) Σ d        d ≥ 0 a distance at one token, M the step's tokens that are counted

M is of all micro-batches and processes, so neither changes the term. It belongs to training: an
evaluation's loss is L alone, and with λ = 0 it is plain fine-tuning.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor

from holdfast.labelled import labelled_positions
from holdfast.trainer.counted import CountedMixin
from holdfast.trainer.teacher import TeacherMixin


class HeldMixin(CountedMixin, TeacherMixin):
    """A Trainer whose outputs are held near the reference's."""

    def hold(self) -> float:
        """λ."""
        raise NotImplementedError

    def distance(
        self, inputs: dict[str, Any], given: dict[str, Any], train: Callable[[], Any]
    ) -> tuple[Any, Tensor]:
        """What ``train()`` gives, and Σ d of a micro-batch.

        Args:
            inputs: the micro-batch.
            given: the same without its labels, as the reference is asked.
            train: the training's own pass; gives the loss and the model's output, whose logits may
                be `holdfast.labelled`'s.
        """
        raise NotImplementedError

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """The loss of a micro-batch with its part of the term; in evaluation without."""
        plain: Callable[..., Any] = partial(super().compute_loss, model, inputs)  # pyright: ignore[reportAttributeAccessIssue]
        if self.hold() == 0 or not model.training:
            return plain(return_outputs, num_items_in_batch)
        given = {name: value for name, value in inputs.items() if name != "labels"}
        with labelled_positions(self.model, inputs):
            train = partial(plain, True, num_items_in_batch)
            (loss, outputs), total = self.distance(inputs, given, train)
        loss = loss + (self.hold() * self.share_of_step(num_items_in_batch) * total).to(loss)
        return (loss, outputs) if return_outputs else loss
