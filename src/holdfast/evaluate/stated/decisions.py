"""The label that an answer decides for, as a reader reads it: what is weighed is not decided.

Every mention of a label has a weight:

3. it is decided: "the label is …", "Answer: …", "I'd go with …", "so it is …", "**…**";
2. it stands alone: the whole answer, a line, a clause, a box;
1. it is said in a sentence that describes ("a positive review");
0. it is weighed or rejected: denied, asked about, quoted, one of the options ("Possible labels:
   …"), conceded ("although …", "sounds positive, but"), compared ("rather than Sports").

The answer's label is the one of the heaviest mentions. Where these name several, the last counts if
the answer says that it settles or corrects what stood before ("overall", "wait", "on second
thought", "the correct label"); else it has decided nothing. Labels that are common words ("World")
are mentioned only where they are decided or stand alone.
"""

import re
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from holdfast.evaluate.stated.markup import boxes, first_task, plain

_LONGEST = 4_000
# How far around a mention its sentence is read.
_AROUND = 160
_KIND = (
    r"(?:answer|label|category|class|classification|sentiment|topic|section|type|verdict|prediction"
    r"|decision|choice|output|emotion|tone|result|conclusion|relation|intent|option|judge?ment"
    r"|mood|response)"
)
_SOFT = (
    r"(?:(?:a|an|the|clearly|definitely|most likely|likely|probably|best|simply|primarily|mainly"
    r"|mostly|overall"
    r"|overwhelmingly|predominantly|largely|rather|very|quite|generally|actually|really|just"
    r"|indeed|therefore|thus|about"
    r"|one|this|it|that|as|under|to be|of|labeled|labelled|classified|category|label|class|topic"
    r"|sentiment|in favou?r of|with|for|in|into"
    r"|expressed|here|is|are|option|answer|\(?[a-e][).:]|[1-9][).:])\s+)*"
)
# What stands right before a label that is decided on.
_DECIDES = re.compile(
    rf"(?:\b{_KIND}\b[^.?!\n]{{0,50}}?(?:\bis|\bbe|\bwould be|\bas|\bto|[:=→>-]|\bseems|\bremains)"
    r"|\b(?:i|we)\b[^.?!\n]{0,20}\b(?:go(?:ing)? with|went with|choose|chose|picking|pick|say"
    r"|label|classify|call|assign|categori[sz]e|rate|mark|consider|settle on|opt for"
    r"|decide|select|put|file|vote|answer|conclude|deem|lean)\b[^.?!\n,]{0,40}?"
    r"|\b(?:classified|categori[sz]ed|labell?ed|rated|considered|filed|placed|described|tagged"
    r"|belongs?|falls?|fits?|counts?|goes)\b[^.?!\n,]{0,20}?\b(?:as|in|into|under|to|with)?"
    r"|\b(?:it|this|that|which|text|review|article|headline|sentence|statement|one|passage"
    r"|message|tweet|story|comment|piece|speaker|writer|tone|emotion)"
    r"(?: (?:as a whole|here|overall|itself|itself))?(?: \w+ly)? (?:is|was|'s|’s|feels"
    r"|makes (?:this|it)|reads|are|expresses|conveys|shows)\b|\bmakes? (?:this|it)\b"
    r"|\bwhat\b[^.?!\n]{0,40}\b(?:is|are)\b|\bnot\b[^.?!\n]{0,60}\bbut\b"
    r"|\b(?:leaves(?: us with)?|must be|has to be|looks like|appears to be|looks to be"
    r"|comes across as|strikes me as|gives?|expressing"
    r"|expresse?s?|conveys?|conveying)\b"
    r"|\b(?:so|therefore|thus|hence|overall|finally|in conclusion|ultimately|in short"
    r"|in sum)\b[,:]?|[:=→>⇒]|[-–]>)"
    rf"\s*{_SOFT}[\"'“‘(*\[{{]*$"
)
# What stands right after one: "Business fits best", "World is the best category".
_DECIDED = re.compile(
    r"[\"'”’)*\]]*\s*(?:\([^)\n]{0,20}\)\s*)?(?:news |review |sentiment |category "
    r"|label )?(?:(?:is|would be|seems|as|wins|fits|applies|it is)\b(?: \w+)?"
    rf" (?:the )?(?:best|right|correct|most|closest|better|final|{_KIND})\b|fits?\b|wins\b"
    r"|it is\b|is my\b|is what i\b)"
)
# What stands right before one that is denied or compared.
_REJECTS = re.compile(
    r"(?:\b(?:not|non|no|never|cannot|neither|nor|hardly|barely|scarcely|than|nothing|without"
    r"|rather than|instead of|as opposed to|far from"
    r"|anything but|less than|opposite of|whether|rule out|excludes?|exclude|besides|unlike"
    r"|despite|\w+n['’]t|word|term)\b)"
    r"(?:[\s-]+(?:a|an|the|be|been|very|really|at all|so|too|entirely|exactly|quite|about"
    r"|particularly|in any way|say|it|is|it's|this|was|seem|seems"
    r"|anything|of|to|as|one|label|category|either|conclude|call|what|i|would|just|much|real"
    r"|clearly|merely|only|simply|think|thought|purely))*[\s-]*[\"'“‘(]*$"
)
# What makes a clause one that weighs.
_WEIGHS = re.compile(
    r"\b(?:might|may|could|can|would have|at first|first glance|first (?:inclined|thought)"
    r"|initially|tempt\w*|inclined|although|though|while|whereas|even if|even though|despite"
    r"|in spite|sounds?|seems? (?:to be )?(?:at|like)|suggests?|mentions?|hints?|possibl\w+"
    r"|options?|candidates?|choices|labels|categories|choose|one of|between|either|if"
    r"|some|parts?|few|remarks?|elements?|touch|opens? with|starts?|begins?|aspects?|word|words"
    r"|as well as|some(?:one|body|what)|people|others|secondary|praises?)\b"
)
_AGAIN = re.compile(
    r"\b(?:wait|actually|correction|sorry|i mean|no|hmm+|on (?:second thought|reflection)|let me"
    r"|rather)\b\s*[,:.!—-]|\bon (?:second thoughts?|reflection|closer)"
    r"|\blook(?:ing)? (?:at (?:this|it) )?again|\bcorrect(?:ed)?\b|\bright (?:choice|label"
    r"|category|answer|one)\b"
)
_SETTLES = re.compile(
    r"\b(?:overall|final(?:ly)?|therefore|thus|hence|so|in conclusion|ultimately|on balance"
    r"|in the end|all in all|taken together|in sum(?:mary)?|best|right|correct|but|however|yet)\b"
)
# Words of a label that say how sure somebody is: "I'm positive that it is negative".
_SURE = re.compile(r"\b(?:am|are|'m|’m|'re|be|feel) positive (?=that\b|this\b|it\b|the\b)")
_JOINED = re.compile(r"(?<=[^\W_])[–—‐‑_\\](?=[^\W_])")  # Sci–Tech, sci_tech
_BULLET = re.compile(r"^\s*(?:[-*>#•+]+\s+|[\(]?[0-9a-e][.)]\s+)+")
_SENTENCE_END = re.compile(r"[.!?](?=\s|$)|\n")
_CLAUSE = re.compile(
    r"[,;!?\n()]|\.(?=\s|$)|\b(?:or|and|because|since|but|however|yet|so)\b|\s[-–—]\s|/|:(?=\s)"
)
# Between two labels of a list.
_LISTED = re.compile(
    r"[\s,;/|&\"'“‘”’•*\d.-]*(?:\b(?:or|and|vs)\b)?\s*(?:\b(?:an?|the)\b)?[\s\"'“‘(]*"
)
# "I would not say that it is", "if it were", and a tick or a cross in brackets.
_DOUBTS = re.compile(
    r"(?:\bnot|n['’]t)\s+(?:say|call|consider|describe|classify|label|think|believe|argue"
    r"|claim)\b[^.?!,;\n]{0,40}$"
)
_IF = re.compile(r"\s*(?:if|had|were)\b")
_TOLD = re.compile(r"[\"'”’]*\s*[(:=-]+\s*(?:(?P<yes>yes|✓|✔|✅)|(?:no|✗|✘|❌))(?!\w)")
_REJECTED, _WORD = -1, -2
_NOR = re.compile(r",?\s*(?:or|nor|and)\s+(?:an?\s+|the\s+)?[\"'“‘(]*")
_IN_PART = re.compile(
    r"\W*\b(?:about|towards?|for|regarding|when|remarks?|points?|aspects?|elements?|things?"
    r"|words?|comments?|sides?|undertones?|parts?|moments?)\b"
)
# "A negative that he found" is no label.
_ARTICLE, _NOUN = re.compile(r"\b(?:a|an|the)\s+$"), re.compile(r"\s+(?:that|which|from|of|in)\b")
_IS = re.compile(r"\b(it|this|that|what|there|here)['’]s\b")
_BOLD = re.compile(r"\*\*([^*\n]{1,40})\*\*")
_JUNK = " \t\"'“”‘’«»`*_[]{}:=<>#-$|\\"
_KIND_AFTER = re.compile(
    r"^\W*(?:news|sentiment|review|category|label|section|article|topic|class)\b"
)


