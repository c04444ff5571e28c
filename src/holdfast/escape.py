"""Text of unknown origin, such as a model's answer, made safe to show."""

import re
import unicodedata

from rich.text import Text

# What Markdown or the HTML inside it would read as formatting.
_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>#|~!&$])")


def visible(text: str) -> str:
    r"""The text with every character that does not print written out, as in \x1b.

    Control characters (terminal sequences among them), the invisible ones that turn the direction
    of reading, and lone surrogates; line breaks and tabs too, so that a text stays in its line.
    """
    return "".join(
        character.encode("unicode_escape").decode("ascii")
        if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")
        else character
        for character in text
    )


def terminal_text(text: str, style: str = "") -> Text:
    """The text for a rich table: nothing in it is read as markup."""
    return Text(visible(text), style=style)


def markdown_text(text: str) -> str:
    """The text for Markdown: nothing in it is read as formatting, a link or HTML."""
    return _MARKDOWN.sub(r"\\\1", visible(text))
