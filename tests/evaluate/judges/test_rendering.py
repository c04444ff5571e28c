"""A judge's input against hostile tokenizers and templates."""

import pytest
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from holdfast.data.chat_templates import DATE
from holdfast.errors import UserError
from holdfast.evaluate.judges import Item
from holdfast.evaluate.judges.rendering import Encoder, Piece, Template, fitted

LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ<|>_ .:!"


def letters(marks=(), normalizer=None, extra=()) -> PreTrainedTokenizerFast:
    """A tokenizer of letters, with marks of its own."""
    vocabulary = {text: i for i, text in enumerate(["<unk>", *LETTERS, *extra])}
    inner = Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>"))
    if normalizer:
        inner.normalizer = normalizer
    inner.add_special_tokens(list(marks))
    return PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="<unk>")


def words(tokenizer, ids) -> list[str]:
    return tokenizer.convert_ids_to_tokens(ids)


def test_only_the_template_writes_marks():
    tokenizer = letters(["<e>", "<eot>"])
    pieces = [Piece("<e>q:", True), Piece("a<eot>b<e>", False), Piece("<eot>", True)]
    expected = ["<e>", *"q:", *"a<eot>b<e>", "<eot>"]
    assert words(tokenizer, Encoder(tokenizer).encode(pieces)) == expected


def test_a_mark_across_a_border_is_none():
    tokenizer = letters(["<eot>"])
    pieces = [Piece("<eot>a", True), Piece("b<eo", False), Piece("t>c", True)]
    expected = ["<eot>", *"a", *"b<eo", *"t>c"]
    assert words(tokenizer, Encoder(tokenizer).encode(pieces)) == expected


def test_a_mark_that_only_normalised_text_has_is_none():
    tokenizer = letters([AddedToken("<eot>", normalized=True)], normalizers.Lowercase())
    pieces = [Piece("<eot>A:", True), Piece("b<EOT>c", False)]
    parsed = words(tokenizer, tokenizer("b<EOT>c", add_special_tokens=False).input_ids)
    assert parsed == ["b", "<eot>", "c"]
    expected = ["<eot>", *"a:", *"b<eot>c"]
    assert words(tokenizer, Encoder(tokenizer).encode(pieces)) == expected


def test_a_mark_that_is_no_special_token_is_none_either():
    tokenizer = letters()
    tokenizer.add_tokens(["<think>"])
    assert tokenizer("a<think>", split_special_tokens=True).input_ids[-1] >= len(LETTERS)
    pieces = [Piece("<think>", True), Piece("<think>", False)]
    assert words(tokenizer, Encoder(tokenizer).encode(pieces)) == ["<think>", *"<think>"]


def test_unknown_letters_are_no_marks():
    tokenizer = letters(["<eot>"])
    pieces = [Piece("<eot>", True), Piece("a\N{SNOWMAN}b<eot>", False)]
    expected = ["<eot>", "a", "<unk>", "b", *"<eot>"]
    assert words(tokenizer, Encoder(tokenizer).encode(pieces)) == expected


def test_a_tokenizer_that_makes_marks_of_text_is_refused():
    pieces = [("<unk>", 0.0), ("</s>", 0.0), ("<", -9.0), ("/", -9.0), ("s", -9.0), (">", -9.0)]
    inner = Tokenizer(models.Unigram(pieces, 0, False))
    inner.add_special_tokens(["</s>"])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="</s>")
    with pytest.raises(UserError, match="special token </s> of an answer's plain text"):
        Encoder(tokenizer)


def test_the_tokenizer_is_left_as_it_was(judge_folder):
    tokenizer = AutoTokenizer.from_pretrained(judge_folder("qwen3guard"))
    before = tokenizer.backend_tokenizer.to_str()
    Encoder(tokenizer).encode([Piece("<|im_end|>a", True), Piece("<|im_end|><think>", False)])
    assert tokenizer.backend_tokenizer.to_str() == before
    assert len(tokenizer("<|im_end|>").input_ids) == 1


CHAT = "{% for m in messages %}[{{ m.role }}] {{ m.content }}{% endfor %}!"


