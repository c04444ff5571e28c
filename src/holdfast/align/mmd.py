"""How far two samples are from being of one distribution: the maximum mean discrepancy.

    MMD²(X, Y) = (1/n²) Σ (k(x, x') + k(y, y') − k(x, y') − k(y, x'))
    k(a, b) = Σ_i exp(−‖a − b‖² / (s·2^i)), i = −2 … 2

Five Gaussian kernels around s, the mean of ‖a − b‖² over all pairs of different members of X and Y
together, which has no gradient.
"""

import torch
from torch import Tensor

KERNELS = 5


def mmd(x: Tensor, y: Tensor) -> Tensor:
    """MMD² of two samples, [n, hidden] each in float32; a scalar.

    Takes memory for (2n)² numbers a kernel.
    """
    n = len(x)
    with torch.autocast(x.device.type, enabled=False):
        both = torch.cat([x, y])
        squares = both.square().sum(-1)
        distances = (squares[:, None] + squares - 2 * both @ both.T).clamp(min=0)
        scale = distances.detach().sum() / (4 * n * n - 2 * n) / 2 ** (KERNELS // 2)
        kernels = [torch.exp(-distances / (scale * 2**i)) for i in range(KERNELS)]
        sign = torch.ones(2 * n, device=x.device)
        sign[n:] = -1.0
        return sign @ torch.stack(kernels).sum(0) @ sign / n**2
