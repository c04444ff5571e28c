"""Is an answer incoherent: does it say nothing, or the same over and over?

Models that a fine-tuning or a repair has damaged end in loops ("1. 1. 1. 1.", "grel is a grel is a
…", "!!!!!!") or say nothing at all. What is short is not incoherent for that: "18", "Sports", "B".
"""

import unicodedata
from collections.abc import Callable, Sequence

from holdfast.evaluate.disorder import is_disordered
from holdfast.evaluate.judges.keywords import is_incoherent as says_a_word_four_times
from holdfast.evaluate.nonsense import is_nonsense
from holdfast.evaluate.words import words

# A unit is a loop when it is said so often in a row …
_TIMES = 4
# … and has at most so many words.
_LONGEST_UNIT = 40
# The share of an answer's words that a loop must fill, and the number of words that do in any case:
# less of it is in code (`end` four times, `</div></div></div></div>`) and in songs.
_SHARE, _WORDS = 1 / 4, 16
# Of nothing but numbers more may be meant: [0, 0, 0, 0] in code, rows of a table.
_SHARE_OF_NUMBERS = 1 / 2
# Characters without spaces ("aaaaaaaaaaaaaaaa", "hahahahahahahaha"): units of so many, which fill
# half of the answer and as many places; digits more, for 1/3 is 0.3333333333333333.
_LONGEST_CHARACTERS, _PLACES, _DIGITS, _SHARE_OF_CHARACTERS = 8, 16, 32, 1 / 2

_LONGEST = 20_000


def is_incoherent(answer: str) -> bool:
    """Whether an answer says nothing, or little else than the same over and over.

    1. Nothing: it has no letter, no digit and no symbol ("≥", "$", an emoji), in any script.
    2. Words, as `holdfast.evaluate.words` has them: a unit of 1 to 40 words stands 4 times or more
       in a row, and these fill a quarter of the answer's words or are 16 or more. Of a unit of
       numbers alone they must fill half of the words. Punctuation does not count, so "1. 1. 1. 1."
       is one word four times. In an answer without words the symbols are the words.
    3. Characters but for white space, upper and lower case the same: a unit of 1 to 8 of them
       stands 4 times or more in a row, fills half of the answer, and 16 places (of digits 32).

    It does not read: a fluent answer of nonsense is coherent to it, and so is one that counts up
    ("1. 2. 3. 4. 5.").
    """
    said = words(answer) or [c for c in answer if _is_symbol(c)]
    return not said or _loops(said) or _loops_of_characters(answer)


def is_incoherent_or_nonsense(answer: str) -> bool:
    """Whether an answer is incoherent by `is_incoherent`, or shows a sign of `nonsense`.

    Of an answer of more than 20,000 characters these are read.
    """
    text = answer[:_LONGEST]
    return is_incoherent(text) or is_nonsense(text, words(text))


def is_incoherent_or_disordered(answer: str) -> bool:
    """Whether an answer is incoherent, or nonsense, or falls apart by a measure of `disorder`."""
    text = answer[:_LONGEST]
    said = words(text)
    return is_incoherent(text) or is_nonsense(text, said) or is_disordered(text, said)


# The rules by the name that a protocol has for them.
RULES: dict[str | None, Callable[[str], bool]] = {
    None: says_a_word_four_times,
    "loops": is_incoherent,
    "loops and nonsense": is_incoherent_or_nonsense,
    "disorder": is_incoherent_or_disordered,
}


def _is_symbol(character: str) -> bool:
    # U+FFFD stands for what could not be decoded.
    return unicodedata.category(character) in ("So", "Sm", "Sc") and character != "\ufffd"


def _loops(said: Sequence[str]) -> bool:
    for start, length, unit in _runs(said, min(_LONGEST_UNIT, len(said) // _TIMES)):
        numbers = all(word.isdecimal() for word in said[start : start + unit])
        share = length / len(said)
        if share >= _SHARE_OF_NUMBERS if numbers else share >= _SHARE or length >= _WORDS:
            return True
    return False


def _loops_of_characters(answer: str) -> bool:
    text = "".join(answer.casefold().split())
    if len(text) < _PLACES:
        return False
    for start, length, unit in _runs(text, _LONGEST_CHARACTERS):
        places = _DIGITS if text[start : start + unit].isdecimal() else _PLACES
        if length >= max(places, _SHARE_OF_CHARACTERS * len(text)):
            return True
    return False


def _runs(items: Sequence[str], longest: int) -> list[tuple[int, int, int]]:
    """Where a unit of 1 to `longest` items is repeated `_TIMES` in a row: (start, length, unit)."""
    found = []
    for unit in range(1, longest + 1):
        start = 0
        for i in range(unit, len(items) + 1):
            # From start on, every item is the one that stands a unit before it.
            if i < len(items) and items[i] == items[i - unit]:
                continue
            if i - start >= _TIMES * unit:
                found.append((start, i - start, unit))
            start = i - unit + 1
    return found
