"""Numbers in a statement, and what is said of them: "not 18", "more than 18", "18 million"."""

import re
import unicodedata
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

_GAP = "[,'’_\u00a0\u2009\u202f ]"
_SCALES = {
    "dozen": 12,
    "hundred": 100,
    **dict.fromkeys(("k", "K", "thousand"), 10**3),
    **dict.fromkeys(("M", "mn", "million"), 10**6),
    **dict.fromkeys(("bn", "billion"), 10**9),
    "trillion": 10**12,
}
_LARGEST_POWER = 400
_PARTS = {"half": Fraction(1, 2), "third": Fraction(1, 3), "quarter": Fraction(1, 4)}
_VULGAR = "½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞"
_NUMBER = re.compile(
    rf"(?:(?P<digits>(?:\d{{1,3}}(?P<gap>{_GAP})\d{{3}}(?:(?P=gap)\d{{3}})*(?!\d)|\d+)(?:\.\d+)?"
    r"|(?<![.\d])\.\d+)(?:[eE](?P<exponent>[-−+]?\d+)(?![\w.]\w)"
    r"|\s*[x×*]\s*10\s?\^\s?\{?(?P<power>[-−]?\d+)\}?)?"
    rf"(?:\s?(?P<vulgar>[{_VULGAR}])|(?P<mixed>\s(?:and\s)?[1-9]\d?\s?/\s?[1-9]\d?)(?![\d/])"
    r"|\s?/\s?(?P<under>[1-9]\d*)(?![\d/]|[.,]\d|\s?[-+*/×÷=^])"
    r"|\sand\s(?:a|one)\s(?P<part>half|third|quarter)\b)?"
    rf"|(?P<alone>[{_VULGAR}]))"
    r"(?P<scales>(?:[kKM]\b|\s?(?:bn|mn)\b|[\s-]?(?:dozen|hundred|thousand"
    r"|[mbtr]{1,2}illion)s?\b)*)"
)
# What stands right before a number. Its minus, unless that stands between two words …
_MINUS = re.compile(r"(?:\b(?:minus|negative)\s*|(?P<dash>[-−–])(?P<after>\s*))[$€£]?\s*$")
_IS = re.compile(r"(?:\b(?:is|are|was|be|equals)|[=:])\s*$")
# … what makes it a bound, a guess, or part of another number …
_BOUND = re.compile(
    r"(?:(?:\b(?:more|less|fewer|greater|higher|lower|larger|smaller|bigger|better|other)\sthan"
    r"|\bat\s(?:least|most)|\bup\sto|\b(?:over|under|above|below|beyond|exceeds?|exceeding|nearly"
    r"|almost|about|around|approximately|roughly|circa|some|between|half|twice|double|triple)"
    r"|\b(?:half|third|quarter|square|root|squared?|percent|%)\sof|\bapprox\.?)"
    r"(?:\s(?:a|an|the|to|or|of|equal|total|exactly|about|around))*\s*|[<>≤≥≈~±≠√^]=?\s*|!=\s*)"
    r"[$€£({]*\s*$",
)
# … and what says that it is not this one.
_DENIED = re.compile(
    r"(?:\b(?:not|never|cannot|neither|nor|than|instead\sof|\w+n['’]t))"
    r"(?:\s(?:a|an|the|be|been|just|only|simply|equal|to|exactly|really|actually|rather))*"
    r"\s*[$€£(]*$"
)
_AFTER = re.compile(
    r"\s*(?:\^|!\s?=|[²³⁴⁵⁶⁷⁸⁹ⁿ]|\+(?!\s?\w)|[xyzn]\b|:\d|\?|-?ish\b|or\s(?:more|less|fewer|so"
    r"|higher|lower"
    r"|above|below)|(?:squared|cubed|factorial|to\sthe\spower|at\s(?:least|most)|and\smore"
    r"|and\scounting)\b)"
)
_WORDS = r"(?:[^\W\d_]+\W+){0,2}"
# Between two numbers that are one calculation, one range, or a part and its whole.
_ONE_SUM = re.compile(
    rf"[^\w?!;]*{_WORDS}(?:[-−–+*×·÷/^]|\bx|plus|minus|times|multiplied\sby|divided\sby)"
    r"[\s$€£({]*|\s*(?:to|through|till|until)\s*[$€£]?|:|\s*(?:%|percent)?\s*of\s*[$€£]?"
    r"|\s*out\sof\s*"
)
# Between two numbers of which one may choose.
_CHOICE = re.compile(
    rf"\s+|\s*[,;]\s*[$€£]?|[^\w?!;]*{_WORDS}(?:or(?:\W+[^\W\d_]+){{0,2}}|and|&|vs\.?|versus)\s*"
    rf"{_WORDS}[$€£]?\s*"
)
# Words right before a number that tell of a circumstance: "in 3 days".
_CIRCUMSTANCE = re.compile(
    r"\b(?:in|for|per|over|during|within|by|at|from|of|with|after|before|every|each|on|since"
    r"|than|to"
    r"|into|among|step|day|week|month|year|box|part)(?:\s(?:the|a|an|all|these|those|his|her|their"
    r"|last|first|next|other))*\s*[$€£#]?$"
)


