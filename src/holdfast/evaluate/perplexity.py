"""Perplexity of a text, in windows that overlap: every token is scored once, with enough context.

    PPL = exp(−(1/N) Σ_i log p(t_i | what the window holds before t_i))

N is the number of scored tokens. The published numbers of this field come from windows of some
twenty tokens and tell nothing; those of pruning and quantisation come from windows of 2,048 tokens
side by side (stride = window), whose first tokens have hardly any context.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import torch
from torch.nn.functional import cross_entropy
from transformers import PreTrainedTokenizerBase

from holdfast.data.rows import prompt_ids
from holdfast.errors import UserError
from holdfast.evaluate.batching import longest_first
from holdfast.evaluate.generation import positions
from holdfast.models.modes import evaluation_mode

if TYPE_CHECKING:
    from holdfast.evaluate.generation import Model

# What joins the rows of WikiText-2: the convention of the GPTQ, SparseGPT and Wanda papers' code.
SEPARATOR = "\n\n"
# Longest window by default, Llama-2's context: a longer one would need much memory.
LONGEST = 4096


@dataclass(frozen=True)
class Perplexity:
    """What `perplexity` found.

    Args:
        perplexity: exp of the mean negative log-likelihood per token; depends on the tokenizer.
        bits_per_byte: The same likelihood in bits per byte of UTF-8, which models with different
            tokenizers can be compared by.
        nll: The sum of the negative log-likelihoods, in nats.
        tokens: How many tokens were scored.
        bytes: How many bytes of text they stand for.
        window: The longest window, in tokens, the start token included.
        stride: How many new tokens each window scores.
    """

    perplexity: float
    bits_per_byte: float
    nll: float
    tokens: int
    bytes: int
    window: int
    stride: int

    def record(self) -> dict[str, float | int]:
        """Every field by its name."""
        return asdict(self)


def perplexity(
    model: Model,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    max_length: int | None = None,
    stride: int | None = None,
    batch_size: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Perplexity:
    """The perplexity of a model on texts, which are read as one, joined by blank lines.

    Where the tokenizer puts a start token before a text, every window begins with it, since the
    model has seen no text without it, and all tokens of the text are scored. Elsewhere nothing
    precedes the very first token, which is not scored.

    A window ends `stride` tokens after the one before it and scores those; what precedes them, as
    far as it fits in the window, is their context. So each token is scored once, and all but those
    of the first window have at least window − stride tokens before them.

    Args:
        model: a causal language model of transformers, bare or wrapped by PEFT.
        tokenizer: its tokenizer.
        texts: the rows of WikiText-2's test split, say, as they are.
        max_length: the window in tokens; None is the model's context, at most 4,096.
        stride: how many new tokens a window scores; None is half of the window.
        batch_size: how many windows are read at once; halved where memory runs out.
        progress: called with (tokens scored, tokens to score) after each batch.

    Raises:
        UserError: too short a text, a window that the model cannot read, or an impossible stride.
    """
    text = SEPARATOR.join(texts)
    ids = list(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])
    start = prompt_ids({"prompt": "", "completion": ""}, tokenizer)
    limit = positions(model)
    window = min(limit, LONGEST) if max_length is None else max_length
    room = window - len(start)  # for tokens of the text
    largest = room if start else room - 1
    if window > limit or largest < 1:
        raise UserError(
            f"a window of {window} tokens does not do: the model reads at most {limit}, and each "
            "token needs one before it"
        )
    stride = max(1, room // 2) if stride is None else stride
    if not 1 <= stride <= largest:
        raise UserError(f"stride must be 1 to {largest} in a window of {window}, and is {stride}")
    first = 0 if start else 1
    if len(ids) <= first:
        raise UserError("the text has no token to score: perplexity needs more text")
    with torch.no_grad(), evaluation_mode(model):
        # All windows are equally long, so none needs padding.
        windows = list(_windows(len(ids), first, room, stride))

        def score(numbers: list[int]) -> list[float]:
            batch = [windows[number] for number in numbers]
            rows = [start + ids[begin:end] for begin, _, end in batch]
            return _nll(model, torch.tensor(rows), [end - fresh for _, fresh, end in batch])

        def told(done: int, _total: int) -> None:
            if progress:
                progress(windows[done - 1][2] - first, len(ids) - first)

        each, _ = longest_first([window] * len(windows), score, batch_size, told)
    nll, scored = math.fsum(each), len(ids) - first
    mean = nll / scored
    if not math.isfinite(mean):
        raise UserError(
            "the likelihood of the text is not finite (NaN or infinite): the model is broken, or "
            "its dtype is too narrow for it"
        )
    size = len(text.encode("utf-8", "surrogatepass"))
    if first:
        size -= len(str(tokenizer.decode(ids[:1])).encode("utf-8"))
    return Perplexity(
        perplexity=math.exp(mean) if mean < 700 else math.inf,
        bits_per_byte=nll / math.log(2) / size,
        nll=nll,
        tokens=scored,
        bytes=size,
        window=window,
        stride=stride,
    )


def _windows(total: int, first: int, room: int, stride: int) -> Iterator[tuple[int, int, int]]:
    """(begin, first token to score, end) of each window, in positions of the text."""
    fresh, end = first, min(room, total)
    while True:
        yield max(0, end - room), fresh, end
        if end == total:
            return
        fresh, end = end, min(end + stride, total)


def _nll(model: Model, ids: torch.Tensor, new: Sequence[int]) -> list[float]:
    """Σ of −log p, in nats, of the last `new[i]` tokens of each row i of ids, [rows, window]."""
    keep = max(new) + 1  # logits of the scored tokens' predecessors, and of the last token
    logits = model(input_ids=ids.to(model.device), use_cache=False, logits_to_keep=keep).logits[
        :, -keep:-1
    ]
    totals = []
    for row, targets, count in zip(logits, ids, new, strict=True):
        losses = cross_entropy(
            row[-count:].float(), targets[-count:].to(row.device), reduction="sum"
        )
        totals.append(float(losses))
    return totals
