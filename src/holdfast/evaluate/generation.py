"""Answers in batches: greedy ones, equal to the answers one by one, or sampled ones."""

from __future__ import annotations

import hashlib
import json
import logging
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from itertools import takewhile
from typing import TYPE_CHECKING, Any, cast

import torch
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from holdfast.data.prompts import Row
from holdfast.data.rows import prompt_ids
from holdfast.errors import UserError
from holdfast.evaluate.batching import longest_first
from holdfast.evaluate.thoughts import MARKS
from holdfast.models.bare import bare
from holdfast.models.modes import evaluation_mode, generation_settings
from holdfast.models.padding import Together, together
from holdfast.protocols import Protocol

if TYPE_CHECKING:
    from peft import PeftModel

    Model = PreTrainedModel | PeftModel

logger = logging.getLogger(__name__)

_TOLD = {
    "equal": "%s reads padding on the left as if it were text: only prompts of equal length are "
    "answered together.",
    "alone": "%s mixes the rows of a batch while it answers: prompts are answered one by one.",
}

Progress = Callable[[int, int], None]


class Generator:
    """A loaded model that answers prompts: the backend that everything else is compared with.

    Prompts are padded on the left whatever side the tokenizer pads on, in batches of similar
    length, longest first, so that a batch that does not fit in memory shows at once: it is halved,
    and so are all after it, those of later calls included. An answer ends at an end-of-sequence
    token (the tokenizer's or one of the model's own) or after `max_new_tokens`. The model's own
    sampling settings are not used. Its training mode and its generation settings are as before
    afterwards.

    Where padding would change what the model computes (RecurrentGemma, MiniMax) only prompts of
    equal length share a batch, and where its rows mix (RWKV) none do, which is told once; see
    `holdfast.models.padding`.

    In float32 an answer does not depend on the batch that it was written in. In bfloat16 two tokens
    can be so close that it does: measure two models with one batch size.

    Args:
        model: a causal language model of transformers, bare or wrapped by PEFT.
        tokenizer: its tokenizer.
        max_new_tokens: the longest answer, in tokens.
        batch_size: the most prompts at once.
        temperature: at which answers are sampled from the whole vocabulary; 0 is greedy. A batch's
            draws follow from its prompts and their rows' ``sample``: asked again it is answered
            alike.

    Raises:
        UserError: a number below 1, or there is no end-of-sequence token.
    """

    def __init__(
        self,
        model: Model,
        tokenizer: PreTrainedTokenizerBase,
        max_new_tokens: int,
        batch_size: int,
        temperature: float = 0.0,
    ):
        if max_new_tokens < 1 or batch_size < 1:
            raise UserError(
                "generation needs max_new_tokens >= 1 and batch_size >= 1, not "
                f"{max_new_tokens} and {batch_size}"
            )
        self.model, self.tokenizer, self.batch_size = model, tokenizer, batch_size
        self._settings = _settings(model, tokenizer, max_new_tokens, temperature)
        self._told = False

    def __call__(self, prompts: Sequence[Row | str], progress: Progress | None = None) -> list[str]:
        """The answers: new text only, without special tokens. See `generate`."""
        encoded = [encode(prompt, self.tokenizer) for prompt in prompts]
        samples = [0 if isinstance(one, str) else one.get("sample", 0) for one in prompts]
        new = self.answer_ids(encoded, progress, samples)
        return decode(new, self.tokenizer) if new else []

    def answer_ids(
        self,
        prompts: Sequence[Sequence[int]],
        progress: Progress | None = None,
        samples: Sequence[int] | None = None,
    ) -> list[list[int]]:
        """The new ids of every prompt (token ids), up to its end token and without it.

        Equal prompts are sampled apart by their numbers in `samples`.

        Raises:
            UserError: a prompt and its answer do not fit in the model's positions.
            torch.OutOfMemoryError: even one prompt alone does not fit in memory.
        """
        _check_length(self.model, prompts, self._settings.max_new_tokens)
        lengths = [len(ids) for ids in prompts]
        rule = self._rule() if min(self.batch_size, len(prompts)) > 1 else "any"
        with evaluation_mode(self.model), generation_settings(self.model, self._settings):
            answers, size = longest_first(
                lengths,
                lambda batch: _answer_batch(
                    self.model,
                    [prompts[i] for i in batch],
                    self._settings,
                    [samples[i] if samples else 0 for i in batch],
                ),
                1 if rule == "alone" else self.batch_size,
                progress,
                rule == "equal",
            )
        self.batch_size = self.batch_size if rule == "alone" else size
        return answers

    def _rule(self) -> Together:
        """Which prompts may share a batch; told the first time, where it is not any."""
        rule = together(self.model)
        if rule != "any" and not self._told:
            self._told = True
            logger.warning(_TOLD[rule], type(bare(self.model)).__name__)
        return rule


def generate(
    model: Model,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Row | str],
    max_new_tokens: int,
    batch_size: int,
    progress: Progress | None = None,
    temperature: float = 0.0,
) -> list[str]:
    """The model's answer to every prompt: new text only, without special tokens.

    A row is encoded as training encodes it (`holdfast.data.rows.prompt_ids`); a string is taken
    verbatim, with the start token where the tokenizer has one. How they are batched, and when an
    answer ends, is told at `Generator`.

    Args:
        model: a causal language model of transformers, bare or wrapped by PEFT.
        tokenizer: its tokenizer.
        prompts: rows (the answers that they may hold are not read) or texts.
        max_new_tokens: the longest answer, in tokens.
        batch_size: the most prompts at once.
        progress: called with (prompts done, prompts in all) after every batch.
        temperature: see `Generator`; 0 is greedy.

    Returns:
        One answer per prompt, in the order of `prompts`.

    Raises:
        UserError: a prompt and its answer do not fit in the model's positions.
        torch.OutOfMemoryError: even one prompt alone does not fit in memory.
    """
    return Generator(model, tokenizer, max_new_tokens, batch_size, temperature)(prompts, progress)


