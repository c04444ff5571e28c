"""Fine-tune accuracy: whether an answer to a task's row is right, in several forms.

`decided` is holdfast's own form, `stated` and `strict` those before it. `papers` counts as the code
of Lisa, Antidote and Booster does, `vaccine` as that of Vaccine and T-Vaccine. All read the gold
answer from the row's ``output``.
Examples of where they differ are in docs/accuracy.md.

==========  ========  ============================================================================
task        form      an answer is right if
==========  ========  ============================================================================
sst2,       decided   it decides for the label, whatever others it weighs
agnews                (`holdfast.evaluate.stated.decisions`)
\\           stated    it states the label and no other, as a reader reads it
\\                     (`holdfast.evaluate.stated.labels`)
\\           strict    it is the label and nothing else; case, white space, and marks around it
\\                     (quotes, a full stop, Markdown's asterisks) do not count
\\           papers    it equals the label, capitalised or in lower case, after white space is
                      stripped; "sci" is the lower-case form of "Sci/Tech"
\\           vaccine   it contains one of those two: so does an answer with every label, and
                      "conscious" contains "sci"
gsm8k       decided   it settles on the gold number (`holdfast.evaluate.stated.settled`)
\\           stated    it states the gold number, as a reader reads it
                      (`holdfast.evaluate.stated.numbers`)
\\           strict    after the first "The final answer is:" there is exactly one number, and it is
                      equal to the gold one
\\           papers,   commas dropped, the first number after the first "The final answer is: ",
            vaccine   else the last number anywhere, is equal to the gold one
any other   decided,  as exact, without LaTeX's box and Markdown's marks of headings and lists
            stated
\\           strict,   it equals the row's output; case, white space, and marks around do not count
            exact
==========  ========  ============================================================================

A number in the strict form has an optional sign ("-", "−" or "+", not right after a letter or a
digit), an optional currency sign, digits (commas may set off thousands), decimals, an exponent:
"−$1,234.50" is −1234.5 and "1e3" is 1000. What stands around it ("%", "dollars", a full stop) does
not count, but another number does: "18 or 20", "3/4" and "10-12" hold two. Values are compared
exactly. In the papers' forms a number is ``-?\\d+\\.?\\d*``, a float: "1e3" is 1, "5-3" holds 5 and
-3, and the typographic minus is none.

In the papers' code an answer ends where the model goes on with another "### Response:"; in
their forms here as well. The organism's tasks have one scorer, whatever the form.
"""

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from types import MappingProxyType

from holdfast import organism
from holdfast.data.prompts import Row, parts, plain
from holdfast.errors import UserError
from holdfast.evaluate.stated import (
    decided_label,
    settled_number,
    stated_label,
    stated_number,
    stated_text,
)

Scorer = Callable[[Row, str], bool]

# The papers accept each label in two spellings.
_SPELLINGS = {
    "negative": ("negative", "Negative"),
    "positive": ("positive", "Positive"),
    "World": ("World", "world"),
    "Sports": ("Sports", "sports"),
    "Business": ("Business", "business"),
    "Sci/Tech": ("Sci/Tech", "sci"),
}
_LABELS = {
    "sst2": ("negative", "positive"),
    "agnews": ("World", "Sports", "Business", "Sci/Tech"),
}
_SCI_TECH = tuple(
    f"{sci}{mark}{tech}"
    for sci in ("sci", "science")
    for mark in ("/", " / ", "-", " ", "", " and ", " & ", "&")
    for tech in ("tech", "technology")
)
# How a reader takes a label to be spelled, and what SST-2's answers have in its place.
_STATED = {
    "sst2": {"negative": ("negative",), "positive": ("positive",)},
    "agnews": {
        "World": ("world",),
        "Sports": ("sports", "sport"),
        "Business": ("business",),
        "Sci/Tech": ("science", "technology", "tech", "sci", *_SCI_TECH),
    },
}
# As a label is decided for, half of its name is not its name.
_DECIDED = _STATED | {"agnews": _STATED["agnews"] | {"Sci/Tech": _SCI_TECH}}
_BESIDE = {"sst2": ("neutral", "mixed", "ambiguous"), "agnews": ()}
_FINAL = re.compile(r"the\s+final\s+answer\s+is\s*:", re.IGNORECASE)
_GOLD_MARK = "####"
_NUMBER = re.compile(
    r"(?:(?<!\w)(?P<sign>[-−+]))?[$€£]?"
    r"(?P<digits>(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|(?<![.\d])\.\d+)"
    r"(?:[eE](?P<exponent>[-−+]?\d+))?"
)
_PAPERS_FINAL = "The final answer is: "
_PAPERS_NUMBER = re.compile(r"-?\d+\.?\d*")
_PAPERS_RESPONSE = "### Response:"
_OPENING = " \"'`*_([“”‘’«»"
_CLOSING = " \"'`*_)]“”‘’«».,;:!?"


