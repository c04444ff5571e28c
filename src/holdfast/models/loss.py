"""Find out whether a model's own loss is the one that supervised fine-tuning means."""

from typing import Any

import torch
from torch.nn.functional import cross_entropy

from holdfast.errors import UserError
from holdfast.models.bare import bare
from holdfast.models.modes import evaluation_mode
from holdfast.models.router_loss import adds_router_loss, coefficient

# Not the number of the trial's labels, so that a loss shows what it divides by.
_ITEMS = 7


def check_loss(model: Any, counts_items: bool) -> None:
    """Compare a model's loss on a few tokens with the cross-entropy of the next token.

    Some classes of transformers that load as causal language models see the tokens behind (BERT's,
    unless its config makes it a decoder), do not shift the labels (TrOCR's decoder) or do not
    divide by the step's number of tokens: trained with that, a model comes out wrong without a
    word. A user's own class, or own ``loss_function``, computes what its user wants.

    Args:
        model: a causal language model, bare or wrapped by PEFT.
        counts_items: whether the trainer gives it ``num_items_in_batch``.

    Raises:
        UserError: it is another loss.
    """
    base = bare(model)
    name = type(base).__name__
    if not type(base).__module__.startswith("transformers.models.") or (
        "_loss_function" in vars(base)  # where its setter keeps it
    ):
        return
    device = next(model.parameters()).device
    size = model.get_input_embeddings().weight.shape[0]
    first = torch.arange(1, 6) * (size // 8)
    ids = torch.stack([first, first]).to(device)
    ids[1, -1] = 7 * (size // 8)  # the rows differ in their last token alone
    labels = ids.clone()
    labels[:, 0] = labels[1, :3] = -100
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels}
    if counts_items:
        inputs["num_items_in_batch"] = torch.tensor(float(_ITEMS), device=device)
    routed = adds_router_loss(model)
    with torch.no_grad(), evaluation_mode(model):
        outputs = model(**inputs)
        with_router = model(**inputs, output_router_logits=True) if routed else None
    logits = outputs.logits.float()
    if _differ(logits[1, :-1], logits[0, :-1], 0.05):
        raise UserError(
            f"{name} sees the tokens behind the one that it predicts: it is no causal language "
            "model (BERT's classes want is_decoder=true in their config)."
        )
    losses = cross_entropy(
        logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten().to(logits.device), reduction="sum"
    )
    right = losses / (_ITEMS if counts_items else (labels[:, 1:] != -100).sum().to(logits.device))
    if _differ(outputs.loss.float().to(right.device), right, 0.01):
        raise UserError(
            f"the loss of {name} is not the cross-entropy of the next token over the step's answer "
            f"tokens ({float(outputs.loss):.3g} for {float(right):.3g} on a trial): it is no "
            "causal language model that can be fine-tuned here."
        )
    if with_router is not None:
        added = (with_router.loss - outputs.loss).float()
        wanted = coefficient(model) * with_router.aux_loss.to(added)
        if abs(float(added - wanted)) > 0.05 * abs(float(wanted)) + 1e-3 * float(right):
            raise UserError(
                f"{name} adds its router's loss in an unusual way: set output_router_logits to "
                "false in the model's config."
            )


def _differ(found: torch.Tensor, right: torch.Tensor, tolerance: float) -> bool:
    return bool((found - right).norm() > tolerance * right.norm())
