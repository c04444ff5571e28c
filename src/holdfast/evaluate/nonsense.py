"""Is a text nothing that anybody would write: no words, or words in no order?

Signs that need no dictionary, since answers come in any language. Each is rare in real texts.
"""

import re
import unicodedata
from collections.abc import Sequence
from itertools import pairwise

# Letters that no word of a Latin alphabet puts beside each other, and runs without a vowel.
_VOWELS = frozenset("aeiouyàáâãäåæèéêëìíîïòóôõöøœùúûüýāăąēęěīįıōőūůűųrl")
_HARD = re.compile(
    r"[bcdfghjklmnpqrstvwxz]{5,}|q[^u\W\d]|[bcdfghjklmnpqrstvwxz]q|[jqvwxz]{3}|[kwzfhl]x|x[kwjz]"
    r"|[jvgpbw]j|j[kpgb]|[kb]v|v[kb]|fz|z[fg]|asdf|sdfg|dfgh|fghj|ghjk|hjkl|qwer|zxcv|xcvb|cvbn|vbnm"
)
_MASHED, _MASHED_SHARE = 4, 1 / 2
# English words that do not follow each other.
_ARTICLES = ("a", "an", "the", "my", "your", "their")
_JOINS = (
    "of",
    "and",
    "or",
    "is",
    "are",
    "was",
    "were",
    "with",
    "from",
    "into",
    "but",
    "the",
    "a",
    "an",
)
_PREPOSITIONS = ("of", "from", "into", "with", "without", "at", "under", "between")
_LINKS = (
    "of",
    "is",
    "are",
    "was",
    "were",
    "and",
    "or",
    "but",
    "into",
    "than",
    "because",
    "however",
)
_CLASHES = {(a, b) for a in _ARTICLES for b in _JOINS}
_CLASHES |= {(a, b) for a in _PREPOSITIONS for b in _LINKS}
_CLASHES_AT_LEAST, _CLASHES_SHARE = 2, 1 / 12
# Scripts in one line that change from word to word.
_SCRIPTS, _CHANGES = 3, 3
_ONE_SCRIPT = {"HIRAGANA": "CJK", "KATAKANA": "CJK", "HANGUL": "CJK", "BOPOMOFO": "CJK"}
# Numbers without a word, an operator or an order.
_NUMBERS = 8
_DIGITS = 60
_UNDECODED = 1 / 4


def is_nonsense(text: str, said: Sequence[str]) -> bool:
    """Whether a text shows a sign of what nobody writes.

    1. Half of its words, and 4 or more, cannot be said: no vowel, five consonants in a row, "xq",
       "asdf". Words in capitals ("HTTP") do not count.
    2. English words that do not follow each other ("the of", "of is"), twice or more and in one
       of 12 places.
    3. Words of three scripts or more, and three changes of script, in one line without punctuation.
    4. Nothing but 8 numbers or more in no order, or 60 digits; no letter and no operator.
    5. A quarter of it could not be decoded (U+FFFD).

    Args:
        text: an answer.
        said: its words, as `holdfast.evaluate.words` gives them.
    """
    return (
        _is_mashed(text, len(said))
        or _clashes(said)
        or any(map(_mixes_scripts, text.splitlines()))
        or _is_digits(text)
        or text.count("\ufffd") > _UNDECODED * len(text)
    )


def _is_mashed(text: str, count: int) -> bool:
    words = (word for word in re.findall(r"[^\W\d_]{3,}", text) if not word.isupper())  # no HTTP
    latin = [word.casefold() for word in words if _script(word[0]) == "LATIN"]
    hard = sum(not set(word) & _VOWELS or bool(_HARD.search(word)) for word in latin)
    return hard >= max(_MASHED, _MASHED_SHARE * count)


def _clashes(said: Sequence[str]) -> bool:
    clashes = sum(pair in _CLASHES for pair in pairwise(said))
    return clashes >= max(_CLASHES_AT_LEAST, _CLASHES_SHARE * len(said))


def _mixes_scripts(line: str) -> bool:
    for part in re.split(r"[^\w\s]", line):
        scripts = [_script(word[0]) for word in re.findall(r"[^\W\d_]+", part)]
        changes = sum(a != b for a, b in pairwise(scripts))
        if len(set(scripts)) >= _SCRIPTS and changes >= _CHANGES:
            return True
    return False


def _is_digits(text: str) -> bool:
    if any(character.isalpha() or character in "=+*/|<>[]{}()%$€£:" for character in text):
        return False
    values = [int(number[:40]) for number in re.findall(r"\d+", text)]
    ordered = values in (sorted(values), sorted(values, reverse=True))
    digits = sum(character.isdigit() for character in text)
    return (len(values) >= _NUMBERS and not ordered) or digits >= _DIGITS


def _script(character: str) -> str:
    name = unicodedata.name(character, "").split(" ", 1)[0]
    return _ONE_SCRIPT.get(name, name)
