"""Text for the page. Whatever a model said is shown, and nothing of it is obeyed."""

import unicodedata

from markupsafe import Markup, escape

# Longer texts are cut, and the page says so.
LONGEST = 600


def shown(text: str, longest: int = LONGEST) -> Markup:
    r"""A text of unknown origin as HTML of its own direction, cut to a length.

    Characters that do not print are written out, as in \x1b, in a style that tells them from a
    backslash in the text itself. Line breaks and tabs stay. ``<bdi>`` keeps the text's direction
    from what stands around it.
    """
    kept = text[:longest]
    parts, plain = [], ""
    for character in kept:
        if character in "\n\t" or unicodedata.category(character) not in _UNSEEN:
            plain += character
            continue
        parts += [escape(plain), Markup('<span class="unseen">{}</span>').format(_code(character))]
        plain = ""
    body = Markup("").join([*parts, escape(plain)])
    cut = len(text) - len(kept)
    more = Markup(' <span class="cut">… {} more characters</span>').format(f"{cut:,}")
    return Markup('<bdi dir="auto">{}</bdi>').format(body) + (more if cut else Markup(""))


_UNSEEN = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")


def _code(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
