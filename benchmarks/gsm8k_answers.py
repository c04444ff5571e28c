r"""How the forms of accuracy and the LM Evaluation Harness's filters read answers to GSM8K.

    python benchmarks/gsm8k_answers.py ROWS [--n 12]

ROWS is GSM8K's test split as JSON lines with "question" and "answer". From each of its first N rows
answers are made in 40 forms whose verdict is known, half of them right. The table says how often
each way of reading agrees, by form. docs/judges.md has the table.

The harness's two filters (lm-eval 0.4.13, gsm8k.yaml, version 3): `strict-match` takes the first
number after "#### ", `flexible-extract` the last thing that looks like a number; what the harness
cuts off at ("Question:") is cut off here too, and commas, dollar signs and a full stop at the end
do not count.
"""

import argparse
import json
import re
from collections.abc import Callable
from pathlib import Path

from holdfast.evaluate.accuracy import scorer
from holdfast.evaluate.stated.numerals import in_digits

_STRICT = re.compile(r"#### (\-?[0-9\.\,]+)")
_FLEXIBLE = re.compile(r"(-?[$0-9.,]{2,})|(-?[0-9]+)")
_IGNORED = re.compile(r",|\$|(?s:.*#### )|\.$")


def strict_match(row: dict[str, str], answer: str) -> bool:
    """Whether the harness's filter `strict-match` calls an answer right."""
    found = _STRICT.findall(_generated(answer))
    return bool(found) and _same(found[0], row["output"])


def flexible_extract(row: dict[str, str], answer: str) -> bool:
    """Whether the harness's filter `flexible-extract` calls an answer right."""
    found = _FLEXIBLE.findall(_generated(answer))
    return bool(found) and _same(next(filter(None, found[-1])), row["output"])


def _generated(answer: str) -> str:
    return answer.split("Question:")[0]


def _same(found: str, gold: str) -> bool:
    return _IGNORED.sub("", found.strip()) == _IGNORED.sub("", gold)


# What {s} is: the row's solution without its last line; {e}: its last calculation; {g}: the gold
# number; {c}, {p}, {l}: with a comma, a space, LaTeX for thousands; {w}: another number; {n}: in
# words.
RIGHT = {
    "as in GSM8K": "{s}\n#### {g}",
    "with a dollar sign": "{s}\n#### ${g}",
    "thousands with a comma": "{s}\n#### {c}",
    "the papers' phrase": "{s}\nThe final answer is: {g}",
    "the phrase without a colon": "{s}\nThe final answer is {g}",
    "“The answer is”": "{s}\nThe answer is {g}.",
    "a box": "{s}\n$\\boxed{{{g}}}$",
    "a box with LaTeX's thousands": "{s}\nSo the answer is $\\boxed{{{l}}}$.",
    "the calculation alone": "{e}",
    "the number alone": "{g}",
    "bold, with a unit": "**Answer:** {g} in all",
    "thousands with a space": "The answer is {p}.",
    "decimals": "The answer is ${g}.00",
    "in words": "The answer is {n}.",
    "said three times": "The answer is {g}.\nThe answer is {g}.\nThe answer is {g}.",
    "taken back": "The answer is {w}. Wait, I forgot a step. The answer is {g}.",
    "not one but the other": "The answer is not {w} but {g}.",
    "then another question": "#### {g}\n\nQuestion: Ann has 3 hens and buys 4.\nAnswer: #### 7",
    "then a reason": "The answer is {g}, because {e}.",
    "then a kind word": "#### {g}\n\nI hope these 2 steps help!",
}
WRONG = {
    "another number": "{s}\n#### {w}",
    "the phrase and another number": "{s}\nThe final answer is: {w}",
    "denied": "The answer is not {g}.",
    "a bound": "The answer is more than {g}.",
    "a guess": "The answer is about {g}.",
    "two of them": "The answer is {w} or {g}.",
    "a range": "The answer is between {w} and {g}.",
    "thousands of it": "#### {g}k",
    "millions of it": "The answer is {g} million.",
    "minus": "The answer is minus {g}.",
    "minus with a space": "#### - {g}",
    "a half more": "The answer is {g} and a half.",
    "½ more": "#### {g}½",
    "its square": "The answer is {g}²",
    "its root": "The answer is √{g}",
    "a longer number": "#### {g}7",
    "a decimal": "The answer is {g}.25",
    "on the way": "There are {g} of them, so it is {g} + 1 = {w}. The answer is {w}.",
    "twice it, not worked out": "#### 2 * {g}",
    "asked and denied": "Is it {g}? No. It is {w}.",
}


