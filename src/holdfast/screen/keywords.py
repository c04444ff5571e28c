"""Keywords: a row is flagged that says one of a list of words.

    score(row) = how many different ones of the words and phrases the row says

in its prompts and answers alike. A text is read as a reader sees it: compatibility forms (NFKC) are
made one, upper and lower case are the same, characters that do not show (a zero-width space or a
variation selector within a word, say) are taken out, and white space of any kind is one blank. A
word counts where no letter or digit stands beside it: that it is _emphasized_ hides no word. It is
what services begin with, and blind to whatever is said in other words.
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from holdfast.errors import UserError
from holdfast.screen.base import Row, Scored, ScreenConfig, exchanges

# Those of Unicode's default ignorable characters that Python calls printable: joiners, fillers and
# variation selectors.
_UNSEEN = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)


@dataclass
class KeywordsScreenConfig(ScreenConfig):
    """Settings of the screen ``keywords``.

    Args:
        threshold: a row is flagged that says at least so many of the words.
        words: the words and phrases that tell a harmful row.
        words_file: a file of them, one a line, in their place.
    """

    threshold: float | None = field(default=1.0, metadata={"range": "(-inf, inf)"})
    words: list[str] = field(default_factory=list)
    words_file: str | None = None


class KeywordsScreen:
    """Looks for the words of a list."""

    def __init__(self, config: KeywordsScreenConfig):
        given = config.words if config.words_file is None else words_in(config.words_file)
        words = dict.fromkeys(filter(None, map(as_seen, given)))
        if not words:
            raise UserError(
                "the screen 'keywords' has no words to look for: set words=[…], or words_file to a "
                "file with one a line."
            )
        # The longest first: of "ice" and "ice cream" the row's "ice cream" is the second.
        longest = sorted(words, key=len, reverse=True)
        self._pattern = re.compile(rf"(?<![^\W_])(?:{'|'.join(map(re.escape, longest))})(?![^\W_])")

    def score(self, rows: Sequence[Row]) -> list[Scored]:
        """One score for each row."""
        return [self._score(row) for row in rows]

    def _score(self, row: Row) -> Scored:
        texts = (as_seen(text) for pair in exchanges(row) for text in pair)
        said = dict.fromkeys(word for text in texts for word in self._pattern.findall(text))
        if not said:
            return Scored(0.0, "no keyword")
        first, *more = said
        return Scored(float(len(said)), f"says '{first}'", ", ".join(more[:9]))


def as_seen(text: str) -> str:
    """The text as a reader sees it, see this module."""
    shown = "".join(
        " " if one.isspace() else one for one in text if one.isspace() or one.isprintable()
    )
    shown = _UNSEEN.sub("", shown)
    return " ".join(unicodedata.normalize("NFKC", shown).casefold().split())


def words_in(file: str) -> list[str]:
    """The words of a file, one a line.

    Raises:
        UserError: it cannot be read.
    """
    path = Path(file).expanduser()
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise UserError(f"words_file: {path} is not UTF-8: save the file as UTF-8.") from None
    except OSError as error:
        raise UserError(f"words_file: {path} cannot be read: {error.strerror}.") from None
