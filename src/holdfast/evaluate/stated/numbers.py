r"""The number that an answer states, as a reader reads it.

A reader looks for where the answer says its result, and takes the number that stands there:

1. What follows a final mark: ``####``, ``\boxed{…}``, "the final answer is"; else "the answer is",
   "Answer:". Several marks must say the same, unless one takes back what was said ("wait, no") or
   only denies ("the answer is not 30").
2. Without a mark, a short first paragraph before an explanation; else the last sentence that has a
   number, but for what stands in brackets. An answer that breaks off states none.

There it is the only number; the one after "="; after a mark the first one; else the first after the
last verb ("makes", "is", …), else the last, and circumstances ("in 3 days") are passed over. A
number that is denied ("not 20 but 18") does not count. What leaves a choice ("18 or 20", "18 and
20"), is a bound or a guess ("more than 18", "about 18"), a calculation without its result ("9 * 2",
"18 + 4"), a power ("18²", "√18"), a time or a question states no number. "18 million", "18k", "3½",
"3 1/2" and "eighteen" are numbers that are worth what they say; where the answer is in a language
that writes 2.500,75 that is 2500.75.
"""

import re
from collections.abc import Iterable
from fractions import Fraction

from holdfast.evaluate.stated.markup import boxes, first_task, plain
from holdfast.evaluate.stated.numerals import Said, in_digits, in_english, is_choice, numbers

# What is longer is not read further: an answer, and one statement in it; nor are more statements.
_LONGEST_ANSWER, _LONGEST, _STATEMENTS = 20_000, 400, 8
_FINAL = re.compile(
    r"\bfinal\s+(?:answer|result)\b[\s:]*(?:\b(?:is|was|equals)\b|=)?\s*:?"
    r"|####+|最终答案(?:是|为|[:：])*",
    re.IGNORECASE,
)
_ANSWER = re.compile(
    r"(?<![/\w-])(?:answer|antwort|antwoord|réponse|respuesta|risposta|resposta|odpowiedź"
    r"|ответ)\b\s*"
    r"(?:\b(?:is|was|equals|ist|lautet|est|es|é|è|to)\b|[-=–])?\s*:?|答案(?:是|为|[:：])*",
    re.IGNORECASE,
)
_TAKEN_BACK = re.compile(
    r"\b(?:wait|actually|correction|oops|scratch that|i mean|that(?:'s| is| was) (?:wrong|not right"
    r"|incorrect)|let me (?:re\w+|correct|fix)[^.\n]{0,40}|sorry)\b[,:.;!—-]"
    r"|(?<=[.?!,;])\s*\bno\b[,.:;!]",
    re.IGNORECASE,
)
_HEADING = re.compile(
    r"(?:step|part|day|week|month|case|section|calculat\w+|explanation|solution)\b", re.IGNORECASE
)
# Says that no number can be told.
_UNKNOWN = re.compile(
    r"\b(?:can(?:no|')t|can not|could(?: not|n't)|not possible to|impossible to|unable to"
    r"|not able to)\s(?:\w+\s)?"
    r"(?:work out|be (?:determined|found|solved|answered|known)|determine|calculate|compute"
    r"|solve|answer"
    r"|find|know|decide|tell|say|give|figure)\b|\b(?:not enough|insufficient) (?:information"
    r"|data)\b"
    r"|\bi (?:do not|don't) know\b|\bno idea\b",
    re.IGNORECASE,
)
# An answer, and then why: "150 apples.\n\nExplanation: …".
_EXPLAINED = re.compile(
    r"\s*(?P<answer>\S[^\n]{0,80}?)\s*\n\s*[*_#]*(?:explanation|reasoning|why|justification"
    r"|here's (?:why|how)|because)\b",
    re.IGNORECASE,
)
_BROKEN_OFF = re.compile(
    r"(?:\b(?:a|an|and|by|divide|find|from|is|multiply|of|or|subtract|than|the|then|to|was|we|were"
    r"|with)|[=+*/×÷,(-])\s*$",
    re.IGNORECASE,
)
_BRACKETS = re.compile(r"\([^()\n]*\)")
_SENTENCE_END = re.compile(r"(?<=[.!?])(?=\s)|(?<=[。！？])|\n")
_VERB = re.compile(
    r"=|\b(?:is|are|was|were|be|equals?|makes?|gives?|leaves?|totals?|has|have|had|needs?|gets?"
    r"|earns?"
    r"|costs?|takes?|ist|sind|est|sont|es|son|so|therefore|thus|hence|left with|total of)\b"
)


