"""Circuit breakers: turn hidden states of harmful answers away from what they were (rerouting).

    L(w) = c_s·S(w) + c_r·R(w) + γ·L_align(w)
    S = (1/N) Σ relu(cos(h_l, h⁰_l)), the mean over `target_layers`; N answer tokens of harmful rows
    R = (1/M) Σ ‖h_l − h⁰_l‖, the mean over all layers; M tokens of alignment rows, without padding
    c_s = α·(1 − t/2T),  c_r = α·t/2T, at optimizer step t of T, from 0

h_l [hidden] is what decoder layer l puts out, h⁰_l the same of the model as its training began,
without dropout; N and M are of the whole step. A step reads as many harmful rows as it trains on,
in an order of their own. The paper's model is aligned before, and it learns by S and R alone: γ is
0. Where the start model is a base, γ = 1 aligns it along the way. α = 0 with γ = 1 is plain SFT.
With γ = 0 a fresh adapter starts without a gradient, at the highest cosine: rounding turns it.

Source: A. Zou et al.: Improving Alignment and Robustness with Circuit Breakers, arXiv 2406.04313,
algorithm 1; α 10 and layers 10 and 20 of 32 for Llama-3-8B, α 5 for Mistral-7B, 150 steps of 16
rows. The authors' repository could not be had; copies of its training script were read. What
differs here: there S counts the request's tokens too; R's mean counts padding and the embeddings,
and its last state comes after a norm; layers above the last of `target_layers` are cut off and get
no adapter, while here R holds them. unverified: the learning rate 1e-4 and LoRA's r 16, α 16.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from holdfast.errors import UserError
from holdfast.models.blocks import decoder_layers
from holdfast.models.outputs import recorded, tensor_of
from holdfast.trainer.counted import CountedMixin
from holdfast.trainer.side_batches import SideBatchesMixin
from holdfast.trainer.teacher import TeacherMixin
from holdfast.training import SFTConfig, SFTTrainer


@dataclass
class CircuitBreakersConfig(SFTConfig):
    """Settings of circuit breakers.

    Args:
        alpha: α, the strength of rerouting and of what retains the other states.
        target_layers: the decoder layers, from 1, whose states are rerouted; as far up as the
            paper's, at 10/32 and 20/32 of the model's height, if not given.
        gamma: γ, the weight of the cross-entropy on alignment rows; 0 where the model is aligned.
    """

    alpha: float = field(default=10.0, metadata={"range": "[0, inf)"})
    target_layers: list[int] | None = None
    gamma: float = field(default=0.0, metadata={"range": "[0, inf)"})

    def __post_init__(self):
        super().__post_init__()
        if self.alpha == 0 and self.gamma == 0:
            raise UserError("alpha and gamma are 0: circuit breakers would learn nothing.")


class CircuitBreakersTrainer(CountedMixin, TeacherMixin, SideBatchesMixin, SFTTrainer):
    """Circuit breakers. Takes what `SFTTrainer` takes, with a `CircuitBreakersConfig`.

    Args:
        harmful_dataset: harmful rows, in the shapes that ``train_dataset`` may have.

    Raises:
        UserError: as `SFTTrainer` and `SideBatchesMixin`; the model lacks a target layer.
    """

    config_class = CircuitBreakersConfig
    args: CircuitBreakersConfig

    def __init__(self, *args: Any, harmful_dataset: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.harmful_rows = self.side_rows(harmful_dataset, "harmful_dataset")
        count = len(decoder_layers(self.model))
        given = self.args.target_layers or {max(1, round(up * count)) for up in (10 / 32, 20 / 32)}
        self.target_layers = sorted(given)
        if not all(1 <= layer <= count for layer in given):
            raise UserError(f"target_layers is {given}, and the model has layers 1 to {count}.")

    def coefficients(self) -> tuple[float, float]:
        """c_s and c_r of the coming step."""
        done = self.state.global_step / (2 * max(1, self.state.max_steps))
        return self.args.alpha * (1 - done), self.args.alpha * done

    def counted(self, batch: dict[str, Any]) -> Tensor:
        """Which tokens are text of rows that count, [rows, tokens]."""
        mask = batch.get("attention_mask")
        real = torch.ones_like(batch["input_ids"]) if mask is None else mask
        return real.bool() & (batch["labels"] != -100).any(1, keepdim=True)

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """γ·L_align + c_r·R; in an evaluation the cross-entropy."""
        retain = self.coefficients()[1]
        if not model.training or return_outputs:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        layers, counted = decoder_layers(self.model), self.counted(inputs)
        start = self._start_states(inputs, layers) if retain else []
        with recorded(layers) as outputs:
            loss = super().compute_loss(model, inputs, False, num_items_in_batch) * self.args.gamma
        for layer, before in enumerate(start):
            moved = (tensor_of(outputs[layer]).float() - before)[counted.to(before.device)]
            distance = moved.norm(dim=-1).sum().to(loss.device)
            loss = loss + self.share_of_step(num_items_in_batch) * retain * distance / len(start)
        return loss

    def change_gradient(self) -> None:
        """Add c_s·∇S, of the step's harmful rows."""
        if reroute := self.coefficients()[0]:
            side = self.side_batches(self.harmful_rows, self.state.global_step)
            self.add_to_gradient(self.gradient(side, self._rerouting_loss)[0], reroute)

    def _rerouting_loss(self, inputs: dict[str, Any]) -> Tensor:
        """S of one micro-batch."""
        layers = [decoder_layers(self.model)[layer - 1] for layer in self.target_layers]
        answers = nn.functional.pad(inputs["labels"][:, 1:] != -100, (1, 0))
        start = self._start_states(inputs, layers)
        total = torch.zeros((), device=self.args.device)
        for now, before in zip(_states(self.model, inputs, layers), start, strict=True):
            cosine = torch.cosine_similarity(now, before, dim=-1)[answers.to(now.device)]
            total = total + cosine.relu().mean().to(total.device)
        return total / len(start)

    def _start_states(self, inputs: Mapping[str, Any], layers: Any) -> list[Tensor]:
        with self.as_reference() as reference:
            return _states(reference, inputs, layers)


def _states(model: Any, inputs: Mapping[str, Any], layers: Any) -> list[Tensor]:
    """h_l of these layers, [rows, tokens, hidden] each, in float32."""
    with recorded(layers) as outputs:
        model(**{key: value for key, value in inputs.items() if key != "labels"})
    return [tensor_of(outputs[layer]).float() for layer in range(len(layers))]
