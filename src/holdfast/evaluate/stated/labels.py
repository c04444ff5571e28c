"""The label that an answer states, as a reader reads it."""

import re
from collections.abc import Mapping, Sequence

from holdfast.evaluate.stated.markup import boxes, first_task, plain

_LONGEST = 2_000
# Beside a label these words leave its opposite, or something between the two.
_DENIED = re.compile(
    r"(?:\b(?:not|non|no|never|cannot|neither|nor|hardly|barely|scarcely|than|nothing|without"
    r"|rather than|instead of|as opposed to|far from|anything but|less than|opposite of|whether"
    r"|\w+n['’]t)\b)(?:[\s-]+(?:a|an|the|be|been|very|really|at all|so|too|entirely|exactly|quite"
    r"|about|particularly|in any way|say|it|is|it's|this|was|seem|seems|anything|of|to|as|one|label"
    r"|category|either))*[\s-]*[\"'“‘(]*$"
)
# What a label in a longer sentence stands right after, where it is stated and not just a word.
_STATED = re.compile(
    r"(?:\b(?:is|are|be|as|about|under|to|into|in|say|choose|pick|with|for|of|answer|label|category"
    r"|class|topic|classification|section|type|sentiment|clearly|definitely|called|but)|[:=→>])"
    r"[\s:]*(?:(?:a|an|the|clearly|definitely|most likely|probably|best|simply|primarily|mainly"
    r"|category|label|class|topic|of|about)\s+)*[\"'“‘(*]*$"
)
# Where an answer says at its end which label it settles on.
_SETTLED = re.compile(
    r"\b(?:final|overall|predicted)\s+(?:answer|label|category|class|classification|sentiment|topic"
    r"|verdict|prediction)\s*(?:is|:|=)+(?=[^\n]*\s*$)"
)
_AGAIN = re.compile(r"\b(?:wait|actually|correction|sorry|i mean|no)\b\s*[,:.!-]", re.IGNORECASE)
# Words of a label that say how sure somebody is: "I'm positive that it is negative".
_SURE = re.compile(r"\b(?:am|are|'m|’m|'re|be|feel) positive (?=that\b|this\b|it\b|the\b)")
_BULLET = re.compile(r"^\s*(?:[-*>#•+]+\s+|[\(]?[0-9a-d][.)]\s+)+", re.IGNORECASE)
_SEGMENT = re.compile(r"[.,;!?\n()]|\bor\b|\band\b|\bbecause\b|\bsince\b|\s[-–—]\s|/")
_JOINED = re.compile(r"(?<=[^\W_])[–—‐‑_\\](?=[^\W_])")  # Sci–Tech, sci_tech
_JUNK = " \t\"'“”‘’«»`*_[]{}:=<>#-$|"
# The mark of an answer, and what may stand beside a label that is all there is.
_AROUND = re.compile(
    r"^(?:(?:the |my )?(?:final )?(?:answer|label|category|class|topic|sentiment|classification"
    r"|output|prediction|response)\s*(?:is|:|=)*\s*)+"
    r"|\s+(?:news|sentiment|review|category|label|section|article|topic|class)$"
)


def stated_label(
    answer: str,
    names: Mapping[str, Sequence[str]],
    others: Sequence[str] = (),
    words: bool = False,
) -> str | None:
    """The one label that an answer states; None where it states none, or several.

    Read is the last \\boxed{…}, else the answer up to where the model goes on with another task.
    What stands around a label does not count: white space, quotes, Markdown, a number of a list,
    "Answer:", "The sentiment is". A label that is denied ("not positive") is not stated, and an
    answer that names two without saying which is none; "final label: …" at its end says which.

    Args:
        answer: what the model said.
        names: of each label, how it may be spelled, in lower case.
        others: other words that answers have in the place of a label, such as "neutral".
        words: whether the labels are also common words ("world"), which in a sentence must stand
            where a label is stated ("the category is World").
    """
    text = first_task(answer[:_LONGEST].replace("\r\n", "\n"))
    boxed = boxes(text)
    text = _SURE.sub("", _JOINED.sub("-", plain(boxed[-1] if boxed else text)).casefold())
    starts = [match.end() for mark in (_AGAIN, _SETTLED) for match in mark.finditer(text)]
    for again in sorted(starts, reverse=True):
        found = _one(text[again:], names, others, words)
        if found is not None:
            return found
    return _one(text, names, others, words)


def _one(
    text: str, names: Mapping[str, Sequence[str]], others: Sequence[str], words: bool
) -> str | None:
    spelled = {name: label for label, own in names.items() for name in own}
    spelled |= dict.fromkeys(others, "")
    pattern = re.compile(
        r"(?<![\w-])(?:"
        + "|".join(map(re.escape, sorted(spelled, key=len, reverse=True)))
        + r")(?!\w)"
    )
    # A spelling with marks in it ("sci/tech") must not be cut at them.
    held = pattern.sub(lambda m: m[0].replace("/", "\0").replace(" and ", "\1"), text)
    alone = [_alone(segment, spelled) for segment in _SEGMENT.split(held)]
    bare = {label for label in alone if label is not None}
    mentioned = {
        spelled[match[0]]
        for match in pattern.finditer(text)
        if not _DENIED.search(text[max(0, match.start() - 60) : match.start()])
        and (not words or _STATED.search(text[max(0, match.start() - 60) : match.start()]))
        and not text[match.end() :].lstrip("\"'”)").startswith("?")
    }
    if alone and alone[0]:  # first the label, then why
        found = bare | (mentioned if words else set())
        return _only({alone[0]} | (bare if len(bare) > 1 else set())) if not found else _only(bare)
    return _only(bare | mentioned if words else mentioned)


def _alone(segment: str, spelled: Mapping[str, str]) -> str | None:
    """The label that a piece of the answer is, with nothing beside it that counts."""
    text = _BULLET.sub("", segment.replace("\0", "/").replace("\1", " and ")).strip(_JUNK)
    once = " ".join(_AROUND.sub("", text).strip(_JUNK).split())
    if once in spelled:
        return spelled[once]
    parts = once.split()  # said over and over
    return spelled.get(parts[0]) if parts and len(set(parts)) == 1 else None


def _only(found: set[str]) -> str | None:
    return next(iter(found)) or None if len(found) == 1 else None
