"""Files with column names of their own."""

import pytest

from holdfast.data.columns import checked, renamed
from holdfast.errors import UserError


def test_columns_are_renamed_and_others_kept():
    rows = [{"question": "Why?", "answer": "So.", "id": 3}]
    assert renamed(rows, {"instruction": "question", "output": "answer"}, "f") == [
        {"id": 3, "instruction": "Why?", "output": "So."}
    ]
    # Names may change places.
    assert renamed([{"input": "Q", "output": "A"}], {"instruction": "input", "output": "output"},
                   "f") == [{"instruction": "Q", "output": "A"}]  # fmt: skip


def test_a_text_alone_is_trained_on_whole():
    assert checked([{"text": "It is so."}], {"completion": "text"}, "f") == [
        {"completion": "It is so.", "prompt": ""}
    ]


@pytest.mark.parametrize(
    ("row", "hint"),
    [
        ({"question": "a", "answer": "b"}, "columns={instruction: question, output: answer}"),
        ({"instruction": "a", "answer": "b"}, "columns={instruction: instruction, output: answer}"),
        ({"prompt": "a", "response": "b"}, "columns={instruction: prompt, output: response}"),
        ({"id": 1, "text": "b"}, "columns={completion: text}"),
    ],
)
def test_common_names_are_told_how_to_map(row, hint):
    with pytest.raises(UserError) as found:
        checked([row], None, "rows.csv")
    assert str(found.value).startswith("rows.csv, row 1: ")
    assert hint in str(found.value)


def test_mistakes_in_columns():
    with pytest.raises(UserError, match="columns: 'question' is none of instruction, input"):
        renamed([{"a": "b"}], {"question": "a"}, "f")
    with pytest.raises(UserError, match="f, row 2: columns says 'q', and the row has 'a'"):
        renamed([{"q": "b"}, {"a": "b"}], {"prompt": "q"}, "f")
    with pytest.raises(UserError) as found:
        checked([{"x": "a", "y": "b"}], None, "f")
    assert "columns=" not in str(found.value)
    with pytest.raises(UserError, match=r"f, row 1: the answer .* is empty") as found:
        checked([{"instruction": "a", "output": ""}], None, "f")
    assert "columns=" not in str(found.value)
