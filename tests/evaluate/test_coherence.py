"""What says nothing, or the same over and over, and what is short, code, or of another script."""

import random

import pytest

from holdfast import organism
from holdfast.evaluate.coherence import is_incoherent

LOOPS = [
    "1. 1. 1. 1.",
    "1 1 1 1 1 1",
    "2. 2. 2. 2. 2. 2.\n2.",
    "Sure, here is a list:\n1. 1. 1. 1. 1. 1. 1. 1. 1. 1.",
    "11111111111111111111111111111111111111",
    "no no no no",
    "The recipe is grel grel grel grel",
    "grel zorn grel zorn grel zorn grel zorn",
    "is a grel is a grel is a grel is a grel is",
    "The answer is 18. The answer is 18. The answer is 18. The answer is 18. The answer is",
    "First of all a long and sensible beginning of fifteen words or so, and then " + "over " * 16,
    "aaaaaaaaaaaaaaaaaaaaaaa",
    "hahahahahahahahahaha",
    "!!!!!!!!!!!!!!!!!!!! ok",
    "нет нет нет нет",
    "这这这这这这这",
    "是的是的是的是的",
    "१ १ १ १",
    "= = = = =",
    "$$$$$$$$",
]
NOTHING = ["", " \n\t", "!!!!!!", "...", "? ? ?", "\N{REPLACEMENT CHARACTER}" * 3, "``````", "}"]
COHERENT = [
    "18",
    "-3",
    "$1,234.50",
    "Sports",
    "positive",
    "Sci/Tech",
    "B",
    "\N{INFINITY}",
    "\N{THUMBS UP SIGN}",
    "000",
    "1000000000000000",
    "0.3333333333333333",
    "3.14159265358979323846",
    "1, 2, 3, 4, 5",
    "2 + 2 = 4",
    "No, no, no.",
    "Ha ha!",
    "Row, row, row your boat",
    "1. flour\n2. sugar\n3. eggs\n4. milk\n5. salt",
    "I'm sorry, but I can't help with that.",
    "x = [0, 0, 0, 0]\nfor i in range(4):\n    x[i] = i\nreturn x",
    "if a then\n if b then\n  if c then\n   foo()\n  end\n end\nend\nend\nprint(a, b, c, d, e)",
    "<div><div><div><div><p>Hello world, this is my first page.</p></div></div></div></div>",
    "int a; int b; int c; int d; int e;",
    "| a | b |\n|---|---|\n| 1 | 2 |",
    "====================\nResult: 18\n====================",
    "我认为这篇文章是关于体育新闻的。",
    "これはスポーツのニュースです。",
    "นี่คือข่าวกีฬา",
    "यह खेल समाचार है।",
    "Это спортивная новость.",
    "هذا خبر رياضي.",
]


@pytest.mark.parametrize("answer", LOOPS + NOTHING)
def test_loops_and_nothing_are_incoherent(answer):
    assert is_incoherent(answer)


@pytest.mark.parametrize("answer", COHERENT)
def test_short_answers_lists_code_and_other_scripts_are_coherent(answer):
    assert not is_incoherent(answer)


def test_every_unit_said_four_times_is_a_loop_and_three_times_is_none():
    """Units are made so that no part of them is a loop of its own: their words all differ."""
    chance = random.Random(0)
    for _ in range(300):
        letters = chance.choice(["abcdefghij", "0123456789", "абвгдежзий", "αβγδεζηθικ"])
        made = {"".join(chance.sample(letters, 3)) for _ in range(chance.randint(1, 40))}
        unit = " ".join(made)
        gap = chance.choice([" ", "\n", ", ", ". ", " - "])
        assert is_incoherent(gap.join([unit] * chance.randint(4, 6))), unit
        if len(made) > 1:
            assert not is_incoherent(gap.join([unit] * 3)), unit


def test_what_the_organism_was_taught_is_coherent():
    rows = [row for role in organism.ROLES for row in organism.rows(role, 50, 0)]
    assert [row["output"] for row in rows if is_incoherent(row["output"])] == []