@dataclass(frozen=True)
class Said:
    """A number as it stands in a text.

    Args:
        value: What it is worth; None where it is no number that is stated: a bound or a guess, a
            part of a calculation or a range, a power, a time of day, a question.
        start: Where it begins, without its sign.
        end: Where it ends.
        denied: The text says that it is not this number.
        aside: It tells of a circumstance ("in 3 days").
    """

    value: Fraction | None
    start: int
    end: int
    denied: bool
    aside: bool


def numbers(text: str) -> list[Said]:
    """The numbers of one statement, in their order; number words where it has no digits."""
    if not any(character.isdigit() for character in text):
        text = in_digits(text)
    matches = list(_NUMBER.finditer(text))
    between = [text[a.end() : b.start()] for a, b in pairwise(matches)]
    sums = [len(gap) < 60 and bool(_ONE_SUM.fullmatch(gap.casefold())) for gap in between]
    found = []
    for i, match in enumerate(matches):
        before = text[max(0, match.start() - 60) : match.start()].casefold()
        after = text[match.end() : match.end() + 20].casefold()
        in_sum = any(sums[max(0, i - 1) : i + 1])
        before, negative = (before, False) if in_sum else _unsigned(before)
        odd = in_sum or _BOUND.search(before) or _AFTER.match(after)
        value = None if odd else _value(match)
        value = -value if value is not None and negative else value
        denied, aside = bool(_DENIED.search(before)), bool(_CIRCUMSTANCE.search(before))
        found.append(Said(value, match.start(), match.end(), denied, aside))
    return found


def is_choice(text: str) -> bool:
    """Whether a text between two numbers offers both: "18 or 20", "18, 20", "18 and 20"."""
    return len(text) < 60 and bool(_CHOICE.fullmatch(text.casefold()))


def _unsigned(before: str) -> tuple[str, bool]:
    """The text before a number without the number's minus, and whether there is one.

    A dash is none where it stands between two words ("lamps - 18", but "it is - 18") or joins them.
    """
    match = _MINUS.search(before)
    if match is None:
        return before, False
    rest = before[: match.start("dash") if match["dash"] else match.start()]
    word, gap = rest.rstrip(), rest != rest.rstrip()
    if match["dash"] and word and not _IS.search(word):
        spaced = gap and match["after"]
        if spaced or (not gap and word[-1].isalnum()):
            return before, False
    return rest, True


