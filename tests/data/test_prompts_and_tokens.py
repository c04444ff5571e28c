"""Rendering and tokenization, against strings and ids written out by hand."""

import numpy as np
import pytest
from byte_tokens import byte_tokenizer

from holdfast.data import rows as data
from holdfast.data.prompts import shape
from holdfast.data.rendering import answer_text, prompt_text
from holdfast.errors import UserError

CHATML = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
WITHOUT_INPUT = (
    "Below is an instruction that describes a task. Write a response that appropriately completes "
    "the request.\n\n### Instruction:\nName a river.\n\n### Response:\n"
)
WITH_INPUT = (
    "Below is an instruction that describes a task, paired with an input that provides further "
    "context. Write a response that appropriately completes the request.\n\n"
    "### Instruction:\nName a river.\n\n### Input:\nin {Ulmen}\n\n### Response:\n"
)
ALPACA = {"instruction": "Name a river.", "output": "The Ost."}
MESSAGES = {
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Name a river."},
        {"role": "assistant", "content": "The Ost."},
    ]
}


@pytest.fixture(scope="module")
def plain():
    return byte_tokenizer()


@pytest.fixture(scope="module")
def chat():
    return byte_tokenizer(template=CHATML, eos="<|end|>")


@pytest.mark.parametrize("empty", [{}, {"input": ""}, {"input": None}])
def test_alpaca_template_without_input(plain, empty):
    assert prompt_text(ALPACA | empty, plain) == WITHOUT_INPUT
    assert answer_text(ALPACA | empty, plain) == "The Ost."


def test_alpaca_template_with_input_and_braces(plain):
    assert prompt_text(ALPACA | {"input": "in {Ulmen}"}, plain) == WITH_INPUT


def test_alpaca_and_messages_use_a_chat_template(chat):
    assert prompt_text(ALPACA, chat) == "<|user|>Name a river.<|end|>\n<|assistant|>"
    with_input = prompt_text(ALPACA | {"input": "in Ulmen"}, chat)
    assert with_input == "<|user|>Name a river.\n\nin Ulmen<|end|>\n<|assistant|>"
    assert prompt_text(MESSAGES, chat) == (
        "<|system|>Be brief.<|end|>\n<|user|>Name a river.<|end|>\n<|assistant|>"
    )
    assert answer_text(MESSAGES, chat) == "The Ost."


def test_prompt_completion_is_verbatim_or_chat(chat):
    assert prompt_text({"prompt": " Q: ", "completion": " A "}, chat) == " Q: "
    assert answer_text({"prompt": " Q: ", "completion": " A "}, chat) == " A "
    split = {"prompt": MESSAGES["messages"][:2], "completion": MESSAGES["messages"][2:]}
    assert data.tokenize(split, chat, 500) == data.tokenize(MESSAGES, chat, 500)


def test_a_prompt_needs_no_answer(plain, chat):
    assert prompt_text({"instruction": "Name a river."}, plain) == WITHOUT_INPUT
    assert prompt_text({"prompt": "Q"}, plain) == "Q"
    asked = {"messages": MESSAGES["messages"][:2]}
    assert prompt_text(asked, chat) == prompt_text(MESSAGES, chat)


def test_tokens_are_prompt_answer_and_end(plain):
    tokens = data.tokenize({"prompt": "ab", "completion": "c"}, plain, 10)
    a, b, c = (plain.convert_tokens_to_ids(letter) for letter in "abc")
    assert tokens == {
        "input_ids": [0, a, b, c, 1],
        "attention_mask": [1, 1, 1, 1, 1],
        "labels": [-100, -100, -100, c, 1],  # the end is trained although it is also the padding
    }


@pytest.mark.parametrize("row", [ALPACA, MESSAGES, {"prompt": "ab", "completion": "c<|end|>"}])
def test_evaluation_prompt_is_a_strict_prefix_and_one_end_follows(chat, row):
    tokens = data.tokenize(row, chat, 500)
    prompt = data.prompt_ids(row, chat)
    ids, end = tokens["input_ids"], chat.eos_token_id
    assert ids[: len(prompt)] == prompt
    assert len(ids) > len(prompt)
    assert tokens["labels"] == [-100] * len(prompt) + ids[len(prompt) :]
    assert ids[-1] == end
    assert ids[len(prompt) :].count(end) == 1
    assert chat.decode(ids) == (chat.decode(prompt) + answer_text(row, chat) + "<|end|>")


@pytest.mark.parametrize(
    ("single", "start"),
    [
        ("$A", []),
        ("<s> $A", [0]),
        ("<s> $A </s>", [0]),
        ("$A </s>", []),
        ("[gMASK] <s> $A", [3, 0]),
    ],
)
def test_special_tokens_of_the_tokenizer_stand_once_at_the_start(single, start):
    tokenizer = byte_tokenizer(single)
    a = tokenizer.convert_tokens_to_ids("a")
    assert data.prompt_ids({"prompt": "a"}, tokenizer) == [*start, a]
    assert data.tokenize({"prompt": "a", "completion": "a"}, tokenizer, 9)["input_ids"] == [
        *start, a, a, 1,
    ]  # fmt: skip


def test_a_begin_token_that_is_written_out_is_not_doubled(plain):
    a = plain.convert_tokens_to_ids("a")
    assert data.prompt_ids({"prompt": "<s>a"}, plain) == [0, a]
    template = byte_tokenizer(template="<s>{{ messages[0].content }}")
    assert data.prompt_ids({"messages": [{"role": "user", "content": "a"}]}, template) == [0, a]


