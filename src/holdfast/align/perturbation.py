"""Perturb the outputs of attention blocks: what Vaccine, T-Vaccine and their control share.

e_l is the output of attention block l, [rows, tokens, hidden].
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from holdfast.models.random_state import RandomState


@contextmanager
def changed_outputs(
    blocks: Sequence[nn.Module], change: Callable[[int, Tensor], Tensor]
) -> Iterator[None]:
    """Within the context block l's output is ``change(l, e_l)``; its hooks always end with it.

    Under gradient checkpointing the hook runs again while the layer is recomputed, so ``change``
    must compute the same each time.
    """

    def hook(index: int) -> Callable:
        def replace(_module: nn.Module, _inputs: Any, output: Any) -> Any:
            if isinstance(output, tuple | list):
                return type(output)((change(index, output[0]), *output[1:]))
            return change(index, output)

        return replace

    with ExitStack() as stack:
        for index, block in enumerate(blocks):
            stack.callback(block.register_forward_hook(hook(index)).remove)
        yield


def output_gradients(blocks: Sequence[nn.Module], loss_of: Callable[[], Tensor]) -> list[Tensor]:
    """g_l = dL/de_l for every block, [rows, tokens, hidden] each, without any weight gradient.

    Args:
        blocks: attention blocks, lowest first.
        loss_of: runs the model and returns the loss L.
    """
    outputs: dict[int, Tensor] = {}

    def capture(index: int, e: Tensor) -> Tensor:
        if index == 0 or not e.requires_grad:
            # Nothing below the lowest block is asked for: the graph starts here.
            e = e.detach().requires_grad_()
        outputs.setdefault(index, e)  # not the recomputed one of gradient checkpointing
        return e

    with changed_outputs(blocks, capture):
        loss = loss_of()
        # Inside the context: checkpointed layers are recomputed now and must meet the same hooks.
        return list(torch.autograd.grad(loss, [outputs[index] for index in range(len(blocks))]))


class TwoPassMixin:
    """A Trainer's step under the perturbation that raises the loss most, to first order.

        ε_l = ρ · g_l / (sqrt(Σ_l ‖g_l‖²) + 1e-7)

    A first pass over the batch finds g_l = dL/de_l; a second pass, with the same dropout masks,
    adds ε_l to block l's output, and its weight gradient is the update. The norm is ONE norm over
    all perturbed blocks, tokens and rows of the optimizer step: where the step is split into
    micro-batches (accumulation) or processes, the first pass runs over all of them before any
    second pass, so the split changes nothing.

    A subclass says what one step perturbs by `plan_step`.
    """

    # What transformers.Trainer provides.
    model: Any
    args: Any
    state: Any
    accelerator: Any
    compute_loss: Callable[..., Tensor]
    compute_loss_context_manager: Callable[[], Any]
    _prepare_inputs: Callable[[Any], Any]

    _step_batches: Sequence[Any] = ()
    _perturbed: "list[_PerturbedBatch] | None" = None

    def plan_step(self) -> "StepPlan | None":
        """What the coming optimizer step perturbs; None for a plain step."""
        raise NotImplementedError

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> Any:
        """Remember all micro-batches of the coming optimizer step."""
        batches, num_items = super().get_batch_samples(*args, **kwargs)  # pyright: ignore[reportAttributeAccessIssue]
        self._step_batches, self._perturbed = batches, None
        return batches, num_items

    def training_step(
        self, model: nn.Module, inputs: Any, num_items_in_batch: Any = None
    ) -> Tensor:
        """The second pass for one micro-batch, after the first pass for all of its step."""
        if not any(batch is inputs for batch in self._step_batches):  # called from outside a loop
            self._step_batches, self._perturbed = [inputs], None
        if self._perturbed is None:
            plan = self.plan_step()
            self._perturbed = [] if plan is None else self._first_passes(plan, num_items_in_batch)
        known = next((p for p in self._perturbed if p.inputs is inputs), None)
        step = super().training_step  # pyright: ignore[reportAttributeAccessIssue]
        if known is None:
            return step(model, inputs, num_items_in_batch)
        self._perturbed.remove(known)  # its ε is freed after this pass
        with known.applied():
            return step(model, inputs, num_items_in_batch)

    def _first_passes(self, plan: "StepPlan", num_items: Any) -> "list[_PerturbedBatch]":
        self.model.train()
        perturbed = []
        for inputs in self._step_batches:
            prepared = self._prepare_inputs(inputs)
            below = SharedLayers(plan.shared_layers)
            random_state = RandomState(self.args.device)
            with self.compute_loss_context_manager(), below.recorded():
                gradients = output_gradients(
                    plan.blocks,
                    # The bare model: a data-parallel wrapper would wait for weight gradients.
                    lambda prepared=prepared: self.compute_loss(
                        self.model, dict(prepared), num_items_in_batch=num_items
                    ),
                )
            perturbed.append(_PerturbedBatch(inputs, plan.blocks, gradients, random_state, below))
        device = self.args.device  # the layers may lie on several
        norms = [
            torch.linalg.vector_norm(g, dtype=torch.float32).to(device)
            for p in perturbed
            for g in p.noise
        ]
        squared = torch.stack(norms).square().sum()
        # Of P processes' losses the step takes the mean, so its g_l is what each has, divided by P.
        processes = self.accelerator.num_processes
        norm = self.accelerator.reduce(squared, reduction="sum").sqrt() / processes
        scale = plan.rho / (norm + 1e-7) / processes
        for batch in perturbed:
            batch.noise = [g * scale.to(g) for g in batch.noise]
        return perturbed


@dataclass(frozen=True)
class StepPlan:
    """What one optimizer step perturbs.

    Args:
        rho: ρ, the norm of the perturbation.
        blocks: the attention blocks to perturb, lowest first.
        shared_layers: the lowest decoder layers, which nothing trainable or perturbed reaches:
            they are computed once for both passes.
    """

    rho: float
    blocks: Sequence[nn.Module]
    shared_layers: Sequence[nn.Module] = ()


class SharedLayers:
    """Runs the lowest decoder layers once, without a graph, and reuses their output.

    Args:
        layers: decoder layers from the first on; none shares nothing.
    """

    def __init__(self, layers: Sequence[nn.Module]):
        self.layers = layers
        self.output: Any = None
        self.random_state: RandomState | None = None

    @contextmanager
    def recorded(self) -> Iterator[None]:
        """First pass: no graph below, and the last shared layer's output is kept."""

        def record(forward: Callable, last: bool) -> Callable:
            def run(*args: Any, **kwargs: Any) -> Any:
                with torch.no_grad():
                    output = forward(*args, **kwargs)
                if last:
                    self.output = output
                    self.random_state = RandomState(_tensor_of(output).device)
                return output

            return run

        with self._replaced_forwards(record):
            yield

    @contextmanager
    def reused(self) -> Iterator[None]:
        """Second pass: the kept output stands in for the shared layers, at no cost."""

        def reuse(_forward: Callable, last: bool) -> Callable:
            def run(*_args: Any, **_kwargs: Any) -> Any:
                if last and self.random_state is not None:
                    self.random_state.restore()  # the layers above meet the same dropout masks
                return self.output

            return run

        with self._replaced_forwards(reuse):
            yield

    @contextmanager
    def _replaced_forwards(self, make: Callable[[Callable, bool], Callable]) -> Iterator[None]:
        with ExitStack() as stack:
            for number, layer in enumerate(self.layers, start=1):
                # An attribute of the instance hides the class's method; a library may have put one
                # there before us (accelerate, to move layers between devices).
                before = vars(layer).get("forward")
                layer.forward = make(layer.forward, number == len(self.layers))
                if before is None:
                    stack.callback(delattr, layer, "forward")
                else:
                    stack.callback(setattr, layer, "forward", before)
            yield


@dataclass(eq=False)
class _PerturbedBatch:
    """One micro-batch between its two passes; ``noise`` holds g_l, then ε_l."""

    inputs: Any
    blocks: Sequence[nn.Module]
    noise: list[Tensor]
    random_state: RandomState
    below: SharedLayers

    @contextmanager
    def applied(self) -> Iterator[None]:
        self.random_state.restore()
        with (
            self.below.reused(),
            changed_outputs(self.blocks, lambda block, e: e + self.noise[block]),
        ):
            yield


def _tensor_of(output: Any) -> Tensor:
    return output[0] if isinstance(output, tuple | list) else output
