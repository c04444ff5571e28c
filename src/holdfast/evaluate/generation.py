"""Greedy answers in batches, equal to the answers one by one."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import torch
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from holdfast.data.rows import Row, prompt_ids
from holdfast.errors import UserError

if TYPE_CHECKING:
    from peft import PeftModel

    Model = PreTrainedModel | PeftModel

logger = logging.getLogger(__name__)

Progress = Callable[[int, int], None]


def generate(
    model: Model,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Row | str],
    max_new_tokens: int,
    batch_size: int,
    progress: Progress | None = None,
) -> list[str]:
    """The model's greedy answer to every prompt: new text only, without special tokens.

    A row is encoded as training encodes it (`holdfast.data.rows.prompt_ids`); a string is taken
    verbatim, with the start token where the tokenizer has one. Prompts are padded on the left
    whatever side the tokenizer pads on, in batches of similar length, longest first, so that a
    batch that does not fit in memory shows at once: it is halved, and so are those after it. An
    answer ends at an end-of-sequence token (the tokenizer's or one of the model's own) or after
    `max_new_tokens`. The model's own sampling settings are not used. Its training mode and its
    generation settings are as before afterwards.

    Args:
        model: a causal language model of transformers, bare or wrapped by PEFT.
        tokenizer: its tokenizer.
        prompts: rows (the answers that they may hold are not read) or texts.
        max_new_tokens: the longest answer, in tokens.
        batch_size: the most prompts at once.
        progress: called with (prompts done, prompts in all) after every batch.

    Returns:
        One answer per prompt, in the order of `prompts`.

    Raises:
        UserError: a prompt and its answer do not fit in the model's positions.
        torch.OutOfMemoryError: even one prompt alone does not fit in memory.
    """
    if max_new_tokens < 1 or batch_size < 1:
        raise UserError(
            "generation needs max_new_tokens >= 1 and batch_size >= 1, not "
            f"{max_new_tokens} and {batch_size}"
        )
    encoded = [_encode(prompt, tokenizer) for prompt in prompts]
    _check_length(model, encoded, max_new_tokens)
    order = sorted(range(len(encoded)), key=lambda i: len(encoded[i]), reverse=True)
    settings = _settings(model, tokenizer, max_new_tokens)
    answers: dict[int, str] = {}
    with evaluation_mode(model), _generation_config(model, settings):
        while len(answers) < len(order):
            batch = order[len(answers) : len(answers) + batch_size]
            try:
                new = _answer_batch(model, [encoded[i] for i in batch], settings)
            except torch.OutOfMemoryError:
                if len(batch) == 1:
                    raise
                batch_size = len(batch) // 2
                new = None
            if new is None:  # outside the handler, whose traceback holds the failed batch's memory
                torch.cuda.empty_cache()
                logger.warning("out of memory: going on with %d prompts at once", batch_size)
                continue
            texts = tokenizer.batch_decode(new, skip_special_tokens=True)
            answers.update(zip(batch, texts, strict=True))
            if progress:
                progress(len(answers), len(order))
    return [answers[i] for i in range(len(order))]


@contextmanager
def evaluation_mode(model: torch.nn.Module) -> Iterator[None]:
    """Switch dropout off for a while; every module then has the mode it had before."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def positions(model: Model) -> int:
    """How many tokens the model can read at once; unlimited where its config names no number."""
    return getattr(model.config.get_text_config(), "max_position_embeddings", sys.maxsize)


def left_pad(rows: Sequence[Sequence[int]], pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and attention mask, both [rows, longest], with the padding on the left."""
    width = max(map(len, rows))
    ids = torch.tensor([[pad] * (width - len(row)) + list(row) for row in rows])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
    return ids, mask


def _encode(prompt: Row | str, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    row: Row = {"prompt": prompt, "completion": ""} if isinstance(prompt, str) else prompt
    ids = prompt_ids(row, tokenizer)
    if not ids:
        raise UserError("a prompt has no tokens, so there is nothing for the model to go on from")
    return ids


def _check_length(model: Model, encoded: list[list[int]], max_new_tokens: int) -> None:
    longest = max(map(len, encoded), default=0)
    limit = positions(model)
    if longest + max_new_tokens > limit:
        raise UserError(
            f"a prompt of {longest} tokens and an answer of up to {max_new_tokens} do not fit in "
            f"the model's {limit} positions; shorten the prompt or lower max_new_tokens"
        )


def _settings(
    model: Model, tokenizer: PreTrainedTokenizerBase, max_new_tokens: int
) -> GenerationConfig:
    """Plain greedy decoding. Of the model's own settings only its end tokens are kept."""
    own = model.generation_config.eos_token_id if model.generation_config else None
    known = [tokenizer.eos_token_id, *(own if isinstance(own, list) else [own])]
    ends = sorted({end for end in known if isinstance(end, int)})
    if not ends:
        raise UserError("the tokenizer has no end-of-sequence token, so no answer would ever end")
    pad = tokenizer.pad_token_id
    return GenerationConfig(
        max_new_tokens=max_new_tokens,
        do_sample=False,
        num_beams=1,
        use_cache=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=ends,
        pad_token_id=pad if pad is not None else ends[0],
    )


@contextmanager
def _generation_config(model: Model, settings: GenerationConfig) -> Iterator[None]:
    """Put `settings` in the place of the model's own.

    `model.generate(generation_config=…)` fills what is None in it from the model's own settings:
    a repetition penalty or suppressed tokens of a published model would change the answers.
    """
    # PEFT's wrapper writes its own `generation_config` onto the model inside, so both are set.
    get_base = getattr(model, "get_base_model", None)
    holders: list[Any] = [model, get_base()] if callable(get_base) else [model]
    before = [holder.generation_config for holder in holders]
    for holder in holders:
        holder.generation_config = settings
    try:
        yield
    finally:
        for holder, config in zip(holders, before, strict=True):
            holder.generation_config = config


def _answer_batch(
    model: Model, batch: list[list[int]], settings: GenerationConfig
) -> list[list[int]]:
    """The new ids of every row of a batch, up to its end token and without it."""
    ids, mask = left_pad(batch, settings.pad_token_id)
    # Any: transformers types `generate` for a protocol that its own models do not declare.
    output = cast(Any, model).generate(
        input_ids=ids.to(model.device),
        attention_mask=mask.to(model.device),
        generation_config=settings,
    )
    # Rows that ended early are filled up with padding, which need not be a special token.
    ends = set(settings.eos_token_id)
    new = output[:, ids.shape[1] :].tolist()
    return [row[: next((i for i, t in enumerate(row) if t in ends), len(row))] for row in new]
