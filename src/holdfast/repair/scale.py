"""The control of all repairs that know the aligned model: the fine-tuning's update times c.

    W = W_aligned + c · U,   U = W_tuned − W_aligned

c = 0 takes the fine-tuning back, c = 1 leaves the model as it is, bit for bit. It knows nothing of
safety: what another repair gains over it at the same accuracy is what its knowledge is worth.
"""

from dataclasses import dataclass, field

from torch import nn

from holdfast.repair.checkpoints import Checkpoints
from holdfast.settings import check_ranges


@dataclass
class ScaleConfig:
    """Settings of scale.

    Args:
        c: what the fine-tuning's update is multiplied with; 1 changes nothing, 0 leaves nothing of
            the fine-tuning.
    """

    c: float = field(default=0.5, metadata={"range": "[0, inf)"})

    def __post_init__(self):
        check_ranges(self)


def scale(
    model: nn.Module, checkpoints: Checkpoints, config: ScaleConfig | None = None
) -> nn.Module:
    """Scale what the fine-tuning changed, in place.

    Args:
        model: the fine-tuned model.
        checkpoints: what it came from.
        config: the settings.

    Returns:
        The repaired model.
    """
    config = ScaleConfig() if config is None else config
    if config.c == 1:
        return model
    updates = {name: U.times(config.c) for name, U in checkpoints.finetuning.items()}
    return checkpoints.replace(model, updates)
