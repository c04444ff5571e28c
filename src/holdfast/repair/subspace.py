"""How much of a fine-tuning's update lies in the subspace that the alignment's update spans.

    C = V·Vᵀ / ‖V‖_F,   cos(C·U, U) = ⟨C·U, U⟩ / (‖C·U‖ ‖U‖)

V, the alignment's update, and U, the fine-tuning's, are [out, in]; C, [out, out], is never made. It
stands for the projector onto V's columns, V(VᵀV)⁻¹Vᵀ, which is taken where ``exact`` is asked for.
"""

from holdfast.models.updates import Update
from holdfast.repair.checkpoints import Checkpoints


def cosines(checkpoints: Checkpoints, exact: bool = False) -> dict[str, float]:
    """cos(C·U, U) of every module that both trainings changed.

    Raises:
        UserError: there is none.
    """
    found = {}
    for name in checkpoints.both():
        U = checkpoints.finetuning[name]
        CU = project(U, checkpoints.alignment[name], exact)
        size = CU.norm() * U.norm()
        if size > 0:
            found[name] = min(1.0, CU.inner(U) / size)
    return found


def project(U: Update, V: Update, exact: bool = False) -> Update:
    """C·U, which leaves the right factor of U as it is.

    Args:
        U: an update [out, in].
        V: the alignment's, [out, in].
        exact: take the projector onto V's columns for C.
    """
    if not exact:
        size = V.norm()
        return Update(V.gram_times(U.left) / size if size else 0 * U.left, U.right)
    Q = V.columns()
    return Update((Q @ (Q.T @ U.left.double())).to(U.left), U.right)