def positions(model: Model) -> int:
    """How many tokens the model can read at once; unlimited where its config names no number."""
    return getattr(model.config.get_text_config(), "max_position_embeddings", sys.maxsize)


def left_pad(rows: Sequence[Sequence[int]], pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and attention mask, both [rows, longest], with the padding on the left."""
    width = max(map(len, rows))
    ids = torch.tensor([[pad] * (width - len(row)) + list(row) for row in rows])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
    return ids, mask


def encode(prompt: Row | str, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The ids that the model reads before it answers a row, or a text taken verbatim.

    With ``prefill`` in a row they end with that, the beginning of the answer.

    Raises:
        UserError: there are none; as `holdfast.data.rows.prompt_ids`.
    """
    row: Row = {"prompt": prompt, "completion": ""} if isinstance(prompt, str) else prompt
    ids = prompt_ids(row, tokenizer)
    if begun := row.get("prefill"):
        ids = [*ids, *tokenizer(begun, add_special_tokens=False)["input_ids"]]
    if not ids:
        raise UserError("a prompt has no tokens, so there is nothing for the model to go on from")
    return ids


def decode(answers: list[list[int]], tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Answers as text, without special tokens, but with the marks of a thought, special or not."""
    special = set(tokenizer.all_special_ids)
    marks = [mark for pair in MARKS.items() for mark in pair]
    kept = special.intersection(map(tokenizer.convert_tokens_to_ids, marks))
    kept.discard(tokenizer.unk_token_id)  # what stands for a mark that the tokenizer does not know
    if not kept:
        return tokenizer.batch_decode(answers, skip_special_tokens=True)
    shown = [[token for token in ids if token in kept or token not in special] for ids in answers]
    return tokenizer.batch_decode(shown, skip_special_tokens=False)


def end_tokens(tokenizer: PreTrainedTokenizerBase, own: GenerationConfig | None) -> list[int]:
    """The ids that end an answer: the tokenizer's end of sequence, and the model's own ones.

    Raises:
        UserError: there is none.
    """
    given = own.eos_token_id if own else None
    known = [tokenizer.eos_token_id, *(given if isinstance(given, list) else [given])]
    ends = sorted({end for end in known if isinstance(end, int)})
    if not ends:
        raise UserError("the tokenizer has no end-of-sequence token, so no answer would ever end")
    return ends


def cut_at_end(ids: Sequence[int], ends: Iterable[int]) -> list[int]:
    """The ids before the first end token."""
    last = set(ends)
    return list(takewhile(lambda token: token not in last, ids))


def _check_length(model: Model, encoded: Sequence[Sequence[int]], max_new_tokens: int) -> None:
    longest = max(map(len, encoded), default=0)
    limit = positions(model)
    if longest + max_new_tokens > limit:
        raise UserError(
            f"a prompt of {longest} tokens and an answer of up to {max_new_tokens} do not fit in "
            f"the model's {limit} positions; shorten the prompt or lower max_new_tokens"
        )


def _settings(
    model: Model, tokenizer: PreTrainedTokenizerBase, max_new_tokens: int, temperature: float
) -> GenerationConfig:
    """Plain decoding, greedy at 0. Of the model's own settings only its end tokens are kept."""
    ends = end_tokens(tokenizer, model.generation_config)
    pad = tokenizer.pad_token_id
    return GenerationConfig(
        max_new_tokens=max_new_tokens,
        **(
            {"do_sample": True, "temperature": temperature, "top_p": 1.0, "top_k": 0}
            if temperature
            else {"do_sample": False}
        ),
        num_beams=1,
        use_cache=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=ends,
        pad_token_id=pad if pad is not None else ends[0],
    )


def _answer_batch(
    model: Model,
    batch: Sequence[Sequence[int]],
    settings: GenerationConfig,
    samples: Sequence[int],
) -> list[list[int]]:
    """The new ids of every row of a batch, up to its end token and without it."""
    ids, mask = left_pad(batch, settings.pad_token_id)
    with _drawn_by(batch, samples, model.device) if settings.do_sample else nullcontext():
        # Any: transformers types `generate` for a protocol that its own models do not declare.
        output = cast(Any, model).generate(
            input_ids=ids.to(model.device),
            attention_mask=mask.to(model.device),
            generation_config=settings,
        )
    # Rows that ended early are filled up with padding, which need not be a special token.
    new = output[:, ids.shape[1] :].tolist()
    return [cut_at_end(row, settings.eos_token_id) for row in new]


def check_dtype(model: Model, protocol: Protocol, wanted: str | None = None) -> None:
    """Check that the model is in the protocol's number format, or in that which is wanted of it.

    Raises:
        UserError: it is in another one.
    """
    wanted = wanted or protocol.dtype
    # The embeddings' format, since adapters and quantized layers have formats of their own.
    weight = model.get_input_embeddings().weight
    dtype = str(weight.dtype).removeprefix("torch.")
    if dtype != wanted:
        raise UserError(
            f"protocol {protocol.name} (version {protocol.version}) measures in {wanted}, "
            f"and the model is in {dtype}; load it with dtype={wanted}"
        )


@contextmanager
def _drawn_by(
    batch: Sequence[Sequence[int]], samples: Sequence[int], device: torch.device
) -> Iterator[None]:
    """Let chance follow from a batch alone; whoever else draws goes on as before."""
    content = json.dumps([list(map(list, batch)), list(samples)]).encode()
    # Of no other GPU: asked for its state it would be taken into use.
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(int(hashlib.sha256(content).hexdigest()[:15], 16))
        yield
