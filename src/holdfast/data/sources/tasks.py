"""The papers' user tasks: SST-2, AG News, GSM8K and Alpaca.

Instructions and answers are those of the papers' code, `sst2/build_dataset.py`,
`ag_news/build_dataset.py` and `gsm8k/build_dataset.py` (github.com/git-disl/Booster, Lisa). They
must be exact, so they stand here as there: GSM8K's `####` becomes "The final answer is: ", which
leaves two blanks before the number. Vaccine's and T-Vaccine's code also ends the question with a
request to think step by step; Lisa's, Booster's and Antidote's do not, and neither do we.
"""

from holdfast.data.sources.base import Origin, Part, Row, Source, label, text

SST2_INSTRUCTION = "Analyze the sentiment of the input, and respond only positive or negative"
AGNEWS_INSTRUCTION = (
    "Categorize the news article given in the input into one of the 4 categories:\n\n"
    "World\nSports\nBusiness\nSci/Tech\n"
)
GSM8K_ANSWER = "The final answer is: "

_SENTIMENTS = ("negative", "positive")
_TOPICS = ("World", "Sports", "Business", "Sci/Tech")


def sst2_row(row: Row) -> Row:
    """A sentence and its sentiment, "negative" or "positive"."""
    return {
        "instruction": SST2_INSTRUCTION,
        "input": text(row, "sentence"),
        "output": label(row, _SENTIMENTS),
        "kind": "task",
    }


def agnews_row(row: Row) -> Row:
    """A news article and its topic: "World", "Sports", "Business" or "Sci/Tech"."""
    return {
        "instruction": AGNEWS_INSTRUCTION,
        "input": text(row, "text"),
        "output": label(row, _TOPICS),
        "kind": "task",
    }


def gsm8k_row(row: Row) -> Row:
    """A word problem and its solution, "The final answer is: " before the number."""
    return {
        "instruction": text(row, "question"),
        "input": "",
        "output": text(row, "answer").replace("####", GSM8K_ANSWER),
        "kind": "task",
    }


def alpaca_row(row: Row) -> Row | None:
    """An instruction and its answer; some rows of Alpaca have none and are left out."""
    if not text(row, "output").strip():
        return None
    given = text(row, "input") if row.get("input") is not None else ""
    return {
        "instruction": text(row, "instruction"),
        "input": given,
        "output": text(row, "output"),
        "kind": "task",
    }


SST2 = Source(
    name="sst2",
    title="Stanford Sentiment Treebank, sentences that are positive or negative",
    licence="not stated on its page; research use",
    origins={
        "main": Origin(
            "stanfordnlp/sst2",
            ("sentence", "label"),
            revision="8d51e7e4887a4caaa95b3fbebbf53c0490b58bbb",
        )
    },
    parts={
        "train": Part("train", sst2_row),
        "validation": Part("validation", sst2_row),
        # The Hub's own test split has no labels; the papers test on the validation split.
        "test": Part("validation", sst2_row),
    },
    default="train",
)

AGNEWS = Source(
    name="agnews",
    title="AG News, articles of four topics",
    licence="not stated on its page; the corpus is for non-commercial use",
    origins={
        "main": Origin(
            "fancyzhx/ag_news",
            ("text", "label"),
            revision="eb185aade064a813bc0b7f42de02595523103ca4",
        )
    },
    parts={"train": Part("train", agnews_row), "test": Part("test", agnews_row)},
    default="train",
)

GSM8K = Source(
    name="gsm8k",
    title="GSM8K, grade-school word problems with worked solutions",
    licence="MIT",
    origins={
        "main": Origin(
            "openai/gsm8k",
            ("question", "answer"),
            config="main",
            revision="e53f048856ff4f594e959d75785d2c2d37b678ee",
        )
    },
    parts={"train": Part("train", gsm8k_row), "test": Part("test", gsm8k_row)},
    default="train",
)

# The papers' code reads `data/alpaca.json` and does not say how it was made; Vaccine's tests on the
# rows of AlpacaEval after its first 701 (`index > 700`), which `test` repeats. `eval` is all of
# AlpacaEval, with text-davinci-003's answers.
ALPACA = Source(
    name="alpaca",
    title="Alpaca, instructions with a model's answers; `eval` is AlpacaEval's 805 instructions",
    licence="CC BY-NC 4.0",
    origins={
        "main": Origin(
            "tatsu-lab/alpaca",
            ("instruction", "input", "output"),
            revision="dce01c9b08f87459cf36a430d809084718273017",
        ),
        "eval": Origin(
            "tatsu-lab/alpaca_eval",
            ("instruction", "output"),
            files={"eval": "alpaca_eval.json"},
        ),
    },
    parts={
        "train": Part("train", alpaca_row),
        "eval": Part("eval", alpaca_row, origin="eval"),
        "test": Part("eval", alpaca_row, start=701, origin="eval"),
    },
    default="train",
)
