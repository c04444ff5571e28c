"""Perplexity against a loop that scores token after token, each in a forward pass of its own."""

import math
import random

import pytest
import torch

from holdfast.errors import UserError
from holdfast.evaluate.perplexity import SEPARATOR, perplexity
from tiny_models import lora, tiny_model

WORDS = random.Random(0)
TEXTS = [" ".join(f"w{WORDS.randint(4, 63)}" for _ in range(n)) for n in (13, 1, 25, 8)]
IDS = [int(word[1:]) for text in TEXTS for word in text.split()]  # blank lines are no tokens


def without_start(tokenizer):
    tokenizer.backend_tokenizer.post_processor = None
    return tokenizer


@torch.no_grad()
def nll(model, context: list[int], token: int) -> float:
    logits = model(input_ids=torch.tensor([context]), use_cache=False).logits[0, -1]
    return -math.log(float(logits.double().softmax(-1)[token]))


def contexts(window: int, stride: int, start: list[int]) -> list[list[int]]:
    """For each token what a window of `window` tokens with the given stride holds before it."""
    room, found, begin = window - len(start), [], 0
    for at in range(len(IDS)):
        if at >= begin + room:  # a new window, that ends `stride` later, or with the text
            begin = min(begin + stride, len(IDS) - room)
        found.append(start + IDS[begin:at])
    return found


@pytest.mark.parametrize("name", ["llama", "opt", "gemma2", "gpt_neox"])
@pytest.mark.parametrize(("window", "stride"), [(12, 1), (12, 4), (12, 5), (12, 10), (9, None)])
@pytest.mark.parametrize("starts", [True, False])
def test_windows_score_each_token_once(name, window, stride, starts, tokenizer):
    model = tiny_model(name, tie_word_embeddings=False).eval()
    start = [1] if starts else []
    if not starts:
        without_start(tokenizer)
    effective = stride or (window - len(start)) // 2
    before = contexts(window, effective, start)
    expected = [
        nll(model, context, token) for context, token in zip(before, IDS, strict=True) if context
    ]
    assert len(expected) == len(IDS) - (not starts)
    for size in (1, 3):
        found = perplexity(model, tokenizer, TEXTS, window, stride, size)
        assert found.tokens == len(expected)
        assert found.nll == pytest.approx(sum(expected), rel=1e-5)
        assert found.perplexity == pytest.approx(math.exp(sum(expected) / len(expected)), rel=1e-5)
        assert (found.window, found.stride) == (window, effective)


def test_stride_one_gives_each_token_all_the_window_holds(tokenizer):
    model = tiny_model("llama", tie_word_embeddings=False).eval()
    found = perplexity(model, tokenizer, TEXTS, max_length=8, stride=1)
    expected = [nll(model, [1, *IDS[max(0, at - 6) : at]], IDS[at]) for at in range(len(IDS))]
    assert found.nll == pytest.approx(sum(expected), rel=1e-5)


def test_a_window_as_long_as_the_text_is_one_pass(tokenizer):
    model = tiny_model("llama", tie_word_embeddings=False).eval()
    ids = torch.tensor([[1, *IDS]])
    with torch.no_grad():
        expected = float(model(input_ids=ids, labels=ids).loss)
    passes = []
    handle = model.register_forward_hook(lambda *_: passes.append(1))
    found = perplexity(model, tokenizer, TEXTS)  # the model's 256 positions
    handle.remove()
    assert passes == [1]
    assert found.perplexity == pytest.approx(math.exp(expected), rel=1e-5)
    assert found.window == 256
    assert found.tokens == len(IDS)
    size = len(SEPARATOR.join(TEXTS).encode())
    assert found.bytes == size
    assert found.bits_per_byte == pytest.approx(expected * len(IDS) / math.log(2) / size)


def test_bytes_are_those_of_the_scored_tokens(tokenizer):
    model = tiny_model("llama").eval()
    found = perplexity(model, without_start(tokenizer), ["w10 w5 w6"])
    assert found.tokens == 2
    assert found.bytes == len(" w5 w6")
    assert perplexity(model, tokenizer, ["w10 ü"]).bytes == len(" ü".encode())


def test_the_model_is_as_before(tokenizer):
    model = tiny_model("llama", attention_dropout=0.5)
    adapted = lora(model, init_lora_weights=False)
    done = []
    first = perplexity(adapted, tokenizer, TEXTS, 20, 7, 2, lambda k, n: done.append((k, n)))
    assert perplexity(adapted, tokenizer, TEXTS, 20, 7, 2) == first  # no dropout
    assert adapted.training
    assert done == [(26, 47), (40, 47), (47, 47)]
    with adapted.disable_adapter():
        assert perplexity(adapted, tokenizer, TEXTS, 20, 7, 2).nll != first.nll
    assert first.record()["tokens"] == 47


def test_mistakes_are_told(tokenizer):
    model = tiny_model("llama")
    for window in (257, 1, 0):
        with pytest.raises(UserError, match=r"window of .* reads at most 256"):
            perplexity(model, tokenizer, TEXTS, window)
    for stride in (0, 12, -1):
        with pytest.raises(UserError, match="stride must be 1 to 11"):
            perplexity(model, tokenizer, TEXTS, 12, stride)
    with pytest.raises(UserError, match="no token to score"):
        perplexity(model, tokenizer, [""])
    with torch.no_grad():
        model.lm_head.weight.fill_(float("nan"))
    with pytest.raises(UserError, match="not finite"):
        perplexity(model, tokenizer, TEXTS)
    without_start(tokenizer)
    with pytest.raises(UserError, match="stride must be 1 to 11"):
        perplexity(model, tokenizer, TEXTS, 12, 12)
    with pytest.raises(UserError, match="no token to score"):
        perplexity(model, tokenizer, ["w5"])


def test_perplexity_halves_its_batches(tokenizer, monkeypatch):
    model = tiny_model("llama").eval()
    texts = [" ".join(f"w{i % 60 + 4}" for i in range(150))]
    expected = perplexity(model, tokenizer, texts, 12, 5, 1)
    forward, sizes, told = model.forward, [], []

    def limited(input_ids, **more):
        sizes.append(len(input_ids))
        if len(input_ids) > 4:
            raise torch.OutOfMemoryError("no memory")
        return forward(input_ids=input_ids, **more)

    monkeypatch.setattr(model, "forward", limited)
    progress = lambda done, total: told.append((done, total))  # noqa: E731
    found = perplexity(model, tokenizer, texts, 12, 5, 16, progress)
    assert sizes[:3] == [16, 8, 4]
    assert set(sizes[3:-1]) == {4}
    assert found.nll == pytest.approx(expected.nll, rel=1e-6)
    assert told[-1] == (expected.tokens, expected.tokens)
    assert [done for done, _ in told] == sorted({done for done, _ in told})