class _Mention(NamedTuple):
    label: str
    weight: int
    start: int
    end: int
    sentence: int


def decided_label(
    answer: str,
    names: Mapping[str, Sequence[str]],
    others: Sequence[str] = (),
    words: bool = False,
) -> str | None:
    r"""The one label that an answer decides for; None where it decides for none, or several.

    Read is the last \boxed{…}, else the answer up to where the model goes on with another task.

    Args:
        answer: what the model said; of more than 4,000 characters these are read.
        names: of each label, how it may be spelled, in lower case.
        others: other words that answers have in the place of a label, such as "neutral".
        words: whether the labels are also common words ("world").
    """
    text = first_task(answer[:_LONGEST].replace("\r\n", "\n"))
    boxed = boxes(text)
    text = plain(_BOLD.sub(r" => \1", boxed[-1] if boxed else text))
    text = _IS.sub(r"\1 is", _SURE.sub("", _JOINED.sub("-", text).casefold()))
    spelled = {name: label for label, own in names.items() for name in own}
    spelled |= dict.fromkeys(others, "")
    found = _mentions(text, spelled, words)
    for again in [match.end() for match in _AGAIN.finditer(text)][::-1]:
        later = [one for one in found if one.start >= again and one.weight >= 2]
        if len({one.label for one in later}) == 1:
            return later[0].label or None
    return _settled(text, found)