def test_truncation_is_on_the_right_and_keeps_part_of_the_answer(plain):
    row = {"prompt": "abc", "completion": "defg"}
    whole = data.tokenize(row, plain, 9)
    assert len(whole["input_ids"]) == 9
    assert whole["labels"][-1] == plain.eos_token_id
    for length in range(5, 9):
        tokens = data.tokenize(row, plain, length)
        assert tokens == {key: values[:length] for key, values in whole.items()}


@pytest.mark.parametrize("max_length", [1, 4])
def test_an_answer_cut_off_whole_names_row_and_lengths(plain, max_length):
    rows = [{"prompt": "", "completion": "x" * 9}, {"prompt": "abc", "completion": "defg"}]
    with pytest.raises(UserError, match=r"row 2: .*4 tokens.*answer 5.*max_length is") as caught:
        data.tokenize_rows(rows, plain, max(max_length, 4))
    assert "max_length is 4" in str(caught.value)
    with pytest.raises(UserError, match="cut off"):
        data.tokenize(rows[1], plain, max_length)


def test_an_empty_prompt_without_begin_token_still_trains_something():
    bare = byte_tokenizer("$A")
    row = {"prompt": "", "completion": "ab"}
    assert data.tokenize(row, bare, 2)["labels"][1] != data.IGNORED
    with pytest.raises(UserError, match="cut off"):
        data.tokenize(row, bare, 1)


def test_tokenized_rows_pass_through_untouched(plain):
    row = {
        "input_ids": [5, 6, 7],
        "attention_mask": [1, 1, 1],
        "labels": [-100, 6, 7],
        "extra": "x",
    }
    assert data.tokenize(row, plain, 1) is row
    assert data.prompt_ids(row, plain) == [5]
    arrays = {name: np.array(row[name]) for name in ("input_ids", "attention_mask", "labels")}
    assert data.tokenize(arrays, plain, 1) is arrays


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": [-100, 6]}, "equally long.*3, 3 and 2"),
        ({"labels": [7, -100, -100]}, "trains nothing"),
        ({"attention_mask": float("nan")}, "'attention_mask' is nan; it must be a list of whole"),
        ({"labels": [-100, 6.5, 7]}, r"'labels' is \[-100, 6.5, 7\]; it must be a list of whole"),
        ({"input_ids": "5 6"}, "'input_ids' is '5 6'; it must be a list of whole"),
    ],
)
def test_tokenized_rows_are_checked(plain, change, message):
    row = {"input_ids": [5, 6, 7], "attention_mask": [1, 1, 1], "labels": [-100, 6, 7]} | change
    with pytest.raises(UserError, match=message):
        data.tokenize(row, plain, 9)


def test_a_template_that_rewrites_the_prompt_is_refused():
    thinking = byte_tokenizer(
        template="{% for m in messages %}{{ m.content }}{% endfor %}"
        "{% if add_generation_prompt %}<think>{% endif %}"
    )
    with pytest.raises(UserError, match="no prefix"):
        data.tokenize(MESSAGES, thinking, 500)


def test_a_template_that_refuses_the_row_says_why():
    picky = byte_tokenizer(template="{{ raise_exception('no system role here') }}")
    with pytest.raises(UserError, match="no system role here"):
        data.tokenize(MESSAGES, picky, 500)


def test_messages_without_a_chat_template_are_refused(plain):
    with pytest.raises(UserError, match="no chat template"):
        prompt_text(MESSAGES, plain)


def test_a_tokenizer_without_an_end_is_refused():
    with pytest.raises(UserError, match="eos_token"):
        data.tokenize(ALPACA, byte_tokenizer(eos=None, pad="<s>"), 500)


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        (ALPACA | {"facts": [1]}, "alpaca"),
        (MESSAGES | {"prompt": "also here"}, "messages"),
        (ALPACA | {"prompt": "also here"}, "alpaca"),
        (ALPACA | {"messages": None}, "alpaca"),
        ({"prompt": "a", "completion": "b"}, "prompt-completion"),
    ],
)
def test_shapes_are_told_apart_by_complete_columns(row, kind):
    assert shape(row) == kind


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"instruction": "a"}, "'output' is missing: the row has 'instruction'"),
        ({"output": "a"}, "'instruction' is missing"),
        ({"prompt": "a"}, "'completion' is missing"),
        ({"text": "a"}, "'text'.* no known kind of row"),
        ({}, "no known kind of row"),
        (ALPACA | {"output": " \n"}, "'output'.* empty"),
        (ALPACA | {"output": float("nan")}, r"'output' is an empty cell \(NaN\)"),
        (ALPACA | {"output": 7}, "'output' must be text, and is int: 7"),
        (ALPACA | {"input": ["a"]}, "'input' must be text"),
        (
            {"prompt": "a", "completion": [{"role": "a", "content": "b"}]},
            "'completion' must be text",
        ),
        ({"prompt": [{"role": "user", "content": "a"}], "completion": "b"}, "'completion' must be"),
        ({"prompt": 3, "completion": "b"}, "'prompt' must be text or a list"),
        ({"messages": "a"}, "'messages' must be a list"),
        ({"messages": [{"role": "user"}]}, "'role' and a 'content'"),
        ({"messages": MESSAGES["messages"][:2]}, "must end with the assistant's answer"),
        ({"messages": []}, "must end with the assistant's answer"),
        ({"messages": MESSAGES["messages"][2:]}, "no message before the answer"),
        ({"input_ids": [1], "labels": [1]}, "'attention_mask'"),
    ],
)
def test_mistakes_in_rows_are_named_with_their_number(row, message):
    with pytest.raises(UserError, match=f"my file, row 2: .*{message}"):
        data.check_rows([ALPACA, row], "my file")


def test_no_rows_are_a_mistake():
    with pytest.raises(UserError, match="my file: there are no rows"):
        data.check_rows([], "my file")
