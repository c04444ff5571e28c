"""An answer without the thought before it: what judges, scorers and the rules for refusals read."""

import re

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
