"""Random perturbation: Vaccine's control, with noise in the place of the worst direction.

    e_l += s · z_l,  z_l ~ N(0, I)

Padding gets no noise. A row's noise follows from the seed and the row's place in the step alone.
With ``norm="total"`` s = ρ / sqrt(number of elements of all e_l in the optimizer step, padding
not counted), so the noise has Vaccine's norm ρ and only its direction differs. With
``norm="element"`` s = sqrt(ρ), the form of the Vaccine paper's comparison, whose total norm is far
larger.

Source: arXiv 2402.01109, the comparison with random perturbation.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from holdfast.align.perturbation import changed_outputs
from holdfast.errors import UserError
from holdfast.models.blocks import attention_blocks
from holdfast.parallel import first_row_numbers
from holdfast.training import SFTConfig, SFTTrainer


@dataclass
class RandomPerturbationConfig(SFTConfig):
    """Settings of the random perturbation.

    Args:
        rho: ρ, the size of the noise; 0 is plain SFT.
        norm: "total" gives the noise the norm ρ over all blocks, tokens and rows, as Vaccine's
            perturbation has; "element" gives every element the variance ρ.
    """

    rho: float = field(default=2.0, metadata={"range": "[0, inf)"})
    norm: Literal["total", "element"] = "total"

    def __post_init__(self):
        super().__post_init__()
        if self.norm not in ("total", "element"):
            raise UserError(f'norm is "{self.norm}": it must be "total" or "element".')


class RandomPerturbationTrainer(SFTTrainer):
    """The control. Takes what `SFTTrainer` takes, with a `RandomPerturbationConfig`.

    Raises:
        UserError: as `SFTTrainer`; the model has no attention blocks.
    """

    config_class = RandomPerturbationConfig
    args: RandomPerturbationConfig
    _step_batches: Sequence[Any] = ()
    _first_rows: Sequence[int] = ()

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        attention_blocks(self.model)  # told before the first step

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> Any:
        """Remember all micro-batches of the coming optimizer step."""
        self._step_batches, num_items = super().get_batch_samples(*args, **kwargs)
        return self._step_batches, num_items

    def training_step(
        self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None
    ) -> Tensor:
        """One pass over a micro-batch with noise on every attention block's output."""
        position = next((i for i, b in enumerate(self._step_batches) if b is inputs), None)
        batches = [inputs] if position is None else self._step_batches
        blocks = attention_blocks(self.model)
        size = self._noise_size(batches, len(blocks))
        if not position:
            self._first_rows = first_row_numbers(self, batches)
        first = self._first_rows[position or 0]
        real = _real_tokens(inputs)
        lengths = real.sum(1).tolist()

        def add_noise(block: int, e: Tensor) -> Tensor:
            # Seeded by the place alone: the same when a checkpointed layer is recomputed or the
            # rows are split otherwise, and dropout's own random numbers stay as without noise.
            noise = torch.zeros(e.shape, device=e.device)
            for row, length in enumerate(lengths):
                place = (self.args.seed, self.state.global_step, first + row, block)
                seed = int(np.random.SeedSequence(place).generate_state(1)[0])
                generator = torch.Generator(e.device).manual_seed(seed)
                noise[row, real[row].to(e.device)] = torch.randn(
                    length, e.shape[-1], generator=generator, device=e.device
                )
            return e + (size * noise).to(e.dtype)

        with changed_outputs(blocks, add_noise):
            return super().training_step(model, inputs, num_items_in_batch)

    def _noise_size(self, batches: Sequence[dict[str, Any]], blocks: int) -> float:
        if self.args.norm == "element":
            return self.args.rho**0.5
        # Rows without a loss fill up the last batch of several processes; their noise does nothing.
        tokens = sum((_real_tokens(b) & _has_loss(b)).sum() for b in batches)
        total: Any = self.accelerator.reduce(
            torch.as_tensor(tokens, device=self.args.device), "sum"
        )
        elements = int(total) * blocks * self.model.config.get_text_config().hidden_size
        return self.args.rho / elements**0.5


def _real_tokens(batch: dict[str, Any]) -> Tensor:
    """Which tokens of a batch are no padding, [rows, tokens]."""
    mask = batch.get("attention_mask")
    return torch.ones_like(batch["input_ids"]).bool() if mask is None else mask.bool()


def _has_loss(batch: dict[str, Any]) -> Any:
    """Which rows of a batch carry a loss, [rows, 1]."""
    labels = batch.get("labels")
    return True if labels is None else (labels != -100).any(1, keepdim=True)
