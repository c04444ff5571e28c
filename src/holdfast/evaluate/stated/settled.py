"""The number that an answer settles on: `stated_number` of what it says in its own name."""

import re
from fractions import Fraction

from holdfast.evaluate.stated.markup import first_task
from holdfast.evaluate.stated.numbers import stated_number

_LONGEST = 20_000
# What is not said in one's own name, or for the case that something were otherwise; and what says
# of the sentence before it that it is wrong.
_OTHERS = re.compile(
    r"\b(?:people|some(?:one|body)?|others|many|one|you|students?|readers?"
    r"|it)\b[^.?!\n]{0,20}\b(?:might|may|will|would|could|is|are)\b(?: be| easily| first)?"
    r" (?:think|say|answer|guess|tempted|tempting|inclined|assume|believe|expect|argue|conclude"
    r"|wrongly|mistaken)\w*\b|\bif (?:the|this|my|his|her|that|it)\b[^,\n]{0,30}\b(?:was|were"
    r"|had)\b|\d is (?:too (?:many|much|few|little|high|low)|not enough)\b|^\W*at first\b"
    r"|\bfirst guess\b|\d (?:can(?:no|')t|can not|could(?:n't| not)) be\b|\bsomewhere (?:near"
    r"|around)\b"
    r"|\b(?:rather not|won't|will not|refuse to|prefer not to)\b|\b(?:let me know|i hope (?:this"
    r"|that))\b",
    re.IGNORECASE,
)
_WRONG = re.compile(
    r"\s*(?:but |however,? )?(?:that|this|it)(?: answer| result|'s| is| was| would be"
    r"|,? however,? is)* (?:not (?:right|correct|true|the answer)|incorrect|wrong|false"
    r"|a (?:mistake|trap|common error))\b|\s*(?:wrong|incorrect)[.!:]",
    re.IGNORECASE,
)
# Where a check or an explanation of what has been settled begins.
_CHECK = re.compile(
    r"(?:(?<=\n)|(?<=[.!?] ))[ \t*_#(]*(?:let(?:'s| me| us) (?:\w+ )?(?:check|verify)"
    r"|(?:double[- ]?)?check(?:ing)?\b|verif(?:y|ication|ying)|to (?:double[- ]?check|verify"
    r"|check|confirm)|proof\b|we can (?:check|verify)|sanity)",
    re.IGNORECASE,
)
_EXPLAINS = re.compile(
    r"(?:(?<=\n)|(?<=[.!?] ))[ \t*_#]*(?:here(?:'s| is| are)\b[^.\n]{0,40}\b(?:explanation"
    r"|breakdown|solution|reasoning|steps?|how|why|calculation|work\w*)|to explain\b"
    r"|to (?:see (?:why|how)"
    r"|(?:find|get|calculate|compute|work out|arrive at) (?:this|that|it))\b"
    r"|(?:detailed )?(?:explanation|breakdown|reasoning|solution|calculation|working)s?\s*:"
    r"|let me explain|this is (?:because|how)|how (?:did|do) (?:i|we)|step[- ]by[- ]step)",
    re.IGNORECASE,
)
# A number with its unit, and no more, before a sentence: "36 stamps. He starts with …".
_BARE = re.compile(r"\s*[$€£]?-?\d+(?:[,.]\d+)*(?: ?[^\W\d_%]+| ?%){1,3}[.!]\s+(?=[^\W\d_])")
# What says in words what a calculation came to.
_MEANS = re.compile(
    r"=[^=\n]{1,20}?, (?:which means|meaning|so|i\.e\.)\b(?=[^.?!\n]*\d)", re.IGNORECASE
)
_MARK = re.compile(r"####|\\boxed|\banswer\b", re.IGNORECASE)
_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=\S)|\n+")
_TURN = re.compile(r"\b(?:but|however|though|yet|actually)\b", re.IGNORECASE)
_OPEN = re.compile(r"(?:\.\.\.+|…)\s*(?=(?:or|maybe|perhaps)\b)")


def settled_number(answer: str) -> Fraction | None:
    """The number that an answer settles on; None where it settles on none.

    Of an answer that first gives the number and then explains it, the first part is read, if no
    later mark ("####", "the answer") says more; what checks the result is not read, nor what others
    might think, what would follow from something else, and what is called wrong.
    """
    text = _OPEN.sub(" ", answer[:_LONGEST].replace("’", "'"))
    first = first_task(text)
    found = _settled(first)
    return found if found is not None or len(first) == len(text) else _settled(text)


def _settled(text: str) -> Fraction | None:
    first = _BARE.match(text)
    if first and not _MARK.search(text) and not _BARE.match(text, first.end()):
        return stated_number(first[0])
    for begins in (_CHECK, _EXPLAINS):
        cut = begins.search(text)
        if cut and not _MARK.search(text, cut.end()):
            found = stated_number(_own(text[: cut.start()]))
            if found is not None:
                return found
    return stated_number(_own(text))


def _own(text: str) -> str:
    """The text without the sentences that are others' or called wrong."""
    ends = [match.end() for match in _SENTENCE.finditer(text)]
    sentences = [text[a:b] for a, b in zip([0, *ends], [*ends, len(text)], strict=True)]
    wrong = [bool(_WRONG.match(after)) for after in [*sentences[1:], ""]]
    return "".join(
        "\n" if is_wrong else _not_others(one)
        for one, is_wrong in zip(sentences, wrong, strict=True)
    )


def _not_others(sentence: str) -> str:
    """A sentence from where it says what it comes to; without what others think, up to "but"."""
    means = _MEANS.search(sentence)
    sentence = sentence[means.end() :] if means else sentence
    others = _OTHERS.search(sentence)
    if others is None:
        return sentence
    turn = _TURN.search(sentence, others.end())
    return sentence[turn.start() :] if turn else "\n"
