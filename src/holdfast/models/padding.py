"""Find out which prompts a model answers rightly in one batch.

A causal model's real tokens never see what stands on their right. On the left the attention mask
must hide the padding, and not every architecture asks it: RWKV's and RecurrentGemma's states run
over the padding as over text, MiniMax's do once its cache is in use, and RWKV's cached steps mix
even rows of equal length. No list of names can be complete, so the loaded model is asked.
"""

from contextlib import nullcontext
from typing import Any, Literal, cast
from weakref import WeakKeyDictionary

import torch
from transformers import GenerationConfig, LogitsProcessorList

from holdfast.errors import UserError
from holdfast.models.bare import bare
from holdfast.models.modes import evaluation_mode, generation_settings

# The largest change that may be rounding. Models that hide their padding show 1e-6 in 32 bits;
# others 0.1 to 0.7 where their weights matter, and 5e-4 where they are as good as empty.
_ROUNDING_32_BITS, _ROUNDING = 3e-4, 0.05
_PADDING, _PROMPT, _STEPS = 8, 3, 3
Together = Literal["any", "equal", "alone"]
_known: WeakKeyDictionary[Any, Together] = WeakKeyDictionary()


def together(model: Any) -> Together:
    """Which prompts may share a batch; asked once of each model.

    Three steps of cached decoding, with the same tokens forced on all rows, give the logits z of a
    prompt a, and this is how much the rest of the batch changes them, beside what another prompt b
    of its length gives:

        ‖z_a' − z_a‖ / ‖z_b − z_a‖

    a' stands beside b, or beside a longer one, so with padding. The steps
    are twelve passes over at most 11 tokens a row: no more than the beginning of one answer.

    Args:
        model: a causal language model of transformers, bare or wrapped by PEFT; of one that cannot
            answer nothing is known, and it is trusted.

    Returns:
        "any" prompts, only those of "equal" length, or each "alone".
    """
    if not callable(getattr(model, "generate", None)):
        return "any"
    if model not in _known:
        whole = all(p.dtype == torch.float32 for p in model.parameters())
        rounding = _ROUNDING_32_BITS if whole else _ROUNDING
        beside, padded = changes(model)
        _known[model] = "alone" if beside > rounding else "equal" if padded > rounding else "any"
    return _known[model]


def padding_leaks(model: Any) -> bool:
    """Whether padding on the left may change what the model computes for a row."""
    return together(model) != "any"


def changes(model: Any) -> tuple[float, float]:
    """How much a prompt's logits change in a batch of one length, and beside a longer one.

    Measured as `together` says; 0 of a model that gives the same to every prompt.
    """
    size = model.get_input_embeddings().weight.shape[0]
    # Tokens from all over the vocabulary.
    places = torch.arange(1, 2 * _PROMPT + _PADDING + 1) * (size // (2 * _PROMPT + _PADDING + 2))
    a, b, rest = places.split([_PROMPT, _PROMPT, _PADDING])
    alone, other = (_logits(model, row[None], torch.ones(1, _PROMPT))[0] for row in (a, b))
    beside = _logits(model, torch.stack([a, b]), torch.ones(2, _PROMPT))[0]
    # Under the mask stands text, which shows most: a padding token's embedding may be zero.
    mask = torch.ones(2, _PADDING + _PROMPT)
    mask[0, :_PADDING] = 0
    padded = _logits(model, torch.stack([torch.cat([rest, a]), torch.cat([rest, b])]), mask)[0]
    between = (other - alone).norm()
    if not between > 0:
        return 0.0, 0.0
    return float((beside - alone).norm() / between), float((padded - alone).norm() / between)


def refuse_left_padding(model: Any, mask: torch.Tensor | None) -> None:
    """Raise where a batch is padded on the left and the model would read the padding as text.

    Args:
        model: a causal language model of transformers, bare or wrapped by PEFT.
        mask: the batch's attention mask, [rows, tokens].

    Raises:
        UserError: it is so.
    """
    if mask is None or mask.ndim != 2 or bool(mask[:, 0].all()) or not padding_leaks(model):
        return
    raise UserError(
        f"{type(bare(model)).__name__} reads padding on the left as if it were text, and the "
        "data_collator pads there: let it pad on the right."
    )


def _logits(model: Any, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The logits of each step of decoding, float64 [rows, steps·vocabulary], on the CPU."""

    def force(seen: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        forced = torch.full_like(scores, -torch.inf)
        forced[:, seen[0, -1] % scores.shape[1]] = 0  # the last token again, row 0's in all
        return forced

    settings = GenerationConfig(
        max_new_tokens=_STEPS,
        min_new_tokens=_STEPS,
        do_sample=False,
        num_beams=1,
        use_cache=True,
        pad_token_id=0,
        output_logits=True,
        return_dict_in_generate=True,
    )
    # A head or an adapter in 32 bits on weights in 16: they go together under autocast alone.
    kinds = {p.dtype for p in model.parameters() if p.is_floating_point()}
    narrow = next(iter(kinds - {torch.float32}), torch.float32)
    mixed = torch.autocast(model.device.type, narrow) if len(kinds) > 1 else nullcontext()
    with torch.no_grad(), evaluation_mode(model), generation_settings(model, settings), mixed:
        output = cast(Any, model).generate(
            input_ids=ids.to(model.device),
            attention_mask=mask.long().to(model.device),
            generation_config=settings,
            logits_processor=LogitsProcessorList([force]),
        )
    return torch.stack(output.logits, dim=1).flatten(1).double().cpu()
