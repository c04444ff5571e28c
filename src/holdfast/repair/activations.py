"""How large the inputs of a model's matrices are on given rows, from one batched forward pass."""

import inspect
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from peft import PeftModel
from torch import nn
from transformers import PreTrainedModel

from holdfast.errors import UserError
from holdfast.models.modes import evaluation_mode
from holdfast.models.padding import padding_leaks, refuse_left_padding
from holdfast.repair.matrices import Matrix


def input_norms(
    model: nn.Module,
    matrices: list[Matrix],
    batches: Iterable[Mapping[str, Any]],
    progress: Callable[[int], object] | None = None,
) -> dict[str, torch.Tensor]:
    """Measure the root mean square norm of every matrix's inputs over the rows.

        norm_j = sqrt((1/N) Σ_n ‖X_j^(n)‖²)

    X_j^(n) is input j of the matrix at every token of row n, padding left out. One forward pass
    without gradients, in evaluation mode, measures all matrices; only sums are kept, so the memory
    does not depend on the number of rows.

    Args:
        model: the model; its modes are restored and its hooks removed, after an error too.
        matrices: matrices of the model.
        batches: ``input_ids`` and ``attention_mask``, [rows, tokens], and what else the model's
            forward takes (labels are left out).
        progress: called after each batch with the number of rows done.

    Returns:
        For each matrix by name norm_j, [in], in float64 where the device has it.

    Raises:
        UserError: no rows, no attention mask, padding that the model would read as text, inputs
            that are not finite, or a matrix whose inputs are not one vector a token.
    """
    padding_leaks(model)  # asked here, where no hook counts the passes that it takes
    body = _smallest_body(model, matrices)
    sums = _SquareSums()
    rows = 0
    # A caller's inference mode would take away the tensors' versions, which _SquareSums reads.
    with (
        torch.inference_mode(False),
        torch.no_grad(),
        evaluation_mode(model),
        _hooks(sums, matrices),
    ):
        for batch in batches:
            mask = _attention_mask(batch)
            refuse_left_padding(model, mask)
            sums.start_batch(mask)
            body(**_model_inputs(body, batch, mask))
            rows += len(mask)
            if progress is not None:
                progress(rows)
    if rows == 0:
        raise UserError("the data set is empty: the scores need at least one row.")
    unseen = [matrix.name for matrix in matrices if matrix.name not in sums.totals]
    if unseen:
        raise UserError(
            f"{len(unseen)} matrices saw none of the rows, the first of them {unseen[0]}: name "
            "those to repair in target_modules."
        )
    for name, total in sums.totals.items():
        if not torch.isfinite(total).all():
            raise UserError(
                f"the inputs of {name} are not finite (NaN or infinite) on these rows: the model "
                "is broken, or its dtype is too narrow for it."
            )
    return {name: (total / rows).sqrt() for name, total in sums.totals.items()}


class _SquareSums:
    """Σ of the squared inputs over all tokens that are no padding, for each matrix."""

    def __init__(self):
        self.totals: dict[str, torch.Tensor] = {}
        self._mask = torch.empty(0)
        self._tokens: torch.Tensor | None = None
        self._recent: dict[int, tuple[Any, int, torch.dtype, torch.Tensor]] = {}

    def start_batch(self, mask: torch.Tensor) -> None:
        """Take the attention mask [rows, tokens] of the batch that comes now, on the CPU."""
        self._mask = mask
        self._tokens = None if mask.all() else mask.flatten().nonzero().squeeze(1)

    def record(self, matrix: Matrix, x: torch.Tensor) -> None:
        """Add the inputs x, [rows, tokens, in] or [rows·tokens, in], that a matrix gets."""
        if matrix.dora and x.ndim == 2:
            return  # an identity matrix, which DoRA sends through A and B to get their product
        if tuple(x.shape[:-1]) not in (tuple(self._mask.shape), (self._mask.numel(),)):
            raise UserError(
                f"the inputs of {matrix.name} have the shape {tuple(x.shape)} for a batch of "
                f"{tuple(self._mask.shape)} tokens, so padding cannot be told apart: leave it out "
                "by target_modules."
            )
        self.totals[matrix.name] = self.totals.get(matrix.name, 0) + self._squares(
            x, matrix.weight.dtype
        )

    def _squares(self, x: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """Σ over tokens of x² as the matrix sees x (in its own dtype), [in].

        q, k and v get the same tensor one after the other, and so do gate and up: it is squared
        once. A weak reference, so that no hidden state lives longer for it; one for each width,
        since what goes into LoRA's B comes between.
        """
        width = x.shape[-1]
        if width in self._recent:
            reference, version, recent_dtype, squares = self._recent[width]
            if reference() is x and version == x._version and recent_dtype == dtype:
                return squares
        real = x.reshape(-1, width)
        if self._tokens is not None:
            self._tokens = self._tokens.to(x.device)
            real = real.index_select(0, self._tokens)
        wide = torch.float32 if x.device.type == "mps" else torch.float64
        squares = real.to(dtype).to(wide, copy=True).square_().sum(0)
        self._recent[width] = (weakref.ref(x), x._version, dtype, squares)
        return squares


@contextmanager
def _hooks(sums: _SquareSums, matrices: list[Matrix]) -> Iterator[None]:
    def hook_for(matrix: Matrix) -> Callable[[nn.Module, tuple], None]:
        return lambda _, args: sums.record(matrix, args[0])

    handles = [m.reader.register_forward_pre_hook(hook_for(m)) for m in matrices]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _smallest_body(model: nn.Module, matrices: list[Matrix]) -> nn.Module:
    """The model without its head, where that holds all matrices: logits can outweigh the rest."""
    inner = model.get_base_model() if isinstance(model, PeftModel) else model
    body = inner.base_model if isinstance(inner, PreTrainedModel) else inner
    inside = set(body.modules())
    return body if all(matrix.reader in inside for matrix in matrices) else inner


def _attention_mask(batch: Mapping[str, Any]) -> torch.Tensor:
    ids, mask = batch.get("input_ids"), batch.get("attention_mask")
    if ids is None or mask is None:
        raise UserError(
            "a batch needs input_ids and attention_mask (1 on every token that is no padding), and "
            f"the data_collator gave {', '.join(sorted(batch)) or 'nothing'}."
        )
    if mask.shape != ids.shape or mask.ndim != 2:
        raise UserError(
            f"the batch's attention_mask has the shape {tuple(mask.shape)} and input_ids "
            f"{tuple(ids.shape)}; both must be [rows, tokens]."
        )
    return mask.cpu() != 0


def _model_inputs(body: nn.Module, batch: Mapping[str, Any], mask: torch.Tensor) -> dict[str, Any]:
    """What of the batch the forward takes, on the model's device; positions that skip padding."""
    accepted = inspect.signature(body.forward).parameters
    inputs = {k: v for k, v in batch.items() if k in accepted and k != "labels"}
    if "position_ids" in accepted and "position_ids" not in inputs and not mask[:, 0].all():
        inputs["position_ids"] = (mask.cumsum(1) - 1).clamp(min=0)  # padding is on the left
    if "use_cache" in accepted:
        inputs["use_cache"] = False
    device = next(body.parameters()).device
    return {k: v.to(device) if isinstance(v, torch.Tensor) else v for k, v in inputs.items()}
