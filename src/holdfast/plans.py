"""What can be told of a method before it runs: its steps, its passes, its memory, its doubts.

A method that costs more than plain fine-tuning says so in its row of `holdfast.registry`: by a
`Plan` with other numbers, or by the place of a class of its own that inherits from it. Nothing here
imports torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Pass:
    """What one pass over the rows takes, in operations for each token.

    Args:
        forward: the forward pass.
        again: the forward pass that activation checkpointing repeats; 0 without.
        backward: the backward pass to the activations.
        weights: the gradients of the weights that train.
    """

    forward: float
    again: float
    backward: float
    weights: float

    @property
    def whole(self) -> float:
        """A forward and a backward pass with the weights' gradients."""
        return self.forward + self.again + self.backward + self.weights


@dataclass(frozen=True)
class Plan:
    """A method's cost beside plain fine-tuning of the same rows, and what its settings ask for.

    Args:
        passes_a_step: forward and backward passes over as many rows as a step trains on, those of
            other rows counted by their number: 2 for a method that reads as many alignment rows as
            rows of the user's.
        forwards_a_step: passes without gradients, counted alike.
        forwards_at_start: the same before the first step, in passes over all rows.
        copies: how many numbers of 32 bits it keeps for each weight that trains, beside the
            weight, its gradient and the optimizer's two.
        needs_rows: of a repair, whether it reads rows.
    """

    passes_a_step: float = 1.0
    forwards_a_step: float = 0.0
    forwards_at_start: float = 0.0
    copies: float = 0.0
    needs_rows: bool = True

    def check(self, settings: Settings) -> tuple[str, str] | None:
        """The setting that is wrong beside the others, and what is wrong; None where all is well.

        What is wrong with one setting alone is told by its type and its range.
        """
        return None

    def doubt(self, settings: Settings, user: int, steps: int | None) -> str | None:
        """One sentence on settings that are allowed and hardly what was meant.

        Args:
            settings: the stage's.
            user: the steps that plain fine-tuning would take.
            steps: ``max_steps`` where it is given.
        """
        return None

    def decisive(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Those settings that decide the result: all, but for values that change nothing."""
        return dict(settings)

    def reads_rows(self, settings: Settings) -> bool:
        """Whether a method with these settings reads the rows that it asks for, of a fine-tuning
        those beside the user's."""
        return self.needs_rows

    def rows(self, settings: Settings, rows: int) -> int:
        """How many rows a pass trains on, where so many are the user's or the alignment's."""
        return rows

    def asked_with(self, settings: Settings) -> str | None:
        """The system prompt that the finished model must be asked with; None where the method does
        not say, "" for none. One that is drawn has any other text in its place."""
        return None

    def epochs(self, settings: Settings) -> float:
        """Passes over the rows."""
        return settings["num_train_epochs"]

    def steps(self, settings: Settings, plain: int) -> tuple[int, int]:
        """All optimizer steps, and how many of them are on alignment rows alone.

        Args:
            settings: the stage's, with the number of its ``rows``.
            plain: the steps that plain fine-tuning would take.
        """
        return plain, 0

    def passes(self, settings: Settings, steps: int) -> float:
        """Forward and backward passes over a step's rows, in so many steps."""
        return self.passes_a_step * steps

    def operations(self, one: Pass, settings: Settings, layers: int, steps: int) -> float:
        """Operations for each token of the rows that are trained on, over all passes.

        Args:
            one: a pass.
            settings: the stage's.
            layers: the model's decoder layers.
            steps: optimizer steps.
        """
        at_start = self.forwards_at_start and self.forwards_at_start / self.epochs(settings)
        forwards = self.forwards_a_step + at_start
        return self.passes(settings, steps) / max(1, steps) * one.whole + forwards * one.forward

    def trained_layers(self, settings: Settings, layers: int) -> tuple[float, float]:
        """Layers whose activations are kept, and those kept only as far as gradients pass."""
        return layers, 0.0

    def perturbed_layers(self, settings: Settings, layers: int) -> int:
        """Layers for each of whose numbers, [tokens, hidden], a perturbation is kept."""
        return 0
