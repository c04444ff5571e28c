"""The load-balancing loss of a mixture of experts, over a whole optimizer step.

    L_router = c · E · Σ_e f_e · P_e
    f_e = (1/N) Σ_n [expert e is among the k that token n takes]
    P_e = (1/N) Σ_n p_n(e)

n runs over the tokens of every layer with experts, N in all, padding left out; p_n is the router's
softmax over the E experts, c ``router_aux_loss_coef``. transformers adds it to the loss where the
model's config says ``output_router_logits``. It is no mean over tokens, so the losses of
micro-batches do not add up to a batch's. But f has no gradient: once it is known for the whole
step, what is left is linear in p, and the parts of micro-batches and processes add up exactly.

Source: W. Fedus, B. Zoph, N. Shazeer: Switch Transformers, arXiv 2101.03961, equations 4 to 6, as
transformers computes them.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from holdfast.errors import UserError
from holdfast.models.bare import bare


@dataclass(frozen=True)
class Routing:
    """How the tokens of a step were routed.

    Args:
        counts: how many tokens took each expert, [E], over all layers with experts.
        tokens: N, the tokens of all those layers.
    """

    counts: Tensor
    tokens: Tensor

    def __add__(self, other: "Routing") -> "Routing":
        return Routing(self.counts + other.counts, self.tokens + other.tokens)


def text_config(model: Any) -> Any:
    """The config that a language model's switches stand in; None of what has no config."""
    config = getattr(model, "config", None)
    get = getattr(config, "get_text_config", None)
    return get() if callable(get) else config


def adds_router_loss(model: Any) -> bool:
    """Whether the model adds its router's loss to the loss."""
    return bool(getattr(text_config(model), "output_router_logits", False))


def coefficient(model: Any) -> float:
    """c, the loss's weight."""
    places = (bare(model), text_config(model))
    names = ("router_aux_loss_coef", "aux_loss_coef")
    return float(next(getattr(p, n) for p in places for n in names if hasattr(p, n)))


def routing(model: Any, outputs: Any, mask: Tensor | None) -> Routing:
    """Count the experts that the tokens of one pass took.

    Args:
        model: the model that made them.
        outputs: its outputs, with ``router_logits`` (one tensor [tokens, E] a layer) and their
            ``aux_loss``.
        mask: the batch's attention mask, [rows, tokens].

    Raises:
        UserError: the model's own loss is not the one above.
    """
    k = getattr(bare(model), "num_experts_per_tok", None) or text_config(model).num_experts_per_tok
    counts, tokens = 0.0, 0.0
    for logits in outputs.router_logits:
        kept = _kept(logits, mask)
        taken = torch.zeros_like(logits, dtype=torch.float32)
        taken.scatter_(1, logits.topk(k, dim=-1).indices, 1.0)
        counts = counts + (taken * kept).sum(0).to(outputs.router_logits[0].device)
        tokens = tokens + kept.sum().to(outputs.router_logits[0].device)
    found = Routing(torch.as_tensor(counts), torch.as_tensor(tokens))
    own, theirs = float(router_loss(outputs, mask, found)), float(outputs.aux_loss)
    if abs(own - theirs) > 1e-3 * abs(theirs) + 1e-6:
        raise UserError(
            f"{type(bare(model)).__name__} computes another router loss than the usual one, which "
            "cannot be added up over micro-batches: set output_router_logits to false in the "
            "model's config."
        )
    return found


def router_loss(outputs: Any, mask: Tensor | None, step: Routing) -> Tensor:
    """One pass's part of L_router / c, where the whole step is routed as ``step`` says.

    Args:
        outputs: the pass's outputs, with ``router_logits``.
        mask: its attention mask, [rows, tokens].
        step: the routing of all passes of the step.
    """
    total = torch.zeros((), device=step.counts.device)
    for logits in outputs.router_logits:
        p = (logits.softmax(-1).float() * _kept(logits, mask)).sum(0)
        total = total + (p * step.counts.to(p.device)).sum().to(total.device)
    return len(step.counts) * total / step.tokens.square()


def _kept(logits: Tensor, mask: Tensor | None) -> Tensor:
    """1 on every token that is no padding, [tokens, 1]."""
    if mask is None:
        return torch.ones(len(logits), 1, device=logits.device)
    return mask.reshape(-1, 1).to(logits.device, torch.float32)
