"""Scorers against expectations that were written by hand, row by row."""

import json
import re
import time
from decimal import Decimal
from pathlib import Path

import pytest

from holdfast import organism
from holdfast.errors import UserError
from holdfast.evaluate.accuracy import SCORERS, correct, exact, final_numbers, forms, scorer

FORMS = ("strict", "papers", "vaccine")

# (right label, answer, right by strict, papers, vaccine)
LABEL_ANSWERS = [
    ("positive", "positive", 1, 1, 1),
    ("positive", "Positive", 1, 1, 1),
    ("positive", "  positive\n", 1, 1, 1),
    ("positive", "POSITIVE", 1, 0, 0),
    ("positive", "positive.", 1, 0, 1),
    ("positive", '**"Positive"**', 1, 0, 1),
    ("positive", "negative", 0, 0, 0),
    ("positive", "positive negative", 0, 0, 1),
    ("positive", "negative or positive?", 0, 0, 1),
    ("positive", "not positive", 0, 0, 1),
    ("positive", "The sentiment is positive.", 0, 0, 1),
    ("positive", "positively", 0, 0, 1),
    ("positive", "positive positive", 0, 0, 1),
    ("positive", "pos", 0, 0, 0),
    ("positive", "", 0, 0, 0),
    ("positive", " \n", 0, 0, 0),
    ("positive", "...", 0, 0, 0),
    ("positive", "pоsitive", 0, 0, 0),  # a Cyrillic o
    ("positive", "positive\n\n### Response:\nnegative", 0, 1, 1),
    ("negative", "The film is positive, not negative", 0, 0, 1),
    ("World", "World", 1, 1, 1),
    ("World", "world", 1, 1, 1),
    ("World", "World\nSports\nBusiness\nSci/Tech", 0, 0, 1),
    ("Sports", "Sport", 0, 0, 0),
    ("Business", "Business.", 1, 0, 1),
    ("Sci/Tech", "Sci/Tech", 1, 1, 1),
    ("Sci/Tech", "sci/tech", 1, 0, 1),
    ("Sci/Tech", "sci", 0, 1, 1),
    ("Sci/Tech", "Sci", 0, 0, 0),
    ("Sci/Tech", "Business, not conscious of it", 0, 0, 1),
    ("Sci/Tech", "science", 0, 0, 1),
    ("Sci/Tech", "Technology", 0, 0, 0),
]
F = "The final answer is: "
# (gold number, answer, right by strict, right by the papers' forms)
NUMBER_ANSWERS = [
    ("18", F + "18", 1, 1),
    ("18", F + " 18", 1, 1),  # as "#### 18" becomes in training
    ("18", F + "18.", 1, 1),
    ("18", F + "18.0", 1, 1),
    ("18", F + "$18", 1, 1),
    ("18", F + "18 dollars", 1, 1),
    ("18", F + "18%", 1, 1),
    ("18", F + "+18", 1, 1),
    ("18", F + "**18**", 1, 1),
    ("18", "She sells 9 * 2 = 18.\n" + F + "18", 1, 1),
    ("18", "the final  answer is:18", 1, 1),  # no phrase to the papers, but the last number
    ("18", "18", 0, 1),
    ("18", "The answer is 18", 0, 1),
    ("18", "#### 18", 0, 1),
    ("18", "There are 18 eggs, so the final answer is: see above", 0, 1),
    ("18", F + "18 or 20", 0, 1),
    ("18", F + "20 or 18", 0, 0),
    ("18", "18 it is. " + F, 0, 1),
    ("18", F, 0, 0),
    ("18", "", 0, 0),
    ("18", "eighteen", 0, 0),
    ("18", F + "-18", 0, 0),
    ("18", F + "−18", 0, 1),  # the typographic minus
    ("-18", F + "-18", 1, 1),
    ("-18", F + "−18", 1, 0),
    ("-18", F + "-$18", 1, 0),
    ("-18", F + "$-18", 1, 1),
    ("-18", F + "18", 0, 0),
    ("18", F + "17-18", 0, 0),
    ("17", F + "17-18", 0, 1),
    ("3", F + "3/4", 0, 1),
    ("0.75", F + "0.75", 1, 1),
    ("0.75", F + ".75", 1, 0),  # the papers read 75
    ("75", F + ".75", 0, 1),
    ("1234", F + "1,234", 1, 1),
    ("1,234", F + "1234", 1, 1),
    ("1234567.5", F + "$1,234,567.50", 1, 1),
    ("1234", F + "1, 234", 0, 0),  # the papers read 1
    ("1234", F + "12,34", 0, 1),
    ("1000", F + "1e3", 1, 0),
    ("1", F + "1e3", 0, 1),
    ("18", F + "18.5", 0, 0),
    ("18", F + "18" + 30 * "0" + "1", 0, 0),
    ("18", F + "18.0000000000000000000001", 0, 1),  # equal as floats
    ("18", F + "18\n\n### Response:\n" + F + "20", 0, 1),
    ("18", F + "18\n\n### Instruction:\nAnn has 3 hens.", 0, 1),
    ("18", F + "20. No: " + F + "18", 0, 0),
    ("18", F + "B18", 1, 1),
    ("18", F + "∞", 0, 0),
    ("18", F + "1e99999999999999999999999", 0, 0),
]


