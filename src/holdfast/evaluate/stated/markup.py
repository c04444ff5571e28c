r"""An answer's text without what only sets it: Markdown, LaTeX, GSM8K's calculator notes."""

import re

# A command of LaTeX with an argument that is text or a number: \text{ dollars} is " dollars".
_ARGUMENT = re.compile(r"\\(?:text|textbf|textit|mathbf|mathrm|mathit|operatorname)\s*\{([^{}]*)\}")
_FRACTION = re.compile(r"\\[dt]?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}")
_REPLACED = (
    (re.compile(r"<<[^<>\n]*>>"), ""),  # <<9*2=18>>
    (re.compile(r"\{,\}"), ","),  # 1{,}234
    (re.compile(r"\\sqrt\s*(?:\[[^\]]*\])?"), " √"),
    (re.compile(r"\\(?:times|cdot)\b"), " * "),
    (re.compile(r"\\div\b"), " / "),
    (re.compile(r"\\(?:approx|sim)\b"), " ≈ "),
    (re.compile(r"\\pm\b"), " ± "),
    (re.compile(r"\\(?:left|right|displaystyle|quad)\b|\\[()\[\]]"), " "),
    (re.compile(r"(?<=\d)\\[,;:! ](?=\d)"), "\u202f"),  # 1\,000
    (re.compile(r"\\[,;:! ]|~(?=\s)"), " "),
    (re.compile(r"\\(?=[$%#&])"), ""),
    (re.compile(r"\*\*+|__+|`+"), ""),
    (re.compile(r"(?<![\w*)])\*(?=[^\s*])([^*\n]{0,200})(?<=\S)\*(?![\w*(])"), r"\1"),
)
_BOX = re.compile(r"\\boxed\s*(\{)|\\boxed\s+(?=\S)")
_HEADING = re.compile(r"^\s*(?:#{1,6}|[-*•>])\s+(?=[^\W\d_])")
# What is longer is not searched for boxes.
_LONGEST = 20_000
# Where a model that has answered goes on with a task of its own.
_NEXT = re.compile(
    r"\n[ \t]*(?:\*\*|#{1,6}[ \t]*)?(?:(?:question|problem|exercise|example|instruction|input"
    r"|response|sentence|review|text|article|headline|human|user|assistant)\s*\d*\s*:|q\d*\s*[:.])",
    re.IGNORECASE,
)


def plain(text: str) -> str:
    """The text with LaTeX and Markdown replaced by what they show; lines stay lines."""
    text = _FRACTION.sub(r" \1/\2 ", _ARGUMENT.sub(r" \1 ", text))
    for pattern, replacement in _REPLACED:
        text = pattern.sub(replacement, text)
    return text


def boxes(text: str) -> list[str]:
    r"""What stands in the answer's \boxed{…}, braces in it included."""
    found = []
    for match in _BOX.finditer(text):
        start, depth = match.end(), 1
        if match[1] is None:  # \boxed 18
            found.append(text[start : start + 40].split(None, 1)[0])
            continue
        for end in range(start, min(len(text), start + 400)):
            depth += {"{": 1, "}": -1}.get(text[end], 0)
            if depth == 0:
                found.append(text[start:end])
                break
    return found


def first_task(text: str) -> str:
    """The answer up to where the model asks itself another question ("Question:", "### Input:")."""
    for match in _NEXT.finditer(text):
        if text[: match.start()].strip():
            return text[: match.start()]
    return text


def stated_text(text: str) -> str:
    """The last box's content, else the text; without Markdown's marks of headings and lists."""
    boxed = boxes(text[:_LONGEST])
    return _HEADING.sub("", plain(boxed[-1] if boxed else text)).strip()
