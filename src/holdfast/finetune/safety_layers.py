"""Where a model's safety layers are: the search of the SPPFT paper, with what a fine-tuning has.

1. By angles. v_k(x) [hidden] is layer k's output at a prompt's last token. Where the mean gap

       g_k = mean ∠(v_k(n), v_k(m)) − mean ∠(v_k(n), v_k(n'))        n, n' normal, m harmful

   appears and grows fastest the model begins to tell the two kinds apart: the first range [i, j],
   here the layers around the fastest growth in which the gap grows more than in their mean.
2. By scaling. The matrices of layers a … b are multiplied by α, and R[a, b] says how strongly the
   model then rejects prompts that it should not. With a = i the upper bound moves from j to where R
   is larger on neither side; with it there the lower bound moves from i likewise.

The paper draws 500 pairs of 100 + 100 prompts, reads i and j off a curve, and counts as R the
rejections of 721 prompts that only look harmful. Such prompts are not at hand here: R is the mean
log-probability that a normal prompt is answered with the beginning (four tokens) that most harmful
ones are answered with. Its published ranges, of counted rejections: layers 6 to 12 of Llama-3-8B-
Instruct, 6 to 14 of Llama-2-7b-chat, 11 to 15 of Phi-3-mini-4k, 6 to 11 of gemma-2b-it.

Source: S. Li et al., arXiv 2408.17003, sections 3.2 to 3.5 and A.3. unverified: that these ranges
are counted from 0; the rule for i and j, which is ours.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from itertools import combinations, product
from typing import Any

import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from holdfast.errors import UserError
from holdfast.models.blocks import decoder_layers
from holdfast.models.modes import evaluation_mode
from holdfast.models.outputs import recorded, tensor_of

PROMPTS = 100  # of each kind, as in the paper
BEGINNING = 4  # tokens of an answer; the paper reads 4 to 8
_LEAST = 0.1  # the share of harmful prompts that are to be answered alike

Prompt = Sequence[int]


@torch.no_grad()
def find_safety_layers(
    model: Any, normal: Sequence[Prompt], harmful: Sequence[Prompt], scale: float
) -> tuple[int, int]:
    """The first and the last safety layer, counted from 0.

    Args:
        model: an aligned causal language model; as it was afterwards.
        normal: prompts as tokens, two at least; the first `PROMPTS` are read.
        harmful: harmful prompts, likewise.
        scale: α.

    Raises:
        UserError: too few prompts, or most harmful ones are answered in ways of their own; the
            model puts out what is no number.
    """
    normal, harmful = normal[:PROMPTS], harmful[:PROMPTS]
    if len(normal) < 2 or not harmful:
        raise UserError("the search for safety layers needs two normal prompts and a harmful one.")
    with evaluation_mode(model):
        beginning = common_beginning([_greedy(model, prompt) for prompt in harmful])
        gaps = angle_gaps(*(torch.stack([_states(model, p) for p in k]) for k in (normal, harmful)))

        def rejection(a: int, b: int) -> float:
            with scaled(decoder_layers(model)[a : b + 1], scale):
                found = [_log_probability(model, prompt, beginning) for prompt in normal]
            return sum(_finite(found)) / len(found)

        return localized(rejection, *first_range(_finite(gaps.tolist())), len(gaps))


def angle_gaps(normal: Tensor, harmful: Tensor) -> Tensor:
    """g_k in radians, [layers], of outputs [prompts, layers, hidden]; over all pairs."""

    def mean(pairs: Iterator[tuple[Tensor, Tensor]]) -> Tensor:
        angles = [torch.cosine_similarity(a, b, dim=-1).clamp(-1, 1).acos() for a, b in pairs]
        return torch.stack(angles).mean(0)

    normal, harmful = normal.double(), harmful.double()
    return mean(product(normal, harmful)) - mean(combinations(normal, 2))


def first_range(gaps: Sequence[float]) -> tuple[int, int]:
    """The layers in a row, with the one of the fastest growth, whose growth is above the mean.

    What is there after layer 0 is the words' own difference, and no growth.
    """
    growth = [after - before for before, after in zip([gaps[0], *gaps], gaps, strict=False)]
    least = sum(growth) / max(1, len(growth) - 1)
    i = j = max(range(len(growth)), key=lambda k: growth[k])
    while i > 0 and growth[i - 1] > least:
        i -= 1
    while j + 1 < len(growth) and growth[j + 1] > least:
        j += 1
    return i, j


def localized(
    rejection: Callable[[int, int], float], i: int, j: int, layers: int
) -> tuple[int, int]:
    """The range after its upper and then its lower bound went on as long as R rises.

    Args:
        rejection: R[a, b], of the range's both ends.
        i: the first range's first layer.
        j: its last one.
        layers: how many layers the model has.
    """
    upper = _climb(lambda b: rejection(i, b), j, range(i, layers))
    return _climb(lambda a: rejection(a, upper), i, range(upper + 1)), upper


def _climb(height: Callable[[int], float], at: int, places: range) -> int:
    """The next place from ``at`` on, always to the higher side, with no higher one beside it."""
    known = cache(height)
    while True:
        beside = [place for place in (at - 1, at + 1) if place in places]
        best = max(beside, key=known, default=at)
        if known(best) <= known(at):
            return at
        at = best


def common_beginning(answers: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """What most answers to harmful prompts begin with, the model's rejection.

    Raises:
        UserError: it is rare.
    """
    beginning, count = Counter(answers).most_common(1)[0]
    if count < _LEAST * len(answers):
        raise UserError(
            f"the model begins {count} of {len(answers)} answers to harmful prompts alike, so that "
            "none tells that it rejects them: name its safety layers (layers=named)."
        )
    return beginning


@contextmanager
def scaled(layers: Sequence[nn.Module], scale: float) -> Iterator[None]:
    """Within the context the layers' matrices, adapters with them, are ``scale`` times as large."""

    def larger(module: Any, _inputs: Any, output: Tensor) -> Tensor:
        bias = getattr(module, "bias", None)
        return scale * output if bias is None else scale * (output - bias) + bias

    with ExitStack() as stack:
        for module in (found for layer in layers for found in _matrices(layer)):
            stack.callback(module.register_forward_hook(larger).remove)
        yield


