"""The words of an answer, in any script: what rules that read answers compare and count."""

import unicodedata

# Written without spaces between words: here each character counts as a word of its own.
_NO_SPACES = ("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR", "TIBETAN")


def words(text: str) -> list[str]:
    """The words of a text, in their order, in lower case.

    A word is a run of letters, their marks and digits; everything else (white space, punctuation,
    apostrophes, Markdown) stands between words, so "Sure, here's" is sure, here, s. Compatible
    forms are one (NFKC), and so are upper and lower case. In scripts that put no space between
    words (Chinese, Japanese, Thai …) each character is one.
    """
    # Folding upper case away can undo the normal form, so it comes first.
    folded = unicodedata.normalize("NFKC", text.casefold())
    found: list[str] = []
    open_word = False  # whether a letter that comes now belongs to the last word
    previous = "Z"
    for character in folded:
        kind = unicodedata.category(character)[0]
        if kind == "M" and previous in "LNM" and found:
            found[-1] += character
        elif kind in "LN":
            alone = _stands_alone(character)
            if open_word and not alone:
                found[-1] += character
            else:
                found.append(character)
            open_word = not alone
        else:
            open_word = False
        previous = kind
    return found


def _stands_alone(character: str) -> bool:
    return not character.isascii() and unicodedata.name(character, "").startswith(_NO_SPACES)
