"""What a training changed in one weight, ΔW [out, in], as two factors where it is of low rank.

LoRA's update is B·A, and of what is asked of an update here nothing needs the [out, in] matrix:
norms, inner products, VVᵀX and singular values all come from the factors, in r·(out + in) numbers.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True, eq=False)
class Update:
    """ΔW = left · right, or left alone, in float32 on the processor.

    Args:
        left: [out, r]; without ``right`` the whole ΔW, [out, in].
        right: [r, in], or None.
    """

    left: torch.Tensor
    right: torch.Tensor | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """[out, in]."""
        return self.left.shape[0], (self.left if self.right is None else self.right).shape[1]

    @property
    def parts(self) -> tuple[torch.Tensor, ...]:
        """Its two factors, or the whole of it alone."""
        return (self.left,) if self.right is None else (self.left, self.right)

    def whole(self) -> torch.Tensor:
        """ΔW itself, [out, in]."""
        return self.left if self.right is None else self.left @ self.right

    def times(self, c: float) -> "Update":
        """c·ΔW."""
        return Update(c * self.left, self.right)

    def plus(self, other: "Update") -> "Update":
        """The sum of two, whose rank is the sum of theirs: [L₁ L₂] [R₁; R₂]."""
        if self.right is None or other.right is None:
            return Update(self.whole() + other.whole())
        return Update(
            torch.cat([self.left, other.left], dim=1), torch.cat([self.right, other.right], dim=0)
        )

    def inner(self, other: "Update") -> float:
        """⟨ΔW₁, ΔW₂⟩ = Σᵢⱼ ΔW₁ᵢⱼ·ΔW₂ᵢⱼ = Σ (L₁ᵀL₂) ∘ (R₁R₂ᵀ)."""
        left, other_left = self.left.double(), other.left.double()
        if self.right is None and other.right is None:
            return float((left * other_left).sum())
        if self.right is None:
            assert other.right is not None
            rights = other.right.double().T
        elif other.right is None:
            rights = self.right.double()
        else:
            rights = self.right.double() @ other.right.double().T
        return float(((left.T @ other_left) * rights).sum())

    def norm(self) -> float:
        """‖ΔW‖_F."""
        return max(self.inner(self), 0.0) ** 0.5

    def gram_times(self, X: torch.Tensor) -> torch.Tensor:
        """ΔWΔWᵀX = L (RRᵀ) (LᵀX) for X [out, n], in its dtype; no [out, out] matrix is made."""
        left = self.left.double()
        Y = left.T @ X.double()
        if self.right is not None:
            right = self.right.double()
            Y = (right @ right.T) @ Y
        return (left @ Y).to(X.dtype)

    def svd(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The singular values S [n], largest first, with U [out, n] and Vᵀ [n, in], in float64.

        Of two factors by their QR decompositions and the SVD of an [r, r] matrix.
        """
        if self.right is None:
            return torch.linalg.svd(self.left.double(), full_matrices=False)
        Q, R = torch.linalg.qr(self.left.double())
        P, T = torch.linalg.qr(self.right.double().T)
        U, S, Vt = torch.linalg.svd(R @ T.T, full_matrices=False)
        return Q @ U, S, Vt @ P.T

    def columns(self) -> torch.Tensor:
        """An orthonormal basis [out, rank] of what ΔW's columns span, in float64."""
        U, S, _ = self.svd()
        return U[:, S.max() * max(self.shape) * torch.finfo(torch.float32).eps < S]

    def gram_root(self) -> torch.Tensor:
        """A matrix K [out, n] with K·Kᵀ = ΔWΔWᵀ, n the factors' rank, or ``in`` without."""
        if self.right is None:
            return self.left
        triangle = torch.linalg.qr(self.right.double().T)[1]  # R = (P·T)ᵀ, and PᵀP = 1
        return (self.left.double() @ triangle.T).to(self.left)


def total(updates: Sequence[Update]) -> Update:
    """The sum of one or more updates of one weight."""
    first, *others = updates
    for other in others:
        first = first.plus(other)
    return first
