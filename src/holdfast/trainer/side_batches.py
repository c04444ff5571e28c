"""A second data set beside the one that is trained on: its batches, and exact gradients on them.

For methods whose step needs ∇L_side(w) or ∇L_side(w + δ), where the side rows are alignment or
harmful ones. Group s of them, A micro-batches of P·b rows (A: accumulation, P: processes, b: batch
size), is what optimizer step s trains on, in number. The groups follow one another in a seeded
order without end, and which rows group s has follows from s alone: a resumed run needs no state,
and accumulation or processes split a group without changing it.

    L_side(w) = (1/N) Σ over the group's answer tokens,  N: their number in all micro-batches and
    processes
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from holdfast.errors import DivergedError, UserError
from holdfast.models.random_state import RandomState
from holdfast.trainer.order import epoch_order, part
from holdfast.trainer.streams import is_stream

Gradient = dict[str, Tensor]  # by the name of the weight, of its shape


@dataclass(frozen=True)
class SideRows:
    """Rows of a second data set, and the seed of their order.

    Args:
        name: what they are, for messages.
        rows: tokenized rows.
        seed: the seed of their order.
    """

    name: str
    rows: Any
    seed: int

    def numbers(self, start: int, stop: int) -> list[int]:
        """The rows at these places of the endless order, one shuffled pass after the other."""
        size = len(self.rows)
        first, last = start // size, (stop - 1) // size
        orders = [i for e in range(first, last + 1) for i in epoch_order(size, self.seed, e)]
        return orders[start - first * size : stop - first * size]


@dataclass(frozen=True)
class SideBatches:
    """This process's micro-batches of one group of side rows.

    Args:
        name: what rows they are, for messages.
        batches: on the device, as the model takes them; ``labels`` [rows, tokens] among them.
        tokens: N, the answer tokens of the whole group in all processes.
    """

    name: str
    batches: list[dict[str, Any]]
    tokens: int


def norm(gradient: Mapping[str, Tensor]) -> Tensor:
    """‖g‖ over all weights together, a float32 scalar."""
    norms = [torch.linalg.vector_norm(g, dtype=torch.float32) for g in gradient.values()]
    return torch.linalg.vector_norm(torch.stack([n.to(norms[0].device) for n in norms]))


def inner(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> Tensor:
    """⟨a, b⟩ over all weights together, a float32 scalar."""
    products = [(a[name].float() * b[name].float()).sum() for name in a]
    return torch.stack([p.to(products[0].device) for p in products]).sum()


def answer_log_probabilities(model: Any, inputs: Mapping[str, Any]) -> Tensor:
    """log p(word | what stands before) at every answer token, [answer tokens, vocabulary].

    Args:
        model: the model.
        inputs: a batch with its ``labels``.
    """
    others = {key: value for key, value in inputs.items() if key != "labels"}
    logits = model(**others).logits[:, :-1]
    return logits[inputs["labels"][:, 1:].to(logits.device) != -100].float().log_softmax(-1)


class SideBatchesMixin:
    """An `holdfast.SFTTrainer` whose optimizer step may use gradients on a second data set.

    A subclass changes the step's gradient in `change_gradient`. The passes over side batches leave
    the random numbers of dropout where they were: training goes on as if nothing had been
    measured, and two passes over one group see the same masks. A router's balancing loss belongs
    to training and is no part of them.

    Raises:
        UserError: the weights are divided among processes (FSDP2, DeepSpeed).
    """

    # What SFTTrainer provides.
    model: Any
    args: Any
    state: Any
    accelerator: Any
    data_collator: Any
    data_seed: int
    is_fsdp_enabled: bool
    is_deepspeed_enabled: bool
    _train_batch_size: int
    prepare_rows: Callable[[Any], Any]
    compute_loss: Callable[..., Any]
    compute_loss_context_manager: Callable[[], Any]
    trainable_weights: Callable[[], Iterator[tuple[str, nn.Parameter]]]
    loss_scale: Callable[[], float]
    _prepare_inputs: Callable[[Any], Any]
    _get_collator_with_removed_columns: Callable[..., Callable]

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        if self.is_fsdp_enabled or self.is_deepspeed_enabled:
            method = type(self).__name__.removesuffix("Trainer")
            raise UserError(
                f"{method} takes gradients of whole weights, which FSDP2 and DeepSpeed divide "
                "among the processes: train with DDP (parallel=ddp) or in one process."
            )

    def change_gradient(self) -> None:
        """Once an optimizer step, after its last backward pass: the weights' ``.grad`` is the
        step's whole gradient, in every process the same, times `loss_scale`."""
        raise NotImplementedError

    def training_step(
        self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None
    ) -> Tensor:
        """One micro-batch; the method's own gradient joins with the last of a step."""
        loss = super().training_step(model, inputs, num_items_in_batch)  # pyright: ignore[reportAttributeAccessIssue]
        if self.accelerator.sync_gradients:
            self.change_gradient()
        return loss

    def side_rows(self, rows: Any, name: str, number: int = 0) -> SideRows:
        """Rows of a second data set, in the shapes that ``train_dataset`` may have.

        Args:
            rows: the rows; a stream is read to its end.
            name: the parameter that they were given as, for messages.
            number: another one for another data set, or equal sizes share an order.
        """
        prepared = self.prepare_rows(rows)
        prepared = list(prepared) if is_stream(prepared) else prepared
        if not len(prepared):
            raise UserError(f"{name} is empty: it needs at least one row.")
        return SideRows(name, prepared, self.data_seed + 500_000 + 1_000 * number)

    def side_batches(self, rows: SideRows, number: int) -> SideBatches:
        """This process's share of group ``number``, from 0; of one group a step, global_step.

        Its tokens count among those that the training has seen.

        Raises:
            UserError: no row of the group has an answer.
        """
        batches = self.group_batches(rows, number)
        read = torch.tensor(sum(batch["input_ids"].numel() for batch in batches))
        read = self.accelerator.reduce(read.to(self.args.device), "sum")
        if self.args.include_num_input_tokens_seen != "no":
            self.state.num_input_tokens_seen += int(read)
        return self.as_group(rows.name, batches)

    def group_batches(self, rows: SideRows, number: int) -> list[dict[str, Any]]:
        """This process's micro-batches of group ``number``, from 0."""
        accelerator = self.accelerator
        size = self._train_batch_size * accelerator.num_processes
        group = size * self.args.gradient_accumulation_steps
        numbers = rows.numbers(number * group, (number + 1) * group)
        collate = self._get_collator_with_removed_columns(self.data_collator, rows.name)
        batches = []
        for start in range(0, group, size):
            mine = part(
                numbers[start : start + size], accelerator.num_processes, accelerator.process_index
            )
            batches.append(self._prepare_inputs(collate([rows.rows[index] for index in mine])))
        return batches

    def as_group(self, name: str, batches: list[dict[str, Any]]) -> SideBatches:
        """This process's micro-batches of a step, prepared, as gradients are taken of them.

        Raises:
            UserError: no row of the step has an answer.
        """
        learned = torch.tensor(sum(_answer_tokens(batch) for batch in batches))
        learned = int(self.accelerator.reduce(learned.to(self.args.device), "sum"))
        if not learned:
            raise UserError(f"{name} has rows without an answer: nothing is learned of them.")
        return SideBatches(name, batches, learned)

    def gradient(
        self, side: SideBatches, loss_of: Callable[[dict[str, Any]], Tensor] | None = None
    ) -> tuple[Gradient, Tensor]:
        """∇L(w) of a group at the weights as they are, in every process the same, and L(w).

        The weights' ``.grad`` stays as it is.

        Args:
            side: the group.
            loss_of: gives a micro-batch's loss, the mean over its answer tokens, a scalar; the
                cross-entropy of training by default.

        Raises:
            DivergedError: the loss is not a finite number.
        """
        loss_of = loss_of or (lambda inputs: self.compute_loss(self.model, inputs))
        names, weights = zip(*self.trainable_weights(), strict=True)
        scale = self.loss_scale()
        whole, total = self._summed(side, loss_of, weights, scale)
        # So scaled, fp16's may be too large now and then. The scaler leaves out such a step, but
        # before that the weights are shifted by these gradients: measure them at a smaller scale.
        while scale > 1.0 and not all(g.isfinite().all() for g in total):
            scale = max(1.0, scale / 16)
            whole, total = self._summed(side, loss_of, weights, scale)
        if self.accelerator.num_processes > 1:
            whole, total = self.accelerator.reduce((whole, list(total)), reduction="sum")
        if not torch.isfinite(whole):
            raise DivergedError(
                f"the loss on {side.name} became {whole.item()} at step "
                f"{self.state.global_step + 1}: lower the learning rate or the method's strength."
            )
        return dict(zip(names, total, strict=True)), whole

    def _summed(
        self,
        side: SideBatches,
        loss_of: Callable[[dict[str, Any]], Tensor],
        weights: Sequence[Tensor],
        scale: float,
    ) -> tuple[Tensor, list[Tensor]]:
        """This process's part of a group's loss and gradients, measured with the loss scaled."""
        state = RandomState(self.args.device)
        whole = torch.zeros((), device=self.args.device)
        total = [torch.zeros_like(w) for w in weights]
        self.model.train()
        for inputs in side.batches:
            share = _answer_tokens(inputs) / side.tokens
            if not share:
                continue  # its mean would be 0 / 0
            with self.compute_loss_context_manager():
                # A copy: with label smoothing the loss takes the labels out of its inputs.
                loss = loss_of(dict(inputs)) * share
            whole += loss.detach().to(whole.device)
            found = torch.autograd.grad(loss * scale, weights, materialize_grads=True)
            total = [a + b for a, b in zip(total, found, strict=True)]
        state.restore()
        return whole, total if scale == 1.0 else [g / scale for g in total]

    def shifted(self, delta: Mapping[str, Tensor], factor: Any = 1.0) -> Any:
        """A context within which the weights are w + factor · δ; afterwards w, bit for bit."""
        return self.replaced(
            {name: w.data + factor * delta[name] for name, w in self.trainable_weights()}
        )

    @contextmanager
    def replaced(self, values: Mapping[str, Tensor]) -> Iterator[None]:
        """A context within which the weights are these; afterwards w, bit for bit."""
        kept = [(name, weight, weight.data) for name, weight in self.trainable_weights()]
        try:
            for name, weight, _ in kept:
                weight.data = values[name]
            yield
        finally:
            for _, weight, data in kept:
                weight.data = data

    @torch.no_grad()
    def add_to_gradient(self, term: Mapping[str, Tensor], factor: Any = 1.0) -> None:
        """Add factor · term to the weights' ``.grad``."""
        scale = self.loss_scale()
        for name, weight in self.trainable_weights():
            added = scale * factor * term[name]
            weight.grad = added if weight.grad is None else weight.grad.add_(added)


def _answer_tokens(inputs: Mapping[str, Any]) -> int:
    """How many tokens of a batch are learned."""
    return int((inputs["labels"][..., 1:] != -100).sum())