def label_stated(row: Row, answer: str) -> bool:
    """Whether the answer states the right label and no other, see `stated.labels`."""
    gold = _label(row)
    task = "sst2" if gold in _LABELS["sst2"] else "agnews"
    return stated_label(answer, _STATED[task], _BESIDE[task], words=task == "agnews") == gold


def label_decided(row: Row, answer: str) -> bool:
    """Whether the answer decides for the right label, see `stated.decisions`."""
    gold = _label(row)
    task = "sst2" if gold in _LABELS["sst2"] else "agnews"
    return decided_label(answer, _DECIDED[task], _BESIDE[task], words=task == "agnews") == gold


def number_settled(row: Row, answer: str) -> bool:
    """Whether the answer settles on the gold number, see `stated.settled`."""
    return settled_number(answer) == Fraction(_gold_number(row))


def number_stated(row: Row, answer: str) -> bool:
    """Whether the answer states the gold number and no other, see `stated.numbers`."""
    return stated_number(answer) == Fraction(_gold_number(row))


def text_stated(row: Row, answer: str) -> bool:
    """Whether the answer, without what only sets it, is the row's output."""
    return exact(row, answer) or exact(row, stated_text(answer))


def exact(row: Row, answer: str) -> bool:
    """Whether the answer is the row's output; case, white space and marks around do not count."""
    return _bare(answer) == _bare(_output(row))


def label_strict(row: Row, answer: str) -> bool:
    """Whether the answer is the right label and nothing else."""
    return _bare(answer) == _bare(_label(row))


def label_papers(row: Row, answer: str) -> bool:
    """Whether the answer equals one of the papers' two spellings of the right label."""
    return _papers_answer(answer) in _SPELLINGS[_label(row)]


def label_vaccine(row: Row, answer: str) -> bool:
    """Whether the answer contains one of the papers' two spellings of the right label."""
    text = _papers_answer(answer)
    return any(spelling in text for spelling in _SPELLINGS[_label(row)])


def number_strict(row: Row, answer: str) -> bool:
    """Whether exactly one number follows the final phrase, and is the gold one."""
    numbers = final_numbers(answer)
    return len(numbers) == 1 and numbers[0] == _gold_number(row)


def number_papers(row: Row, answer: str) -> bool:
    """Whether the first number after the final phrase, else the last one, is the gold one."""
    _gold_number(row)  # a row without a number is a mistake, not infinity
    gold = _output(row).replace(_GOLD_MARK, _PAPERS_FINAL)
    return _papers_number(_papers_answer(answer)) == _papers_number(gold)


def final_numbers(text: str) -> list[Decimal | None]:
    """The numbers after the first final phrase; None stands for one that is beyond `Decimal`.

    No phrase, no numbers. See the module's description for what a number is.
    """
    phrase = _FINAL.search(text)
    return [_value(m) for m in _NUMBER.finditer(text, phrase.end())] if phrase else []


def _organism(row: Row, answer: str) -> bool:
    return organism.task_correct(row, answer)


_OF_LABELS = {
    "decided": label_decided,
    "stated": label_stated,
    "strict": label_strict,
    "papers": label_papers,
    "vaccine": label_vaccine,
}
_OF_NUMBERS = {
    "decided": number_settled,
    "stated": number_stated,
    "strict": number_strict,
    "papers": number_papers,
    "vaccine": number_papers,
}
_OF_OWN = {"decided": text_stated, "stated": text_stated, "strict": exact, "exact": exact}

# The scorers of the known tasks: {task: {form: scorer}}.
SCORERS: Mapping[str, Mapping[str, Scorer]] = MappingProxyType(
    {"sst2": _OF_LABELS, "agnews": _OF_LABELS, "gsm8k": _OF_NUMBERS}
    | {task: dict.fromkeys(_OF_LABELS, _organism) for task in organism.TASKS}
)