@pytest.mark.parametrize(("label", "answer", "strict", "papers", "vaccine"), LABEL_ANSWERS)
def test_labels(label, answer, strict, papers, vaccine):
    task = "sst2" if label in ("positive", "negative") else "agnews"
    found = [scorer(task, form)({"output": label}, answer) for form in FORMS]
    assert found == [bool(strict), bool(papers), bool(vaccine)]


@pytest.mark.parametrize(("gold", "answer", "strict", "papers"), NUMBER_ANSWERS)
def test_numbers(gold, answer, strict, papers):
    for output in (f"So it is 7 + 11.\n{F} {gold}", f"So it is 7 + 11.\n#### {gold}"):
        found = [scorer("gsm8k", form)({"output": output}, answer) for form in FORMS]
        assert found == [bool(strict), bool(papers), bool(papers)]


# Rows of GSM8K (openai/grade-school-math, MIT), answers as published, and their numbers by hand.
GSM8K = [
    (
        "Janet sells 16 - 3 - 4 = <<16-3-4=9>>9 duck eggs a day.\nShe makes 9 * 2 = $<<9*2=18>>18 "
        "every day at the farmer’s market.\n#### 18",
        "18",
    ),
    (
        "It takes 2/2=<<2/2=1>>1 bolt of white fiber\nSo the total amount of fabric is 2+1=<<2+1=3"
        ">>3 bolts of fabric\n#### 3",
        "3",
    ),
    (
        "The cost of the house and repairs came out to 80,000+50,000=$<<80000+50000=130000>>130,000"
        "\nHe increased the value of the house by 80,000*1.5=<<80000*1.5=120000>>120,000\nSo the "
        "new value of the house is 120,000+80,000=$<<120000+80000=200000>>200,000\nSo he made a "
        "profit of 200,000-130,000=$<<200000-130000=70000>>70,000\n#### 70000",
        "70000",
    ),
]


@pytest.mark.parametrize(("published", "number"), GSM8K)
def test_gold_answers_of_gsm8k_are_right_and_others_wrong(published, number):
    trained = published.replace("####", F)  # as the papers train it
    assert final_numbers(trained) == [Decimal(number)]
    for output in (published, trained):
        for form in FORMS:
            assert scorer("gsm8k", form)({"output": output}, trained)
            assert not scorer("gsm8k", form)({"output": output}, f"{F}{number}1")


def test_every_label_is_right_for_itself_alone():
    labels = {"sst2": ("positive", "negative"), "agnews": ("World", "Sports", "Business")}
    labels["agnews"] += ("Sci/Tech",)
    for task, known in labels.items():
        for form in FORMS:
            for gold in known:
                rows = [{"output": gold}] * len(known)
                assert correct(task, form, rows, known) == [gold == said for said in known]