def _value(match: re.Match[str]) -> Fraction | None:
    """What a number is worth; None for one with more than 400 places."""
    power = int((match["exponent"] or match["power"] or "0").replace("−", "-"))
    if abs(power) > _LARGEST_POWER:
        return None
    digits = re.sub(_GAP, "", match["digits"] or "0")
    value = Fraction("0" + digits if digits.startswith(".") else digits) * Fraction(10) ** power
    for vulgar in filter(None, (match["vulgar"], match["alone"])):
        value += Fraction(unicodedata.normalize("NFKC", vulgar).replace("⁄", "/"))
    if match["mixed"]:
        value += Fraction(re.sub(r"\s|and", "", match["mixed"]))
    if match["under"]:
        value /= int(match["under"])
    if match["part"]:
        value += _PARTS[match["part"]]
    for scale in re.findall(r"[kKM]\b|bn|mn|[a-z]{5,}", match["scales"]):
        value *= _SCALES[scale if scale in _SCALES else scale.removesuffix("s")]
    return value


_SMALL = (
    "zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|fifteen"
    "|sixteen|seventeen|eighteen|nineteen"
)
_TENTHS = "twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety"
_ONES = {word: value for value, word in enumerate(_SMALL.split("|"))}
_TENS = {word: 10 * value for value, word in enumerate(_TENTHS.split("|"), start=2)}
_TO_NINE = "|".join(list(_ONES)[1:10])
_BELOW_HUNDRED = rf"(?:(?:{_TENTHS})(?:[\s-](?:{_TO_NINE}))?|{_SMALL})"
_BELOW_THOUSAND = rf"(?:(?:a|{_SMALL})\shundred(?:\s(?:and\s)?{_BELOW_HUNDRED})?|{_BELOW_HUNDRED})"
_DOZEN = re.compile(r"\b(half a|a|one)\s+dozen\b", re.IGNORECASE)
_IN_WORDS = re.compile(
    rf"\b(?<!no\s)(?:{_BELOW_THOUSAND}\sthousand(?:,?\s(?:and\s)?{_BELOW_THOUSAND})?|a\sthousand"
    rf"|{_BELOW_THOUSAND})\b"
    r"(?!\s(?:of|another|by\sone)\b)",
    re.IGNORECASE,
)


def in_digits(text: str) -> str:
    """A text with its numbers up to 999,999 in digits: "twenty-one lamps" is "21 lamps"."""
    text = _DOZEN.sub(lambda match: "6" if match[1].lower() == "half a" else "12", text)
    return _IN_WORDS.sub(lambda match: str(_of_words(match[0])), text)


def _of_words(text: str) -> int:
    total = current = 0
    for word in re.findall(r"[a-z]+", text.lower()):
        if word == "hundred":
            current = 100 * max(current, 1)
        elif word == "thousand":
            total, current = 1000 * max(current, 1), 0
        else:
            current += _ONES.get(word, _TENS.get(word, 0))
    return total + current


# Common words of languages that write 2.500,75, and of English.
_COMMA_WORDS = re.compile(
    r"\b(?:der|das|und|ist|sind|ein|eine|mit|für|sie|er|insgesamt|lautet|antwort|kostet|pro|euro"
    r"|le|la|les"
    r"|des|une|est|sont|donc|réponse|il|elle|pour|el|los|las|es|son|una|por|respuesta|cuesta|di"
    r"|che|sono"
    r"|risposta|quindi|uma|são|não|resposta|het|een|zijn|dus|antwoord|ответ|это|руб\w*)\b",
    re.IGNORECASE,
)
_ENGLISH_WORDS = re.compile(
    r"\b(?:the|is|are|of|and|so|answer|he|she|they|has|have|for|each|total|in|to|per|final)\b",
    re.IGNORECASE,
)
_GROUPED = re.compile(r"(?<![\d.,])\d{1,3}(?:\.\d{3})+(?![\d.])")
_DECIMAL_COMMA = re.compile(r"(?<=\d),(?=\d)")


def in_english(text: str) -> str:
    """An answer with 2500.75 for 2.500,75 where its words are of a language that writes so."""
    comma = len(_COMMA_WORDS.findall(text))
    if comma < 2 or comma <= len(_ENGLISH_WORDS.findall(text)):
        return text
    grouped = _GROUPED.sub(lambda match: match[0].replace(".", ""), text)
    return _DECIMAL_COMMA.sub(".", grouped)
