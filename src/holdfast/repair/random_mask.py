"""The control for Antidote: as many weights of every row zeroed, at random places.

What Antidote gains over this is what its scores find; the rest is a weaker adapter.
"""

from dataclasses import dataclass, field

import torch
from torch import nn

from holdfast.repair.matrices import find_matrices
from holdfast.repair.pruning import (
    Group,
    Repair,
    check_group,
    prune,
    top_scored,
)
from holdfast.settings import check_ranges


@dataclass
class RandomMaskConfig:
    """Settings of the random mask.

    Args:
        dense_ratio: α, the share of weights to set to zero, above 0 and up to 1.
        seed: of the mask; the global random state is neither used nor changed.
        group: row zeroes ⌈α·in⌉ weights of every output row, matrix ⌈α·out·in⌉ of each
            matrix.
        target_modules: prune the modules with these names (or ends of names) only; by default the
            whole adapter, or without adapter every linear layer in the decoder layers.
    """

    dense_ratio: float = field(default=0.1, metadata={"range": "(0, 1]"})
    seed: int = field(default=0, metadata={"range": "[0, 4294967295]"})
    group: Group = "row"
    target_modules: list[str] | str | None = None

    def __post_init__(self):
        check_ranges(self)
        check_group(self.group)


def random_mask(model: nn.Module, config: RandomMaskConfig | None = None) -> Repair:
    """Zero weights at random places, in place: each group's ⌈α·n⌉, all places alike.

    Args:
        model: a model with a LoRA adapter, or without (see `antidote`).
        config: the settings.

    Returns:
        The pruned model, the masks (equal for equal seeds, on any device) and the report.

    Raises:
        UserError: targets that match nothing.
    """
    config = RandomMaskConfig() if config is None else config
    matrices, skipped = find_matrices(model, config.target_modules)
    generator = torch.Generator().manual_seed(config.seed)
    masks = {}
    for matrix in matrices:
        shape = matrix.oriented(matrix.weight).shape
        scores = torch.rand(shape, generator=generator, dtype=torch.float64)
        masks[matrix.name] = matrix.oriented(top_scored(scores, config.dense_ratio, config.group))
    return prune(model, "random_mask", matrices, masks, skipped)
