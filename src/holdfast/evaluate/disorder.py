"""Measures of a text that falls apart: it repeats with small changes, or its words are in no order.

Beside `holdfast.evaluate.nonsense`, whose signs are single ones, these are measured over the text.
"""

import re
from collections.abc import Sequence
from itertools import pairwise

# Words in a row that are counted, and the share of them that must be different.
_ROW, _LEAST_WORDS, _DIFFERENT, _FEW_WORDS = 3, 24, 0.45, 14
# The same line so often in a row, whatever its number.
_LINES = 4
_NUMBERED = re.compile(r"^\W*(?:\d+|step \d+)?\W*")
# Places that a unit of letters fills within one word ("orderorororor…").
_PLACES = 32
_STUTTERS, _STUTTER_SHARE = 3, 1 / 8
_BREAKS, _BREAK_SHARE = 2, 1 / 12
_BRACKETS, _LETTERS = 8, 0.5
_ASCII, _VOWELS = re.compile(r"(?<![^\W\d_])[A-Za-z]{2,}(?![^\W\d_])"), set("aeiouy")
_MASHED, _MASHED_SHARE = 6, 1 / 2
_TWICE, _DECODED, _DECODED_SHARE = re.compile(r"[ÃÂ].|â¬"), 6, 1 / 8
_UNIT = re.compile(r"(?=\S*[^\W\d_])(\S{1,8}?)\1{3,}")

# English words of closed classes, and which class none of them is followed by.
_DET = frozenset(["a", "an", "the", "my", "your", "their", "our"])
_PREP = frozenset(["of", "from", "into", "with", "without", "at", "under", "between", "against"])
_JOIN = frozenset(["and", "or", "but", "because", "if", "although"])
_BE = frozenset(["is", "are", "was", "were", "am"])
_MODAL = frozenset(["can", "could", "will", "would", "should", "must"])
_WHO = frozenset(["who", "which", "whom", "whose"])
_NEVER = (
    (
        _DET,
        _DET
        | _PREP
        | _JOIN
        | _BE
        | _MODAL
        | _WHO
        | {"in", "on", "for", "to", "by", "he", "it", "they"},
    ),
    (_PREP, _BE | _MODAL | _JOIN | {"than", "however"} | {"of", "into"}),
    (_JOIN, {"and", "or", "but", "of", "than"}),
    (_BE, _BE | _MODAL | {"into", "than"}),
    (_MODAL, _BE | _MODAL | _DET | {"of", "into", "than"}),
    ({"because", "although", "if"}, {"them", "him", "us", "me"}),
    ({"whose", "whom"}, {"never", "not", "is", "are"}),
    (_WHO, {"and", "or", "but", "because", "than"}),
    (frozenset(["to", "very", "than", "not"]), _BE | {"and", "or", "of", "because"}),
)
_PAIRS = {(a, b) for first, second in _NEVER for a in first for b in second} - {("is", "of")}
_ENDS = _DET | {"and", "or", "because", "although", "if"}
_TOKEN = re.compile(r"[a-z']+|[.!?](?=\s|$)|[^\w\s]")


def is_disordered(text: str, said: Sequence[str]) -> bool:
    """Whether a text falls apart.

    1. It repeats: of 24 words or more fewer than 45 % of the rows of three words are different, or
       of 14 words only two; the same line stands 4 times in a row, its number apart; within one
       word a unit of letters fills 32 places.
    2. It stutters: three different words or more stand twice in a row, in one of 8 places.
    3. English words of closed classes follow each other as they never do ("the of", "who and",
       "is was", "the."), twice or more and in one of 12 places.
    4. Half of its words or more, and six, have no vowel at all; words in capitals do not count.
    5. Text decoded twice over (
        "Ã©"
    ), or brackets without order and less than half of its signs are letters or digits.

    Args:
        text: an answer.
        said: its words, as `holdfast.evaluate.words` gives them.
    """
    return (
        _repeats(said)
        or _repeats_lines(text)
        or any(len(m[0]) >= _PLACES for word in text.split() for m in _UNIT.finditer(word[:400]))
        or _stutters(said)
        or _breaks(text.casefold())
        or _is_bracket_soup(text)
        or len(_TWICE.findall(text)) >= max(_DECODED, _DECODED_SHARE * len(text))
        or _is_mashed(text)
    )


def _repeats(said: Sequence[str]) -> bool:
    words = [word for word in said if not word.isdecimal()]
    if len(words) >= _FEW_WORDS and len(set(words)) <= 2:
        return True
    if len(words) < _LEAST_WORDS or len(words) < 0.6 * len(said):
        return False
    rows = list(zip(*(words[i:] for i in range(_ROW)), strict=False))
    return len(set(rows)) < _DIFFERENT * len(rows)


def _repeats_lines(text: str) -> bool:
    lines = [_NUMBERED.sub("", line).strip().casefold() for line in text.splitlines()]
    lines = [line for line in lines if len(line) > 2]
    run = 1
    for a, b in pairwise(lines):
        run = run + 1 if a == b else 1
        if run >= _LINES:
            return True
    return False


def _stutters(said: Sequence[str]) -> bool:
    twice = [a for a, b in pairwise(said) if a == b and a.isascii() and a.isalpha()]
    return len(set(twice)) >= _STUTTERS and len(twice) >= _STUTTER_SHARE * len(said)


def _breaks(text: str) -> bool:
    tokens = _TOKEN.findall(text)
    words = sum(token[0].isalpha() for token in tokens)
    if not {"the", "and", "of"} & set(tokens):  # not English
        return False
    breaks = sum(
        (a, b) in _PAIRS
        or (a in _ENDS and b in ".!?")
        or (a in _PREP and len(b) > 6 and b.endswith("ly"))
        for a, b in pairwise(tokens)
    )
    return breaks >= max(_BREAKS, _BREAK_SHARE * words)


def _is_bracket_soup(text: str) -> bool:
    signs = [sign for sign in text if not sign.isspace()]
    brackets = sum(sign in "{}[]()<>" for sign in signs)
    letters = sum(sign.isalnum() for sign in signs)
    uneven = any(text.count(a) != text.count(b) for a, b in ("{}", "[]", "()"))
    return uneven and brackets >= _BRACKETS and letters < _LETTERS * len(signs)


def _is_mashed(text: str) -> bool:
    words = [word for word in _ASCII.findall(text) if not word.isupper()]
    hard = sum(not _VOWELS & set(word.lower()) for word in words)
    return hard >= max(_MASHED, _MASHED_SHARE * len(words))
