"""A map of the drift: where two models have the same alignment rows, on two axes.

The states s of both models at the end of every row's prompt, [2N, hidden] together, are centred,
S = s − mean(s), and S = U·Σ·Vᵀ; the coordinates are the first two columns of U·Σ (a principal
component analysis). The papers' code draws such states with t-SNE; on these axes distances mean
something, and the same states give the same picture.
"""

from dataclasses import dataclass
from typing import Any

import torch

# So many rows of each model are on a map: the first ones of the alignment rows.
_MOST = 100


@dataclass(frozen=True)
class DriftMap:
    """Where the rows are, in the unit of the hidden states.

    Args:
        aligned: of the aligned model, a pair of coordinates for each row.
        tuned: of the model under evaluation, in the same order.
        shares: the share of the variance of all states that lies along each of the two axes, 0 to
            1.
    """

    aligned: list[list[float]]
    tuned: list[list[float]]
    shares: list[float]

    def record(self) -> dict[str, Any]:
        """As it is kept."""
        return {"aligned": self.aligned, "tuned": self.tuned, "shares": self.shares}


def drift_map(aligned: torch.Tensor, tuned: torch.Tensor) -> DriftMap:
    """The map of two models' last block, see `holdfast.evaluate.alignment.AlignmentPass.blocks`.

    Args:
        aligned: of the aligned model, float32 [rows, blocks, hidden].
        tuned: of the model under evaluation on the same rows.
    """
    count = min(len(aligned), _MOST)
    states = torch.cat([aligned[:count, -1], tuned[:count, -1]]).double()
    u, sizes, _ = torch.linalg.svd(states - states.mean(0), full_matrices=False)
    u, sizes = torch.nn.functional.pad(u, (0, 2))[:, :2], torch.nn.functional.pad(sizes, (0, 2))
    places = u * sizes[:2]
    # An axis has no direction of its own: the row that lies farthest out decides.
    farthest = places.gather(0, places.abs().argmax(0, keepdim=True))
    places = places * torch.where(farthest < 0, -1.0, 1.0)
    total = float((sizes**2).sum())
    shares = [float(one**2) / total if total else 0.0 for one in sizes[:2]]
    rounded = [[float(f"{value:.5g}") for value in row] for row in places.tolist()]
    return DriftMap(rounded[:count], rounded[count:], shares)
