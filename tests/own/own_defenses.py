"""Methods as a user of this package may write them, each of another shape."""

from dataclasses import dataclass
from typing import Any

import torch

import holdfast
from holdfast import LisaTrainer, SFTConfig, SFTTrainer
from holdfast.finetune.lisa import LisaConfig


@dataclass
class NearStartConfig(SFTConfig):
    """Settings.

    Args:
        strength: how strongly each step pulls the trained weights to zero.
        limit: the largest pull of a step; a name that means something else in an evaluation.
    """

    strength: float = 0.0
    limit: float = 1.0


class NearStartTrainer(SFTTrainer):
    """Pulls the adapter to zero; mixes in alignment rows where it gets some."""

    args: NearStartConfig

    def __init__(self, model: Any, args: Any, *, alignment_dataset: Any = None, **kwargs: Any):
        if alignment_dataset is not None:
            kwargs["train_dataset"] = [*kwargs["train_dataset"], *alignment_dataset]
        super().__init__(model, args, **kwargs)

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Any:
        """A step of plain training, and the pull."""
        loss = super().training_step(model, inputs, num_items_in_batch)
        for weight in model.parameters():
            if weight.grad is not None:
                pull = self.args.strength * weight.detach()
                weight.grad.add_(pull.clamp(-self.args.limit, self.args.limit))
        return loss


@dataclass
class OwnLisaConfig(LisaConfig):
    """Settings of Lisa, with another default."""

    rho: float = 0.5


class OwnLisaTrainer(LisaTrainer):
    """Lisa under another name: it takes what Lisa takes."""


@dataclass
class ProbedConfig(holdfast.SFTConfig):
    """No settings of its own."""


class ProbedTrainer(holdfast.SFTTrainer):
    """Asks for harmful rows."""

    def __init__(self, model: Any, args: Any, harmful_dataset: Any, **kwargs: Any):
        super().__init__(model, args, **kwargs)
        self.harmful_rows = self.prepare_rows(harmful_dataset)


@dataclass
class ShrinkConfig:
    """Settings.

    Args:
        scale: what the adapter's weights are multiplied with; it has no default.
        batch_size: a setting that decides the result, unlike Antidote's.
    """

    scale: float
    batch_size: int = 1


def shrink(model: torch.nn.Module, config: ShrinkConfig) -> None:
    """Make the last adapter smaller, in place."""
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            weight.data.mul_(config.scale)


@dataclass
class NoisyConfig:
    """Settings."""

    seed: int = 0


def noisy(model, dataset, config, processing_class, progress):
    """A repair that takes all that there is, and gives the model back."""
    progress(len(dataset))
    assert processing_class.decode(processing_class(dataset[0]["output"])["input_ids"])
    assert config.seed == torch.initial_seed()
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            weight.data.add_(torch.randn_like(weight))
    return model