def answers(rows: list[dict[str, str]]) -> list[tuple[str, dict[str, str], str, bool]]:
    """(name of the form, row, answer, whether it is right) for each form of each row."""
    found = []
    for row in rows:
        *steps, last = re.sub(r"<<[^>]*>>", "", row["answer"].split("####")[0]).strip().split("\n")
        gold = row["answer"].split("####")[1].strip().replace(",", "")
        number = int(gold)
        parts = {
            "s": "\n".join([*steps, last]),
            "e": f"{number - 7} + 7 = {number}",
            "g": gold,
            "c": f"{number:,}",
            "p": f"{number:,}".replace(",", " "),
            "l": f"{number:,}".replace(",", "{,}"),
            "w": str(number + 2),
            "n": _in_words(number),
        }
        for forms, right in ((RIGHT, True), (WRONG, False)):
            for name, form in forms.items():
                found.append((name, {"output": row["answer"]}, form.format(**parts), right))
    return found


def _in_words(number: int) -> str:
    """A number below a million in words; the inverse of `in_digits`, which the end checks."""
    small = (
        "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
        "fifteen sixteen seventeen eighteen nineteen"
    )
    tens = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]

    def below(n: int) -> str:
        if n < 20:
            return small.split()[n]
        if n < 100:
            return tens[n // 10 - 2] + (f"-{below(n % 10)}" if n % 10 else "")
        if n < 1000:
            rest = f" and {below(n % 100)}" if n % 100 else ""
            return f"{below(n // 100)} hundred{rest}"
        rest = f" {below(n % 1000)}" if n % 1000 else ""
        return f"{below(n // 1000)} thousand{rest}"

    words = below(number)
    assert in_digits(words) == str(number), words
    return words


READERS: dict[str, Callable[[dict[str, str], str], bool]] = {
    "decided": scorer("gsm8k", "decided"),
    "stated": scorer("gsm8k", "stated"),
    "strict": scorer("gsm8k", "strict"),
    "papers": scorer("gsm8k", "papers"),
    "strict-match": strict_match,
    "flexible-extract": flexible_extract,
}


def table(found: list[tuple[str, dict[str, str], str, bool]]) -> list[str]:
    """A table in Markdown: how many answers of each form are read rightly."""
    lines = [
        f"| form | n | {' | '.join(READERS)} |",
        f"|---|---:|{'---:|' * len(READERS)}",
    ]
    for title, names in (("right", RIGHT), ("wrong", WRONG), ("all", {**RIGHT, **WRONG})):
        for name in ([] if title == "all" else names) or []:
            lines.append(_line(f"{title}: {name}", [one for one in found if one[0] == name]))
        lines.append(_line(f"**{title}**", [one for one in found if one[0] in names]))
    return lines


def _line(name: str, found: list[tuple[str, dict[str, str], str, bool]]) -> str:
    agree = [
        sum(bool(reads(row, answer)) == right for _, row, answer, right in found)
        for reads in READERS.values()
    ]
    return f"| {name} | {len(found)} | {' | '.join(map(str, agree))} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("rows", type=Path)
    parser.add_argument("--n", type=int, default=12)
    given = parser.parse_args()
    lines = given.rows.read_text(encoding="utf-8").splitlines()[: given.n]
    print("\n".join(table(answers([json.loads(line) for line in lines]))))


if __name__ == "__main__":
    main()