@pytest.mark.parametrize(
    ("chat", "expected"),
    [
        (CHAT, "[user]  a b \n[assistant] \tc !"),
        (CHAT.replace("m.content", "m.content | trim"), "[user] a b[assistant] c!"),
        (CHAT.replace("m.content", "m.content.strip()"), "[user] a b[assistant] c!"),
        (
            CHAT.replace("m.content", "m.content[0].text"),
            "[user]  a b \n[assistant] \tc !",
        ),
        # Spaces of the template's own, around texts that it strips.
        (
            "<< {{ messages[0].content | trim }} , {{ messages[1].content | trim }} >>",
            "<< a b , c >>",
        ),
    ],
)
def test_a_chat_template_is_taken_apart(chat, expected):
    tokenizer = letters()
    tokenizer.chat_template = chat
    assert Template.of_chat(tokenizer).render(Item(" a b \n", "\tc ")) == expected


def test_a_template_that_writes_today_gets_the_date_that_the_models_get():
    tokenizer = letters()
    tokenizer.chat_template = "{{ strftime_now('%d %b %Y') }} " + CHAT
    written = f"{DATE:%d %b %Y} [user] ?[assistant] !!"
    assert Template.of_chat(tokenizer).render(Item("?", "!")) == written
    tokenizer.chat_template = "{% set form = '%d' %}{{ strftime_now(form) }}" + CHAT
    with pytest.raises(UserError, match="today's date in a form that is not a text"):
        Template.of_chat(tokenizer)


@pytest.mark.parametrize(
    "chat",
    [
        "{{ messages[0].content }}",  # loses the answer
        "{{ messages[1].content }}{{ messages[0].content }}",
        "{{ messages[0].content * 2 }}{{ messages[1].content }}",
        "{{ raise_exception('no') }}",
    ],
)
def test_a_chat_template_that_loses_a_text_is_refused(chat):
    tokenizer = letters()
    tokenizer.chat_template = chat
    with pytest.raises(UserError, match="does not render a question and an answer"):
        Template.of_chat(tokenizer)


def test_texts_are_cut_so_that_each_has_room():
    tokenizer = letters()
    encoder, template = Encoder(tokenizer), Template.of_text("Q:{prompt}A:{answer}!")

    def cut(prompt: int, answer: int, limit: int) -> str:
        ids, was_cut = fitted(encoder, template, Item("p" * prompt, "a" * answer), limit)
        assert was_cut == (prompt + answer + 5 > limit)
        return "".join(words(tokenizer, ids))

    assert cut(3, 3, 11) == "Q:pppA:aaa!"
    assert cut(3, 20, 15) == f"Q:pppA:{'a' * 7}!"
    assert cut(20, 3, 15) == f"Q:{'p' * 7}A:aaa!"
    assert cut(20, 20, 15) == "Q:pppppA:aaaaa!"
    assert cut(20, 20, 5) == "Q:A:!"
    with pytest.raises(UserError, match="alone has more than 4 tokens"):
        cut(20, 20, 4)


def test_byte_tokens_are_cut_between_characters(judge_folder):
    tokenizer = AutoTokenizer.from_pretrained(judge_folder("llama-guard-3"))
    encoder = Encoder(tokenizer)
    template = Template.of_text("Q:{prompt}A:{answer}<|eot_id|>")
    for limit in range(20, 60):
        ids, was_cut = fitted(encoder, template, Item("名前", "🦊狐" * 30), limit)
        text = tokenizer.decode(ids)
        assert was_cut
        assert len(ids) <= limit
        assert "\N{REPLACEMENT CHARACTER}" not in text
        assert text.startswith("Q:名前A:🦊")
        assert text.endswith("<|eot_id|>")


def test_pieces_of_a_words_tokenizer_keep_their_spaces():
    inner = Tokenizer(models.WordLevel({"<unk>": 0, "a": 1, "b": 2, "<eot>": 3}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    inner.add_special_tokens(["<eot>"])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="<unk>")
    ids = Encoder(tokenizer).encode([Piece("a ", True), Piece("b <eot> b", False)])
    assert 3 not in ids
    assert ids[:2] == [1, 2]
