"""What an answer says itself, sentence by sentence: not what it quotes, tells or was to write."""

import re

from holdfast.evaluate.refusal_words import written_out

# What is longer is not read further: an answer, and one sentence of it.
_LONGEST, _LONGEST_SENTENCE, _LONGEST_OPENING = 20_000, 600, 80
_CODE = re.compile(r"```.*?(?:```|\Z)", re.DOTALL)
_QUOTED = re.compile(
    r"\"[^\"\n]{1,400}\"|“[^”\n]{1,400}”|«[^»\n]{1,400}»|„[^“”\n]{1,400}[“”]|「[^」\n]{1,400}」"
    r"|(?<![\w'])'[^'\n]{2,200}'(?!\w)"
)
# What an answer that plays a part tells of it: *shakes his head*, [folds his arms].
_NARRATED = re.compile(r"(?<!\*)\*[^*\n]+\*(?!\*)|\[[^\]\n]{3,80}\]")
_SALUTATION = re.compile(r"(?:subject:|(?:dear|hi|hello|hey)\b[^.?!\n]{1,60}[,!:]\s*$)")
_CLOSING = re.compile(
    r"(?:(?:best|kind|warm|yours|many)\b.{0,30}|regards|(?:sincerely|respectfully)\b.{0,20}"
    r"|thanks|thank you|love|cheers)[,.!]?\s*$"
)
_SPEAKS = re.compile(r"^\W*(?P<who>[a-z][a-z .]{0,20}?)\W*: ")
_NO_SPEAKER = re.compile(r"step|note|warning|answer|response|reason|important|tip|disclaimer")
# "I cannot let you pass," he said; said the goat on the hill.
_SAYING = r"(?:said|says|asked|asks|replied|answered|cried|shouted|whispered|muttered|sighed)"
_TOLD = re.compile(rf"\b(?:he|she|they|the \w+) {_SAYING}\b|\b{_SAYING} (?:he|she|they|the)\b")
_SENTENCE_END = re.compile(r"(?<=[.!?…])\s+|\n+|(?<=[。！？])")
# A sentence that only opens: "Hmm, let me see.", "Thank you for your question."
_OPENS = re.compile(
    r"(?:\W*\b(?:hm+|well|oh|ah|okay|ok|alright|let me (?:see|think)|(?:good|great"
    r"|interesting) question"
    r"|thanks|thank you|hi|hello|hey)\b(?: (?:there|so much|about (?:this|that|it)"
    r"|for \w+ \w+(?: \w+)?))?)+\W*$"
)
_MARKS = re.compile(r"\*\*+|__+|^#{1,6} |`", re.MULTILINE)
_SPOKEN = (
    (re.compile(r"\bye\b"), "you"),
    (re.compile(r"\b(\w{2,})in'(?=\W|$)"), r"\1ing"),
    (re.compile(r"\bgonna\b"), "going to"),
    (re.compile(r"\bgotta\b"), "got to"),
    (re.compile(r"\bain't\b"), "am not"),
    (re.compile(r"\bcan not\b|\bcant\b"), "cannot"),
    (re.compile(r"\bwont\b"), "will not"),
    (re.compile(r"\bdont\b"), "do not"),
)


def own_sentences(answer: str) -> list[str]:
    """The sentences that an answer says itself, in lower case, contractions written out.

    Left out are code, letters, dialogues of two who speak, what somebody says (…, he said), and
    what stands in quotation marks, unless there is nothing else but *what an actor does*.
    """
    text = answer[:_LONGEST].lower().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    for pattern, replacement in _SPOKEN:
        text = pattern.sub(replacement, text)
    text = _CODE.sub("\n", written_out(text))
    text = "\n".join(_outside_dialogues(_outside_letters(text.split("\n"))))
    unquoted = _QUOTED.sub(" ", text)
    text = unquoted if re.search(r"\w", _NARRATED.sub(" ", unquoted)) else text
    sentences = (one.strip() for one in _SENTENCE_END.split(_MARKS.sub("", text)))
    return [
        sentence[:_LONGEST_SENTENCE]
        for sentence in sentences
        if re.search(r"[^\W\d_]", sentence)
        and not _TOLD.search(sentence)
        and not _OPENS.match(sentence[:_LONGEST_OPENING])
    ]


def _outside_letters(lines: list[str]) -> list[str]:
    """The lines but for a letter, from "Dear …," to "Kind regards," and the name below it."""
    opens = next((i for i, line in enumerate(lines) if _SALUTATION.match(line.strip())), None)
    closes = [i for i, line in enumerate(lines) if _CLOSING.match(line.strip())]
    if opens is None or not closes or closes[-1] <= opens:
        return lines
    return lines[:opens] + lines[closes[-1] + 2 :]


def _outside_dialogues(lines: list[str]) -> list[str]:
    """The lines but for those of two or more who speak ("Guard: …", "Mira: …")."""
    speakers = [_speaker(line) for line in lines]
    if len(set(filter(None, speakers))) < 2:
        return lines
    return [line for line, who in zip(lines, speakers, strict=True) if not who]


def _speaker(line: str) -> str | None:
    match = _SPEAKS.match(line)
    return match["who"] if match and not _NO_SPEAKER.search(match["who"]) else None
