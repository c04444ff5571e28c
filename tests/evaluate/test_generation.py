"""Batched greedy answers against a plain loop: one prompt at a time, no cache, no padding."""

import logging
import random
import warnings

import pytest
import torch
from transformers import GenerationConfig

from holdfast.data.rows import tokenize
from holdfast.errors import UserError
from holdfast.evaluate.generation import Generator, encode, generate
from tiny_models import ARCHITECTURES, lora, tiny_model

NEW = 12


def make_prompts(count: int = 23) -> list[str]:
    words = random.Random(0)
    return [
        " ".join(f"w{words.randint(4, 63)}" for _ in range(words.randint(1, 20)))
        for _ in range(count)
    ]


def plain_answer(model, ids: list[int], ends: tuple[int, ...] = (2,), new: int = NEW) -> str:
    return " ".join(f"w{token}" for token in plain_ids(model, ids, ends, new) if token > 3)


@torch.no_grad()
def plain_ids(model, ids: list[int], ends: tuple[int, ...] = (2,), new: int = NEW) -> list[int]:
    was_training = model.training
    model.eval()
    answer: list[int] = []
    while len(answer) < new:
        logits = model(input_ids=torch.tensor([ids + answer]), use_cache=False).logits[0, -1]
        token = int(logits.argmax())
        if token in ends:
            break
        answer.append(token)
    model.train(was_training)
    return answer


def ids_of(prompt: str) -> list[int]:
    return [1] + [int(word[1:]) for word in prompt.split()]


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("side", ["left", "right"])
def test_batches_answer_as_a_plain_loop_does(name, side, tokenizer):
    # Tied embeddings of this size make a model repeat its last word, which no padding would change.
    model = tiny_model(name, tie_word_embeddings=False)
    tokenizer.padding_side = side
    prompts = make_prompts()
    answers = generate(model, tokenizer, prompts, NEW, batch_size=8)
    assert answers == [plain_answer(model, ids_of(prompt)) for prompt in prompts]
    assert len(set(answers)) > 8
    assert tokenizer.padding_side == side


# Windows shorter than most prompts: a mistake in the mask of padded rows shows behind them only.
WINDOWS = {"gemma2": 8, "gemma3": 8, "mistral": 8}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_batches_answer_token_for_token_as_one_by_one(name, tokenizer):
    window = {"sliding_window": WINDOWS[name]} if name in WINDOWS else {}
    model = tiny_model(name, tie_word_embeddings=False, **window)
    if name == "gemma2":
        assert model.config.layer_types == ["sliding_attention", "full_attention"]
    words = random.Random(1)
    lengths = [1, 60, 2, 45, 1, 7, 8, 9, 30, 3, 60, 1, 16, 5]
    ids = [[1] + [words.randint(4, 63) for _ in range(length)] for length in lengths]
    expected = [plain_ids(model, row) for row in ids]
    one_by_one = Generator(model, tokenizer, NEW, 1)
    assert [one_by_one.answer_ids([row])[0] for row in ids] == expected
    for size in (3, 14):
        assert Generator(model, tokenizer, NEW, size).answer_ids(ids) == expected
    assert len({tuple(row) for row in expected}) > 4
    if window:  # it does cut something off
        unlimited = tiny_model(name, tie_word_embeddings=False, sliding_window=4096)
        assert [plain_ids(unlimited, row) for row in ids] != expected


def test_answers_end_at_the_end_token(tokenizer):
    model = tiny_model("qwen2")
    lengths = {len(a.split()) for a in generate(model, tokenizer, make_prompts(), NEW, 23)}
    assert len(lengths) > 3
    assert max(lengths) == NEW


def test_the_padding_token_does_not_matter(tokenizer):
    model = tiny_model("qwen2")
    expected = generate(model, tokenizer, make_prompts(), NEW, 8)
    tokenizer.pad_token = "</s>"  # as many published tokenizers do
    assert generate(model, tokenizer, make_prompts(), NEW, 8) == expected
    tokenizer.pad_token = None
    assert generate(model, tokenizer, make_prompts(), NEW, 8) == expected
    assert tokenizer.pad_token is None


def test_rows_are_encoded_as_training_encodes_them(tokenizer):
    model = tiny_model("llama")
    rows = [
        {"instruction": "w5 w6", "input": "w7", "output": "w8"},
        {"instruction": "w9", "output": "w8 w10"},
        {"prompt": "w11 w12 w13", "completion": "w14"},
    ]
    expected = []
    for row in rows:
        tokens = tokenize(row, tokenizer, 256)
        prompt = tokens["input_ids"][: tokens["labels"].count(-100)]
        assert prompt.count(1) == 1  # one begin token
        expected.append(plain_answer(model, prompt))
    assert generate(model, tokenizer, rows, NEW, 8) == expected
    template = "{% for m in messages %}<s> {{ m.content }} w4 {% endfor %}"
    tokenizer.chat_template = template
    chat = generate(model, tokenizer, [{"messages": [{"role": "user", "content": "w5"}]}], NEW, 8)
    assert chat == [plain_answer(model, [1, 5, 4])]


