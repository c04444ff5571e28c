"""What pruning repairs share: choose weights by their scores, set them to zero, say what was done.

A mask is a bool tensor of a weight's shape, True where the weight becomes zero.
"""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from holdfast.errors import UserError
from holdfast.repair.matrices import Matrix, matrices_by_name
from holdfast.repair.report import MatrixReport, PruningReport

Group = Literal["row", "matrix"]


@dataclass
class Repair:
    """What a repair gives back.

    Args:
        model: the repaired model: the one that was given, changed in place.
        masks: for each matrix by name a bool tensor on the CPU, True where it was zeroed.
        report: what was zeroed where.
    """

    model: nn.Module
    masks: dict[str, torch.Tensor]
    report: PruningReport


def check_group(group: str) -> None:
    """Check the setting that every pruning repair has.

    Raises:
        UserError: the group is unknown.
    """
    if group not in ("row", "matrix"):
        raise UserError(f"group is {group!r}: it must be 'row' or 'matrix'.")


def pruned_count(dense_ratio: float, size: int) -> int:
    """Return ⌈α·size⌉, with α taken as the decimal number that was written: never 0.

    Antidote's authors keep int(size·(1 − α)) weights and zero the others. In floating point
    0.07 · 100 is 7.000000000000001, whose ceiling is 8; the fraction nearest to α that has a
    denominator of at most 10^10 is 7/100, so the count is 7.
    """
    return max(1, math.ceil(Fraction(dense_ratio).limit_denominator(10**10) * size))


def top_scored(scores: torch.Tensor, dense_ratio: float, group: Group) -> torch.Tensor:
    """Mark the top ⌈α·n⌉ scores of each group; of equal scores those at lower indices.

    Args:
        scores: [out, in], finite.
        dense_ratio: α.
        group: ``row``: each output row by itself, n = in; ``matrix``: all together, n = out·in.

    Returns:
        A bool tensor [out, in].
    """
    grouped = scores if group == "row" else scores.reshape(1, -1)
    count = pruned_count(dense_ratio, grouped.shape[1])
    # topk promises nothing about ties, so it gives the threshold only; three times as fast as a
    # stable sort.
    threshold = grouped.topk(count, dim=1).values[:, -1:]
    above = grouped > threshold
    ties = grouped == threshold
    room = count - above.sum(dim=1, keepdim=True)
    return (above | (ties & (ties.cumsum(dim=1) <= room))).reshape(scores.shape)


def prune(
    model: nn.Module,
    method: str,
    matrices: list[Matrix],
    masks: Mapping[str, torch.Tensor],
    skipped: Mapping[str, str],
) -> Repair:
    """Zero the masked weights of ``model`` in place and report it.

    Args:
        model: the model.
        method: the repair's name, for the report.
        matrices: its matrices that the masks are for.
        masks: a bool tensor of the stored weight's shape for each matrix, by name.
        skipped: what was not considered, and why, for the report.
    """
    entries = []
    for matrix in matrices:
        mask = masks[matrix.name].to(matrix.weight.device)
        entries.append(
            MatrixReport(
                name=matrix.name,
                shape=(matrix.weight.shape[0], matrix.weight.shape[1]),
                zeroed=int(mask.sum()),
                were_zero=int((mask & (matrix.weight == 0)).sum()),
                total=matrix.weight.numel(),
            )
        )
        _zero(matrix, mask)
    report = PruningReport(method, tuple(entries), dict(skipped))
    return Repair(model, {name: mask.cpu().contiguous() for name, mask in masks.items()}, report)


def apply_masks(model: nn.Module, masks: Mapping[str, torch.Tensor]) -> None:
    """Set the weights that the masks mark to zero, in place; all else stays bit for bit.

    Args:
        model: a model with the same matrices as the one that the masks were made for; the name of
            its adapter does not matter.
        masks: bool tensors by name, such as `load_masks` gives.

    Raises:
        UserError: a mask names no matrix of the model or has another shape; nothing is changed.
    """
    there = matrices_by_name(model)
    for name, mask in masks.items():
        if name not in there:
            raise UserError(
                f"the mask {name!r} belongs to no matrix of {type(model).__name__}, whose first is "
                f"{next(iter(there), 'missing')!r}: was it made for another model?"
            )
        shape = tuple(there[name].weight.shape)
        if tuple(mask.shape) != shape or mask.dtype != torch.bool:
            raise UserError(
                f"the mask {name!r} is {mask.dtype} of shape {tuple(mask.shape)}; the weight needs "
                f"a bool mask of shape {shape}."
            )
    for name, mask in masks.items():
        _zero(there[name], mask)


@torch.no_grad()
def _zero(matrix: Matrix, mask: torch.Tensor) -> None:
    matrix.weight.masked_fill_(mask.to(matrix.weight.device), 0)


def save_masks(masks: Mapping[str, torch.Tensor], path: str | Path) -> None:
    """Write masks to a safetensors file, one byte a weight; an error leaves no half file behind."""
    path = Path(path)
    partial = path.with_name(f"{path.name}.partial")
    try:
        save_file({name: mask.contiguous() for name, mask in masks.items()}, partial)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def load_masks(path: str | Path) -> dict[str, torch.Tensor]:
    """Read the masks that `save_masks` wrote.

    Raises:
        UserError: the file is missing, broken, or holds something else than bool tensors.
    """
    try:
        masks = load_file(path)
    except (OSError, SafetensorError) as error:
        raise UserError(f"cannot read masks from {path}: {error}") from error
    for name, mask in masks.items():
        if mask.dtype != torch.bool:
            raise UserError(f"{path}: {name!r} is {mask.dtype}, and a mask must be bool.")
    return masks