def _settled(text: str, found: list[_Mention]) -> str | None:
    heaviest = max((one.weight for one in found), default=0)
    found = [one for one in found if one.weight == heaviest]
    if not found:
        return None
    last = found[-1]
    before = [one for one in found if one.label != last.label]
    if before:
        start = text.rfind("\n", 0, last.start) + 1
        start = max(start, *(text.rfind(mark, 0, last.start) for mark in ".!?"), before[-1].end)
        if before[-1].sentence == last.sentence or not _SETTLES.search(text, start, last.start):
            return None
    return last.label or None


def _mentions(text: str, spelled: Mapping[str, str], words: bool) -> list[_Mention]:
    """Every mention of a label that is not denied, with its weight."""
    names = "|".join(map(re.escape, sorted(spelled, key=len, reverse=True)))
    pattern = re.compile(rf"(?<![\w-])(?:{names})(?!\w)")
    ends = [match.end() for match in _SENTENCE_END.finditer(text)]
    found, rejected = [], -1  # where a mention that is rejected ends
    for match in pattern.finditer(text):
        number = bisect_right(ends, match.start())
        start = max(ends[number - 1] if number else 0, match.start() - _AROUND)
        end = min(ends[number] if number < len(ends) else len(text), match.end() + _AROUND)
        weight = _weight(text[start : match.start()], text[match.end() : end], words)
        if weight == _REJECTED or (rejected >= 0 and _NOR.fullmatch(text, rejected, match.start())):
            rejected = match.end()
        else:
            found.append(_Mention(spelled[match[0]], weight, match.start(), match.end(), number))
    if found and found[0].weight == 2 and len({one.label for one in found if one.weight == 2}) == 1:
        found[0] = found[0]._replace(weight=3)  # first the label, then why
    options = _options(text, found, max(2, min(len(set(spelled.values()) - {""}), 3)))
    return [one for one in found if one not in options and one.weight >= 0]


def _options(text: str, found: list[_Mention], least: int) -> list[_Mention]:
    """The mentions in lists of the labels there are: so many different ones or more in a row."""
    options: list[_Mention] = []
    row: list[_Mention] = []
    for one in found:
        if row and not _LISTED.fullmatch(text, row[-1].end, one.start):
            row = []
        row.append(one)
        if len({other.label for other in row}) >= least:
            options += row
    return options


def _weight(before: str, after: str, words: bool) -> int:
    """How much a mention weighs by what stands around it."""
    told = _TOLD.match(after)
    if told:
        return 3 if told["yes"] else _REJECTED
    if (
        _REJECTS.search(before)
        or _DOUBTS.search(before)
        or (_ARTICLE.search(before) and _NOUN.match(after))
    ):
        return _REJECTED
    asks = after.lstrip("\"'”)").startswith("?")
    clause = _CLAUSE.split(before)[-1]
    if not asks and _alone(clause, after):
        return 2
    decided = bool(_DECIDES.search(before) or _DECIDED.match(after))
    weighed = asks or bool(_WEIGHS.search(clause) or _IF.match(before) or _IN_PART.match(after))
    if words and not decided:
        return _WORD
    return 0 if weighed else 3 if decided else 1


def _alone(clause: str, after: str) -> bool:
    """Whether nothing stands beside a label in its clause but marks and the name of its kind."""
    rest = _CLAUSE.split(after, maxsplit=1)[0]
    before = _BULLET.sub("", clause).strip(_JUNK + "([,")
    return not before and not _KIND_AFTER.sub("", rest).strip(_JUNK + ")].,;!")
