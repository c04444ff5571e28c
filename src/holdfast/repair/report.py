"""What a pruning repair did, matrix by matrix."""

import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class MatrixReport:
    """One matrix: its name and stored shape, and how many of its ``total`` weights were zeroed.

    ``were_zero`` of the ``zeroed`` were zero before, as all are in a factor that was never trained.
    """

    name: str
    shape: tuple[int, int]
    zeroed: int
    were_zero: int
    total: int

    @property
    def layer(self) -> int | None:
        """The number of the decoder layer, read from the name; None outside of the layers."""
        number = re.search(r"\.(\d+)\.", self.name)
        return int(number.group(1)) if number else None


@dataclass(frozen=True)
class PruningReport:
    """What was zeroed where.

    Args:
        method: the repair's name.
        matrices: one entry for each matrix that was considered, in the model's order.
        skipped: adapted modules that were not considered, with the reason.
    """

    method: str
    matrices: tuple[MatrixReport, ...]
    skipped: dict[str, str]

    @property
    def zeroed(self) -> int:
        """The number of weights set to zero."""
        return sum(matrix.zeroed for matrix in self.matrices)

    @property
    def total(self) -> int:
        """The number of weights in the matrices."""
        return sum(matrix.total for matrix in self.matrices)

    def to_dict(self) -> dict:
        """Return the report as plain values, for JSON."""
        return {
            "method": self.method,
            "zeroed": self.zeroed,
            "total": self.total,
            "matrices": [asdict(matrix) | {"layer": matrix.layer} for matrix in self.matrices],
            "skipped": dict(self.skipped),
        }

    def summary(self) -> str:
        """Tell what was zeroed in all and per layer, and what was left alone and why."""
        lines = [f"{self.method}: zeroed {_share(self.matrices)} in {len(self.matrices)} matrices"]
        layers: dict[int | None, list[MatrixReport]] = {}
        for matrix in self.matrices:
            layers.setdefault(matrix.layer, []).append(matrix)
        for layer, matrices in layers.items():
            name = "elsewhere" if layer is None else f"layer {layer}"
            lines.append(f"  {name}: {_share(matrices)}")
        were_zero = sum(matrix.were_zero for matrix in self.matrices)
        if were_zero:
            lines.append(f"  {were_zero:,} of the zeroed weights were zero before")
        lines += [f"  left alone: {name}: {reason}" for name, reason in self.skipped.items()]
        return "\n".join(lines)


def _share(matrices: Iterable[MatrixReport]) -> str:
    matrices = list(matrices)
    zeroed = sum(matrix.zeroed for matrix in matrices)
    total = sum(matrix.total for matrix in matrices)
    return f"{zeroed:,} of {total:,} weights ({100 * zeroed / total:.2f} %)"
