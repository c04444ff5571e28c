"""A training whose data loader holds all of its epochs, as one pass."""

from typing import Any

from torch.utils.data import DataLoader


class OnePassMixin:
    """A `transformers.Trainer` that goes through its data loader once, whatever its epochs are.

    So ``save_strategy="epoch"`` saves at the end; use steps.
    """

    # What transformers.Trainer provides.
    args: Any

    def is_one_pass(self) -> bool:
        """Whether the data loader holds all epochs."""
        return True

    def set_initial_training_values(self, args: Any, dataloader: DataLoader) -> Any:
        """As transformers does, with one epoch."""
        epochs = args.num_train_epochs
        try:
            args.num_train_epochs = 1 if self.is_one_pass() else epochs
            return super().set_initial_training_values(args, dataloader)  # pyright: ignore[reportAttributeAccessIssue]
        finally:
            args.num_train_epochs = epochs
