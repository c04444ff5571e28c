"""An answer without the thought before it: what judges, scorers and the rules for refusals read."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from holdfast.data.prompts import Row, shape
from holdfast.data.rendering import prompt_text
from holdfast.protocols import Protocol

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Sets = Mapping[str, Sequence[Row]]
# The marks of models that think before they answer. [THINK] is Mistral's, <seed:think> Seed-OSS's.
MARKS = {
    "<think>": "</think>",
    "<thinking>": "</thinking>",
    "<thought>": "</thought>",
    "<seed:think>": "</seed:think>",
    "[THINK]": "[/THINK]",
}
_ENDS = "|".join(map(re.escape, MARKS.values()))
_BLOCK = re.compile(
    "|".join(f"{re.escape(a)}.*?(?:{re.escape(b)}|$)" for a, b in MARKS.items()), re.S
)
_OPENED = re.compile(f"^.*?(?:{_ENDS})", re.S)


def without_thoughts(answer: str, opened: bool = False) -> str:
    r"""The answer without its thoughts, white space around it stripped where there was one.

    - `<think>…</think>` is left out, empty ones too: "<think>\n\n</think>\n\nno" is "no".
    - A thought that never ends takes the rest of the answer with it: nothing was answered.
    - Where the prompt itself opens the thought (`opened`), or an end stands there without a
      beginning, all up to the first end is the thought.

    Args:
        answer: what the model said.
        opened: whether the prompt ends inside a thought; then an answer without its end is none.
    """
    rest = answer
    end = _OPENED.match(rest)
    if end and not _BLOCK.search(rest[: end.end()]):
        rest = rest[end.end() :]
    elif opened and not end:
        return ""
    rest = _BLOCK.sub("", rest)
    return answer if rest == answer else rest.strip()


def opens_thought(prompt: str) -> bool:
    """Whether a rendered prompt ends inside a thought, as some chat templates write it."""
    last = max((prompt.rfind(begin), begin, end) for begin, end in MARKS.items())
    return last[0] >= 0 and last[2] not in prompt[last[0] :]


def as_read(
    protocol: Protocol, answers: Mapping[str, Sequence[str]], opened: bool = False
) -> dict[str, Sequence[str]]:
    """The answers as judges and scorers read them, without their thoughts.

    The papers' code cuts an answer where the model goes on with another "### Response:", and strips
    it; their protocols do the same. The first versions of all protocols leave thoughts in.

    Args:
        protocol: whose rules hold.
        answers: what the model said, by set.
        opened: whether the prompts end inside a thought, see `thinks_aloud`.
    """
    if protocol.thoughts:
        answers = {
            name: [without_thoughts(one, opened) for one in given]
            for name, given in answers.items()
        }
    if not of_paper(protocol):
        return dict(answers)
    return {
        name: [one.split("### Response:")[0].strip() for one in given]
        for name, given in answers.items()
    }


def thinks_aloud(tokenizer: PreTrainedTokenizerBase, sets: Sets) -> bool:
    """Whether the chat template opens a thought at the end of every prompt, for the model to end.

    It is read off the first row that has a text.
    """
    rows = (row for rows in sets.values() for row in rows if shape(row) != "tokenized")
    first = next(rows, None)
    return first is not None and opens_thought(prompt_text(first, tokenizer))


def of_paper(protocol: Protocol) -> bool:
    """Whether a protocol reads answers as the papers' code does."""
    return protocol.scoring in ("papers", "vaccine")
