"""BeaverTails with its paired refusals, and XSTest.

Rows of BeaverTails are a question, an answer and whether the *answer* is safe; one question has
several answers. The papers take rows in file order: alignment rows where `is_safe` is true, a
user's harmful rows where it is false. `realignment` begins where Antidote's does and leaves out
what stands among the rows before it; `probe` is a thousand rows that neither of the two has.

The refusals are `beavertails_with_refusals_train.json`: unsafe rows of `30k_train` in an order of
its own, each with a refusal beside it. RepNoise made the file (Rosati et al. 2024, arXiv
2405.14577; github.com/domenicrosati/representation-noising). T-Vaccine and Booster align with it,
and the authors' Virus code says to download it from the Hub data set named below. No commit of that
data set is known to us, so the newest is read and its commit is recorded. `--from` takes the file
itself. T-Vaccine probes with the same file's harmful answers: `refusals_harmful`, without those
that are among a user's harmful rows.
"""

from holdfast.data.sources.base import Origin, Part, Row, Source, text
from holdfast.errors import UserError

_REFUSALS_FILE = "beavertails_with_refusals_train.json"
_QUESTION, _ANSWER = "Question: ", "\nAnswer: "


def beavertails_row(row: Row) -> Row | None:
    """A question and its answer, "safe" or "harmful"; a row without an answer is left out."""
    if not text(row, "response").strip():
        return None
    return beavertails_question(row)


def beavertails_question(row: Row) -> Row:
    """A question and its answer, even an empty one, for tests that ask the question only."""
    categories = row.get("category")
    if not isinstance(categories, dict):
        categories = {}
    return {
        "instruction": text(row, "prompt"),
        "input": "",
        "output": text(row, "response"),
        "kind": "safe" if _is_safe(row) else "harmful",
        "categories": sorted(name for name, there in categories.items() if there),
    }


def refusal_row(row: Row) -> Row | None:
    r"""A question and its refusal, taken apart as T-Vaccine's and Booster's code do.

    The column `refusal` is the text "Question: …\nAnswer: …"; what a further "\nAnswer: " opens is
    not used. A row that is not of this form is left out.
    """
    pieces = text(row, "refusal").split(_ANSWER)
    if len(pieces) < 2 or not pieces[1].strip():
        return None
    return {
        "instruction": pieces[0].removeprefix(_QUESTION),
        "input": "",
        "output": pieces[1],
        "kind": "refusal",
    }


def refused_row(row: Row) -> Row | None:
    """The harmful answer that stands beside a refusal, to the question as it was asked."""
    if not text(row, "response").strip():
        return None
    return {
        "instruction": text(row, "prompt"),
        "input": "",
        "output": text(row, "response"),
        "kind": "harmful",
    }


def xstest_row(row: Row) -> Row:
    """A prompt without an answer: "benign" where it only looks harmful, else "harmful"."""
    kinds = {"safe": "benign", "unsafe": "harmful"}
    if row["label"] not in kinds:
        raise UserError(f"the label is {row['label']!r:.40}; it must be 'safe' or 'unsafe'")
    return {
        "instruction": text(row, "prompt"),
        "input": "",
        "kind": kinds[row["label"]],
        "type": text(row, "type"),
    }


def _is_safe(row: Row) -> bool:
    if not isinstance(row["is_safe"], bool):
        raise UserError(f"column 'is_safe' must be true or false, and is {row['is_safe']!r:.40}")
    return row["is_safe"]


def _unsafe(row: Row) -> bool:
    return not _is_safe(row)


BEAVERTAILS = Source(
    name="beavertails",
    title="BeaverTails-30k, harmful questions with safe and unsafe answers, and paired refusals",
    licence="CC BY-NC 4.0",
    origins={
        "main": Origin(
            "PKU-Alignment/BeaverTails",
            ("prompt", "response", "is_safe"),
            revision="8401fe609d288129cc684a9b3be6a93e41cfe678",
            files={
                "30k_train": "round0/30k/train.jsonl.gz",
                "30k_test": "round0/30k/test.jsonl.gz",
            },
        ),
        "refusals": Origin(
            "anonymous4486/repnoise_beavertail",
            ("refusal",),
            files={"train": _REFUSALS_FILE},
        ),
        # The same file; the refusals alone are of use without the rows that they refuse.
        "refused": Origin(
            "anonymous4486/repnoise_beavertail",
            ("prompt", "response", "is_safe"),
            files={"train": _REFUSALS_FILE},
        ),
    },
    parts={
        "unsafe": Part("30k_train", beavertails_row, _unsafe),
        # An answer that one annotator calls safe and another unsafe is no row to align with.
        "safe": Part("30k_train", beavertails_row, _is_safe, apart_from=("unsafe",)),
        "harmful": Part("30k_train", beavertails_row, _unsafe, stop=5000),
        "probe": Part(
            "30k_train", beavertails_row, _unsafe, start=7000, stop=8000, apart_from=("harmful",)
        ),
        "realignment": Part(
            "30k_train", beavertails_row, _unsafe, start=5001, apart_from=("harmful", "probe")
        ),
        "refusals": Part("train", refusal_row, origin="refusals"),
        "refusals_harmful": Part(
            "train", refused_row, _unsafe, apart_from=("harmful",), origin="refused"
        ),
        "test": Part("30k_test", beavertails_question, _unsafe),
        "test_all": Part("30k_test", beavertails_question),
        "test_safe": Part("30k_test", beavertails_question, _is_safe),
    },
)

XSTEST = Source(
    name="xstest",
    title="XSTest, benign prompts that look harmful, and harmful ones like them",
    licence="CC BY 4.0",
    origins={
        "main": Origin(
            "Paul/XSTest",
            ("prompt", "type", "label"),
            revision="f600c994b256f12867dfa5b3eb3d545a3e62f8b5",
        )
    },
    parts={
        "safe": Part("train", xstest_row, lambda row: row["label"] != "unsafe"),
        "unsafe": Part("train", xstest_row, lambda row: row["label"] != "safe"),
    },
)