def stated_number(answer: str) -> Fraction | None:
    """The number that an answer states; None where it states none, or leaves a choice."""
    answer = in_english(answer[:_LONGEST_ANSWER].replace("\r\n", "\n").replace("’", "'"))
    first = first_task(answer)
    found = _stated(first)
    return found if found is not None or len(first) == len(answer) else _stated(answer)


def _stated(text: str) -> Fraction | None:
    ends = [match.end() for match in _TAKEN_BACK.finditer(text)]
    for end in reversed(ends[-3:]):
        found = _of(text[end:])
        if found is not None:
            return found
    return _of(text)


def _of(text: str) -> Fraction | None:
    for statements in (
        _after(_FINAL, text, True),
        boxes(text)[-_STATEMENTS:],
        _after(_ANSWER, text, False),
    ):
        said = [plain(one) for one in statements]
        told = {
            _of_statement(one, marked=True)
            for one in [one for one in said if not _only_denies(one)] or said
        }
        if told:
            return told.pop() if len(told) == 1 else None
    explained = _EXPLAINED.match(text)
    if explained and _has_number(explained["answer"]):
        return _of_statement(plain(explained["answer"]), marked=False)
    text = plain(text)
    if _BROKEN_OFF.search(text):
        return None
    for sentence in _from_the_end(text):
        if _UNKNOWN.search(sentence):
            return None
        if _has_number(sentence):
            outside = _BRACKETS.sub(" ", sentence)
            return _of_statement(outside if _has_number(outside) else sentence, marked=False)
    return None


def _only_denies(statement: str) -> bool:
    """Whether a statement has numbers, and says of each that it is not the answer."""
    found = numbers(statement)
    return bool(found) and all(one.denied for one in found)


def _after(mark: re.Pattern[str], text: str, final: bool) -> list[str]:
    """The statements after a mark, up to the end of the line and sentence, or on the next line.

    "####" is also a heading in Markdown, and "answer" also a word: with no number there, nor right
    after, they are no marks. "The final answer is" with something else is: no number is stated.
    """
    found = []
    for match in list(mark.finditer(text))[-_STATEMENTS:]:
        rest = text[match.end() : match.end() + _LONGEST].lstrip(" \t*_$:")
        rest = rest.lstrip() if not re.search(r"\w", rest.split("\n", 1)[0]) else rest
        statement = _SENTENCE_END.split(rest, maxsplit=1)[0]
        if match[0][-1] == "#" and _HEADING.match(statement):
            continue
        says = re.search(r"[^\W_]", statement)
        if _has_number(statement) or (final and says and match[0][-1] != "#" and " is" in match[0]):
            found.append(statement)
    return found


def _from_the_end(text: str) -> Iterable[str]:
    end = len(text)
    for match in reversed(list(_SENTENCE_END.finditer(text))):
        yield text[max(match.end(), end - _LONGEST) : end]
        end = match.start()
    yield text[max(0, end - _LONGEST) : end]


def _has_number(text: str) -> bool:
    return bool(re.search(r"\d|[½⅓⅔¼¾]", text)) or in_digits(text) != text


def _of_statement(text: str, marked: bool) -> Fraction | None:
    """The number that one statement states; see the module's description."""
    if not any(character.isdigit() for character in text):
        text = in_digits(text)
    found = [one for one in numbers(text) if not one.denied]
    if len({one.value for one in found}) <= 1:
        return found[0].value if found else None
    at = text.rfind("=")
    if at >= 0:
        right = [one for one in found if one.start > at]
        left = [one for one in found if one.end <= text.find("=")]
        if right:  # "9 * 2 = 18", else "18 = 9 * 2"
            return right[0].value or (left[0].value if len(left) == 1 else None)
    chosen = _first(text, found) if marked else None
    chosen = chosen or _result(text, found)
    return None if _leaves_a_choice(text, found, chosen) else chosen.value


def _first(text: str, found: list[Said]) -> Said | None:
    """The first number, where it comes at once: after six words at most."""
    return found[0] if len(text[: found[0].start].split()) <= 6 else None


def _result(text: str, found: list[Said]) -> Said:
    likely = [one for one in found if not one.aside] or found
    verbs = [m.end() for m in _VERB.finditer(text, 0, likely[-1].start)]
    return next((one for one in likely if verbs and one.start >= verbs[-1]), likely[-1])


def _leaves_a_choice(text: str, found: list[Said], chosen: Said) -> bool:
    i = found.index(chosen)
    pairs = [
        *zip(found[:i][-1:], [chosen], strict=False),
        *zip([chosen], found[i + 1 :][:1], strict=False),
    ]
    return any(a.value != b.value and is_choice(text[a.end : b.start]) for a, b in pairs)
