"""Logits only where there is something to learn.

The loss needs the logits of the positions before an answer's tokens; a prompt's and the padding's
are thrown away. With a vocabulary V of 50,000 tokens they are a sixth of a small model's work and
most of a batch's memory (float32, [rows, tokens, V]). Within `labelled_positions` the head sees the
other positions alone, [1, labelled tokens, hidden], and the loss is the same sum over the same
tokens.
"""

import inspect
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import Any

from torch import Tensor, nn
from transformers.loss.loss_utils import ForCausalLMLoss

from holdfast.data.rows import IGNORED

# Below it a head costs nothing that could be saved.
SMALLEST_VOCABULARY = 4096


@contextmanager
def labelled_positions(model: Any, inputs: Mapping[str, Any]) -> Iterator[None]:
    """Within the context ``model(**inputs).loss`` computes logits only where a label is predicted.

    Nothing changes for a model whose loss or head cannot be told apart from the rest, for a small
    vocabulary, and for inputs without labels.

    Args:
        model: a causal language model of transformers, or PEFT's around it.
        inputs: ``labels`` among them, [rows, tokens], -100 where there is none.
    """
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    labels, head = inputs.get("labels"), _head(base)
    if labels is None or head is None:
        yield
        return
    shifted = nn.functional.pad(labels, (0, 1), value=IGNORED)[..., 1:]
    kept = shifted != IGNORED
    compute = base.loss_function

    def select(_head: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
        return (given[0][kept.to(given[0].device)][None], *given[1:])

    def loss(*args: Any, **kwargs: Any) -> Any:
        return compute(*args, **{**kwargs, "shift_labels": shifted[kept][None]})

    with ExitStack() as stack:
        stack.callback(head.register_forward_pre_hook(select).remove)
        own = base.__dict__.get("_loss_function")
        base.loss_function = loss
        stack.callback(_put_back, base, own)
        yield


def labelled_logits(logits: Tensor, labels: Tensor) -> Tensor:
    """The logits that predict a label, [labelled tokens, V], row after row.

    Args:
        logits: of a pass, [rows, tokens, V], or [1, labelled tokens, V] within
            `labelled_positions`.
        labels: the pass's, [rows, tokens].
    """
    kept = nn.functional.pad(labels, (0, 1), value=IGNORED)[..., 1:] != IGNORED
    # A row's last position predicts nothing, so that the two shapes differ.
    return logits[kept.to(logits.device)] if logits.shape[:2] == labels.shape else logits[0]


def row_losses(model: Any, inputs: Mapping[str, Any]) -> Tensor:
    """Each row's mean loss over its answer tokens, float32 [rows]; 0 of a row without any.

    Args:
        model: a causal language model.
        inputs: ``labels`` among them, [rows, tokens].
    """
    labels = inputs["labels"][:, 1:]
    others = {name: value for name, value in inputs.items() if name != "labels"}
    logits = model(**others).logits[:, :-1].float()
    labels = labels.to(logits.device)
    nats = nn.functional.cross_entropy(
        logits.transpose(1, 2), labels, ignore_index=IGNORED, reduction="none"
    )
    return nats.sum(1) / (labels != IGNORED).sum(1).clamp(min=1)


def _put_back(base: Any, own: Any) -> None:
    if own is None:
        base.__dict__.pop("_loss_function", None)
    else:
        base.loss_function = own


def _head(base: Any) -> nn.Module | None:
    """The module that makes logits of hidden states; None where that cannot be told."""
    head = base.get_output_embeddings() if hasattr(base, "get_output_embeddings") else None
    weight = getattr(head, "weight", None)
    if weight is None or base.config.get_text_config().vocab_size < SMALLEST_VOCABULARY:
        return None
    known = base.loss_function is ForCausalLMLoss and _calls_its_loss(type(base))
    return head if known else None


@cache
def _calls_its_loss(kind: type) -> bool:
    """Whether a model's forward leaves the loss to its ``loss_function``."""
    try:
        return "self.loss_function(" in inspect.getsource(inspect.unwrap(kind.forward))
    except (OSError, TypeError):
        return False
