"""The weights of an update that answers depend on most: the largest ones of its leading part.

    Z = X·Wᵀ,   Q: the ⌊(1 − s)·rank(W)⌋ leading right singular vectors of Z,   Ŵ = Q·Qᵀ·W
    neurons: the ⌈s·n⌉ of W's n weights with the largest |Ŵ_ij|

W is [out, in], X [tokens, in] its inputs, Z its outputs. Of X nothing but G = XᵀX is needed: Q's
columns are eigenvectors of W·G·Wᵀ. The rank is that of W's factors, where it has any; of a Z of a
lower one all of its directions are taken.
"""

import math

import torch

from holdfast.models.updates import Update


def leading(W: Update, G: torch.Tensor, count: int) -> torch.Tensor:
    """Ŵ, [out, in], in float64: W projected onto the ``count`` main directions of its outputs.

    Args:
        W: the weights, [out, in].
        G: the sum of x·xᵀ over its inputs, [in, in].
        count: how many directions are kept.
    """
    left, G = W.left.double(), G.double()
    if W.right is None:
        Q = _main(left @ G @ left.T, count)
        return Q @ (Q.T @ left)
    right = W.right.double()
    basis, R = torch.linalg.qr(left)
    Q = basis @ _main(R @ (right @ G @ right.T) @ R.T, count)
    return Q @ (Q.T @ left) @ right


def _main(S: torch.Tensor, count: int) -> torch.Tensor:
    """The eigenvectors of S [n, n] with the largest eigenvalues, as columns; none of a zero's.

    The inputs are summed in float32, in which a zero is not found more exactly.
    """
    values, vectors = torch.linalg.eigh(S)  # the largest comes last
    found = vectors[:, values > values[-1] * torch.finfo(torch.float32).eps]
    return found[:, max(0, found.shape[1] - count) :]


def neurons(W: Update, G: torch.Tensor, share: float) -> torch.Tensor:
    """Which weights are the share s of those that matter most, [out, in].

    Args:
        W: the weights, [out, in].
        G: the sum of x·xᵀ over its inputs, [in, in].
        share: s.
    """
    rank = min(W.shape if W.right is None else (*W.shape, W.left.shape[1]))
    return largest(leading(W, G, max(1, math.floor((1 - share) * rank))).abs(), share)


def largest(scores: torch.Tensor, share: float) -> torch.Tensor:
    """Where the ⌈share · n⌉ largest of n scores are, in their shape; of equal ones the first."""
    order = scores.flatten().argsort(descending=True, stable=True)
    found = torch.zeros(scores.numel(), dtype=torch.bool)
    found[order[: math.ceil(share * len(order))]] = True
    return found.reshape(scores.shape)