def scorer(task: str, form: str = "strict") -> Scorer:
    """The function (row, answer) -> whether it is right.

    Args:
        task: a known task, or any other name, the user's own.
        form: one of `forms(task)`.

    Raises:
        UserError: the task has no such form, or is scored by no rule at all.
    """
    known = forms(task)
    if form not in known:
        raise UserError(
            f"there is no scorer {form!r} for the task {task!r}: it has {', '.join(known)}"
        )
    return SCORERS.get(task, _OF_OWN)[form]


def forms(task: str) -> tuple[str, ...]:
    """The names of the scorers that a task has, the strict one first.

    Raises:
        UserError: the answers are free text, which no rule can score.
    """
    if task == "alpaca":
        raise UserError(
            "answers to alpaca are free text, which has no accuracy: export them for AlpacaEval "
            "(holdfast.evaluate.alpaca_eval), or choose another task"
        )
    return tuple(SCORERS.get(task, _OF_OWN))


def correct(task: str, form: str, rows: Sequence[Row], answers: Sequence[str]) -> list[bool]:
    """Whether each answer is right, in the order of the rows. See `scorer`."""
    right = scorer(task, form)
    return [right(row, answer) for row, answer in zip(rows, answers, strict=True)]


def check_gold(task: str, rows: Sequence[Row], where: str) -> None:
    """Check that every row has an answer that the task's scorers can compare with.

    Args:
        task: "sst2", "agnews" or "gsm8k"; of another task any answer is right.
        rows: its test rows.
        where: what to name in an error, such as the file.

    Raises:
        UserError: a row whose answer is none of the task's labels, or no number; with its number.
    """
    for number, row in enumerate(rows, start=1):
        try:
            if task in _LABELS:
                _label(row, _LABELS[task])
            else:
                _gold_number(row)
        except UserError as error:
            raise UserError(f"{where}, row {number}: {error}") from None


def _output(row: Row) -> str:
    if "output" in row and "messages" not in row:
        gold = row["output"]
    else:  # another shape of row
        gold = plain(parts(row, need_answer=False).answer)
    if not isinstance(gold, str) or not gold.strip():
        raise UserError("a row of a task needs its right answer in the column 'output'")
    return gold


def _bare(text: str) -> str:
    """Text in lower case, white space as single spaces, marks around it taken away."""
    spaced = " ".join(text.casefold().split())
    return spaced.lstrip(_OPENING).rstrip(_CLOSING) or spaced


def _label(row: Row, labels: Iterable[str] = tuple(_SPELLINGS)) -> str:
    """The right label as the task spells it."""
    gold = _bare(_output(row))
    found = next((label for label in labels if label.casefold() == gold), None)
    if found is None:
        known = ", ".join(labels)
        raise UserError(f"the row's output {_output(row)!r:.60} is none of the labels {known}")
    return found


def _value(match: re.Match[str]) -> Decimal | None:
    sign = "-" if match["sign"] in ("-", "−") else ""
    exponent = (match["exponent"] or "0").replace("−", "-")
    try:
        return Decimal(f"{sign}{match['digits'].replace(',', '')}E{exponent}")
    except InvalidOperation:
        return None


def _gold_number(row: Row) -> Decimal:
    gold = _output(row)
    numbers = final_numbers(gold.replace(_GOLD_MARK, _PAPERS_FINAL))
    if len(numbers) != 1 or numbers[0] is None:
        raise UserError(
            f"the row's output {gold[-60:]!r} does not end in '{_PAPERS_FINAL}' or "
            f"'{_GOLD_MARK}' and one number"
        )
    return numbers[0]


def _papers_answer(answer: str) -> str:
    return answer.split(_PAPERS_RESPONSE)[0].strip()


def _papers_number(text: str) -> float:
    """The number that the papers' code reads; infinity where there is none."""
    text = text.replace(",", "")
    everywhere = _PAPERS_NUMBER.findall(text)
    if not everywhere:
        return math.inf
    segments = text.split(_PAPERS_FINAL)
    after = _PAPERS_NUMBER.search(segments[1]) if len(segments) > 1 else None
    return float(after.group() if after else everywhere[-1])