def _matrices(module: nn.Module) -> Iterator[nn.Module]:
    for child in module.children():
        base = child.get_base_layer() if isinstance(child, LoraLayer) else child
        if isinstance(base, nn.Linear | Conv1D):
            yield child
        else:
            yield from _matrices(child)


def _states(model: Any, prompt: Prompt) -> Tensor:
    layers = decoder_layers(model)
    with recorded(layers) as found:
        model(_ids(model, prompt))
    return torch.stack([tensor_of(found[k])[0, -1].float().cpu() for k in range(len(layers))])


def _greedy(model: Any, prompt: Prompt) -> tuple[int, ...]:
    answer: list[int] = []
    for _ in range(BEGINNING):
        answer.append(int(model(_ids(model, [*prompt, *answer])).logits[0, -1].argmax()))
    return tuple(answer)


def _log_probability(model: Any, prompt: Prompt, answer: Sequence[int]) -> float:
    ids = _ids(model, [*prompt, *answer])
    log_p = model(ids).logits[0, len(prompt) - 1 : -1].float().log_softmax(-1)
    return float(log_p.gather(1, ids[0, len(prompt) :, None].to(log_p.device)).sum())


def _finite(values: list[float]) -> list[float]:
    if not all(map(math.isfinite, values)):
        raise UserError(
            "the search for safety layers meets outputs of the model that are not finite numbers: "
            "give another dtype, or name the layers (layers=named)."
        )
    return values


def _ids(model: Any, tokens: Sequence[int]) -> Tensor:
    return torch.tensor([list(tokens)], device=model.get_input_embeddings().weight.device)