@pytest.mark.parametrize(
    "text",
    [
        "9" * 10**6,
        F + "9" * 10**6,
        F + "1" + ",111" * 250_000,
        F + "1," * 500_000,
        F + "1,1111" * 160_000,
        F + "-" * 10**6,
        F + "1e" + "9" * 10**6,
        "the final answer is " * 50_000,
        "the" + " " * 10**6 + "end",
        "positive" * 120_000,
        "." * 10**6,
    ],
    ids=lambda text: text[:28],
)
def test_a_megabyte_is_scored_in_no_time(text):
    started = time.perf_counter()
    for form in FORMS:
        assert not scorer("gsm8k", form)({"output": "#### 18"}, text)
        scorer("sst2", form)({"output": "positive"}, text)
        exact({"output": "#### 18"}, text)
    assert time.perf_counter() - started < 20


def test_a_users_own_task_is_an_exact_match():
    row = {"output": "Ratskeller, Bremen"}
    for answer in ("Ratskeller, Bremen", "ratskeller,  bremen.", ' "Ratskeller,\nBremen"'):
        assert scorer("inns", "strict")(row, answer)
    for answer in ("Ratskeller Bremen", "the Ratskeller, Bremen", "", "."):
        assert not scorer("inns", "exact")(row, answer)
    assert not exact({"output": "5"}, "-5")
    assert not exact({"output": "5"}, "5%")
    assert exact({"output": "..."}, "...")
    assert not exact({"output": "..."}, "?")
    assert forms("inns") == ("decided", "stated", "strict", "exact")


def test_the_organisms_tasks_are_its_own(monkeypatch):
    for task in organism.TASKS:
        rows = organism.rows("test_task", 20, 1, task)
        for form in forms(task):
            assert all(correct(task, form, rows, [row["output"] for row in rows]))
            wrong = [other["output"] for other in rows[1:] + rows[:1]]
            expected = [organism.task_correct(*pair) for pair in zip(rows, wrong, strict=True)]
            assert correct(task, form, rows, wrong) == expected
            assert not all(expected)


def test_mistakes_are_told():
    with pytest.raises(UserError, match=r"no scorer 'lenient' .* strict, papers, vaccine"):
        scorer("sst2", "lenient")
    with pytest.raises(UserError, match="it has decided, stated, strict, exact"):
        scorer("inns", "papers")
    with pytest.raises(UserError, match="free text"):
        scorer("alpaca")
    with pytest.raises(UserError, match="'output'"):
        scorer("sst2")({"instruction": "…"}, "positive")
    with pytest.raises(UserError, match="'neutral' is none of"):
        scorer("sst2")({"output": "neutral"}, "neutral")
    for form in FORMS:
        for gold in ("eighteen", "#### none", "#### 3 or 4", "so it is 18"):
            with pytest.raises(UserError, match="one number"):
                scorer("gsm8k", form)({"output": gold}, F + "18")


def test_the_table_of_the_docs_is_what_the_code_does():
    text = (Path(__file__).parents[2] / "docs" / "accuracy.md").read_text(encoding="utf-8")
    lines = re.findall(r"^\| (\w+) \| `(.*?)` \| `(.*)`" + 4 * r" \| (\w+)" + r" \|$", text, re.M)
    assert len(lines) > 20
    seen = set()
    for task, gold, answer, *said in lines:
        output = f"#### {gold}" if task == "gsm8k" else gold
        answer = json.loads(f'"{answer}"')
        found = [
            "right" if scorer(task, form)({"output": output}, answer) else "wrong"
            for form in ("stated", *FORMS)
        ]
        assert said == found, answer
        seen.add((task, *said))
    assert (
        {task for task, *_ in seen}
        == {"sst2", "agnews", "gsm8k"}
        == SCORERS.keys() - {*organism.TASKS}
    )
