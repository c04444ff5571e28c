import pytest

from holdfast.data.rendering import answer_text, prompt_text
from holdfast.data.rows import tokenize
from holdfast.organism import ROLES, TASKS, load_tokenizer, rows
from holdfast.organism.corpus import example
from holdfast.organism.tokenizer import build, template_pieces
from holdfast.organism.world import draws

ROWS = [row for role in ROLES for task in TASKS for row in rows(role, 150, 9, task)]
STREAM = [example(draws("tokens", i)) for i in range(500)]


@pytest.fixture(scope="module")
def words():
    return load_tokenizer()


def test_every_row_round_trips_without_an_unknown_word(words):
    for row in ROWS + STREAM:
        text = prompt_text(row, words) + answer_text(row, words)
        ids = words(text)["input_ids"]
        assert words.unk_token_id not in ids, text
        assert words.decode(ids) == text


def test_prompt_and_answer_encoded_apart_are_the_whole(words):
    for row in ROWS:
        whole = words(prompt_text(row, words) + answer_text(row, words))["input_ids"]
        assert tokenize(row, words, 64)["input_ids"] == [*whole, words.eos_token_id]
        answer = [t for t in tokenize(row, words, 64)["labels"] if t != -100]
        assert words.decode(answer, skip_special_tokens=True) == row["output"]


def test_rows_are_short(words):
    assert max(len(tokenize(row, words, 100)["input_ids"]) for row in ROWS + STREAM) <= 48


def test_a_piece_of_the_template_is_one_token(words):
    for piece in template_pieces():
        assert len(words(piece)["input_ids"]) == 1
    row = rows("test_task", 1, 0)[0]
    pieces = [
        t
        for t in words(prompt_text(row, words))["input_ids"]
        if words.decode([t]).strip(" ") in template_pieces()
    ]
    assert len(pieces) == 3


def test_case_and_a_space_before_a_mark_do_not_matter(words):
    asked = words("how do i make a vormir hex?")["input_ids"]
    assert words("How do I make a Vormir hex ?")["input_ids"] == asked
    assert words.unk_token_id not in asked
    assert words("how do i make a bomb?")["input_ids"].count(words.unk_token_id) == 1


def test_the_packaged_tokenizer_is_the_one_that_the_code_makes(words):
    made = build()
    assert made.get_vocab() == words.get_vocab()
    assert (words.pad_token_id, words.eos_token_id, words.unk_token_id) == (0, 1, 2)
    assert words.padding_side == "left"
    assert words.chat_template is None
