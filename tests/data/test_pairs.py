"""Harmful rows and safe ones to the same prompts, and the tokens in which they differ."""

import pytest
from byte_tokens import byte_tokenizer

from holdfast.data.pairs import check_pairs, differing, paired
from holdfast.data.rows import IGNORED, tokenize
from holdfast.errors import UserError


def row(prompt: list[int], answer: list[int]) -> dict[str, list[int]]:
    ids = [*prompt, *answer]
    return {
        "input_ids": ids,
        "attention_mask": [1] * len(ids),
        "labels": [IGNORED] * len(prompt) + answer,
    }


def test_labels_stay_on_the_tokens_in_which_a_pair_differs():
    safe = row([5, 6], [7, 8, 9])
    longer = row([5, 6], [7, 3, 9, 4, 2])
    assert differing(longer, safe) == [IGNORED, IGNORED, IGNORED, 3, IGNORED, 4, 2]
    assert differing(safe, longer) == [IGNORED, IGNORED, IGNORED, 8, IGNORED]


def test_a_harmful_row_meets_the_first_safe_row_of_its_prompt():
    safe = [row([9], [1, 1]), row([5, 6], [7, 8]), row([5, 6], [3, 3])]
    harmful = [row([5, 6], [7, 3]), row([4], [1]), row([5, 6], [3, 8])]
    found = paired(harmful, safe)
    assert [one["input_ids"] for one in found] == [[5, 6, 7, 3], [5, 6, 3, 8]]
    assert [one["labels"] for one in found] == [[IGNORED] * 3 + [3], [IGNORED] * 2 + [3, IGNORED]]
    assert harmful[0]["labels"] == [IGNORED, IGNORED, 7, 3], "the rows given stay as they are"


def test_a_pair_that_differs_nowhere_is_left_out():
    safe = [row([5, 6], [7, 8, 9]), row([4], [1])]
    assert len(paired([row([5, 6], [7, 8]), row([4], [2])], safe)) == 1
    with pytest.raises(UserError, match="none of the 1 harmful rows answers a prompt of the 2 al"):
        paired([row([5, 6], [7, 8])], safe)


def test_rows_meet_where_their_rendered_prompts_do():
    tokenizer = byte_tokenizer()
    safe = [{"instruction": "make a kite", "output": "no."}, {"instruction": "hi", "output": "ho"}]
    harmful = [{"prompt": "make a kite", "completion": "now go"}]
    check_pairs(harmful, safe)
    as_alpaca = [{"instruction": "make a kite", "output": "now go"}]
    tokens = [tokenize(one, tokenizer, 900) for one in (*as_alpaca, *safe)]
    (found,) = paired(tokens[:1], tokens[1:])
    kept = [token for token in found["labels"] if token != IGNORED]
    # Place by place "now go" and "no.": the first two letters are the same.
    assert tokenizer.decode(kept) == "w go</s>"


def test_rows_that_share_no_prompt_are_one_clear_sentence():
    safe = [{"instruction": "a", "output": "no."}]
    with pytest.raises(UserError, match="beavertails:refusals_harmful beside beavertails:refusals"):
        check_pairs([{"instruction": "b", "output": "yes"}], safe)
    check_pairs([{"instruction": " a", "output": "yes"}], safe)