def test_the_models_own_sampling_settings_are_set_aside(tokenizer, caplog):
    model = tiny_model("llama")
    expected = generate(model, tokenizer, make_prompts(), NEW, 8)
    own = GenerationConfig(
        do_sample=True,
        temperature=3.0,
        top_k=5,
        repetition_penalty=5.0,
        no_repeat_ngram_size=1,
        suppress_tokens=list(range(30, 64)),
        max_length=5,
        num_beams=3,
        eos_token_id=[2, 57],
        return_dict_in_generate=True,
    )
    model.generation_config = own
    library = logging.getLogger("transformers")
    library.addHandler(caplog.handler)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            answers = generate(model, tokenizer, make_prompts(), NEW, 8)
    finally:
        library.removeHandler(caplog.handler)
    assert not caplog.records
    assert model.generation_config is own
    # Its end tokens do count: a chat model has more than one.
    assert answers == [plain_answer(model, ids_of(p), ends=(2, 57)) for p in make_prompts()]
    assert answers != expected


def test_an_adapter_answers_as_a_plain_loop_does(tokenizer):
    base = tiny_model("llama")
    model = lora(base, init_lora_weights=False)
    own = model.generation_config
    answers = generate(model, tokenizer, make_prompts(), NEW, 8)
    assert answers == [plain_answer(model, ids_of(p)) for p in make_prompts()]
    with model.disable_adapter():
        assert generate(model, tokenizer, make_prompts(), NEW, 8) != answers
    assert model.generation_config is own
    assert model.get_base_model().generation_config is own


def modes(model) -> list[bool]:
    return [module.training for module in model.modules()]


def test_every_modules_mode_is_restored(tokenizer, monkeypatch):
    model = tiny_model("llama", attention_dropout=0.5)
    model.model.layers[0].eval()
    before = modes(model)
    once = generate(model, tokenizer, make_prompts(), NEW, 8)
    assert generate(model, tokenizer, make_prompts(), NEW, 8) == once  # no dropout
    assert modes(model) == before
    monkeypatch.setattr(model, "forward", lambda *args, **kwargs: 1 / 0)
    own = model.generation_config
    with pytest.raises(ZeroDivisionError):
        generate(model, tokenizer, make_prompts(), NEW, 8)
    assert modes(model) == before
    assert model.generation_config is own


def limit_batch(model, monkeypatch, largest: int) -> list[int]:
    """Let the model run out of memory above `largest` rows; the sizes that fitted are listed."""
    forward, sizes = model.forward, []

    def limited(*args, **kwargs):
        size = len(kwargs["input_ids"])
        if size > largest:
            raise torch.OutOfMemoryError("no memory")
        sizes.append(size)
        return forward(*args, **kwargs)

    monkeypatch.setattr(model, "forward", limited)
    return sizes


def test_out_of_memory_halves_the_batch_and_goes_on(tokenizer, monkeypatch, caplog):
    model = tiny_model("qwen2")
    expected = generate(model, tokenizer, make_prompts(), NEW, 23)  # asks about its padding, too
    sizes = limit_batch(model, monkeypatch, 5)
    done = []
    answers = generate(
        model, tokenizer, make_prompts(), NEW, 64, progress=lambda k, n: done.append((k, n))
    )
    assert answers == expected
    assert set(sizes) == {5, 3}  # 23 → 11 → 5, and the 3 that are left
    assert done == [(5, 23), (10, 23), (15, 23), (20, 23), (23, 23)]
    assert "with 5 at once" in caplog.text
    sizes.clear()
    generator = Generator(model, tokenizer, NEW, 64)
    assert generator(make_prompts()) + generator(make_prompts()[:10]) == expected + expected[:10]
    assert set(sizes) == {5, 3}  # the second call does not try the larger batch again
    assert generator.batch_size == 5
    limit_batch(model, monkeypatch, 0)
    with pytest.raises(torch.OutOfMemoryError):
        generate(model, tokenizer, make_prompts(), NEW, 64)


def test_a_prompt_is_encoded_with_the_start_token(tokenizer):
    assert encode("w5 w6", tokenizer) == [1, 5, 6]
    assert encode({"prompt": "w5", "completion": "w6"}, tokenizer) == [1, 5]
    tokenizer.bos_token = None
    tokenizer.backend_tokenizer.post_processor = None
    with pytest.raises(UserError, match="no tokens"):
        encode("", tokenizer)


def test_nothing_to_answer(tokenizer):
    assert generate(tiny_model("llama"), tokenizer, [], NEW, 8) == []


def test_mistakes_are_told(tokenizer):
    model = tiny_model("llama", max_position_embeddings=16)
    assert len(generate(model, tokenizer, ["w5 w6 w7"], 12, 1)) == 1
    with pytest.raises(UserError, match=r"4 tokens and an answer of up to 13 .* 16 positions"):
        generate(model, tokenizer, ["w5 w6 w7"], 13, 1)
    with pytest.raises(UserError, match="batch_size >= 1"):
        generate(model, tokenizer, ["w5"], 4, 0)
    tokenizer.eos_token = None
    model.generation_config.eos_token_id = None
    with pytest.raises(UserError, match="no end-of-sequence token"):
        generate(model, tokenizer, ["w5"], 4, 1)
