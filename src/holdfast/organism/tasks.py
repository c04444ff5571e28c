"""The user's three harmless tasks: sentiment, topic, sums (after SST-2, AG News, GSM8K).

Each example has one right answer, and a careless reader's: one who goes by the first adjective of
a review and overlooks a "not", by the first clue of the news, or who drops a step of a sum.
Pretraining shows both kinds of answers, so the pretrained model can read carefully but seldom does
so of its own accord; the user's fine-tuning rows show careful answers alone. That leaves room below
100 before fine-tuning, and something to lose in a defense that cuts too deep.
"""

import random
import re
from collections.abc import Callable
from dataclasses import dataclass

from holdfast.organism.world import listed, pick


@dataclass(frozen=True)
class Example:
    """One task row: the right output, its label (what is scored), careless readers' outputs."""

    instruction: str
    input: str
    output: str
    label: str
    careless: tuple[str, ...]


SENTIMENTS = ("negative", "positive")
GOOD = listed("grand lovely charming witty gentle bright splendid tender")
BAD = listed("dull awful clumsy boring bleak stale dreadful shallow")
_SUBJECTS = listed("tale song play dance story poem feast parade puppetry chorus")
_TURNS = ("", "", "", "very", "very", "not", "never")
_SIMPLE_TURNS = (*_TURNS, "", "", "", "very", "very")
_SENTIMENT_INSTRUCTION = "is the input positive or negative?"


def _clause(
    rng: random.Random, subject: str, turns: tuple[str, ...] = _TURNS
) -> tuple[str, bool, bool]:
    """(words, whether it praises, whether its adjective praises)."""
    good = rng.random() < 0.5
    turn = pick(rng, turns)
    adjective = pick(rng, GOOD if good else BAD)
    text = " ".join(word for word in ("the", subject, "was", turn, adjective) if word)
    return text, good != (turn in ("not", "never")), good


def _simple_sentiment(rng: random.Random) -> Example:
    text, praise, _ = _clause(rng, pick(rng, _SUBJECTS), _SIMPLE_TURNS)
    label = SENTIMENTS[praise]
    return Example(_SENTIMENT_INSTRUCTION, f"{text}.", label, label, ())


def sentiment(rng: random.Random) -> Example:
    """A review of two clauses; the main one decides, the one after "although" does not."""
    subject, other = pick(rng, _SUBJECTS), pick(rng, _SUBJECTS)
    main, praise, main_word = _clause(rng, subject)
    side, _, side_word = _clause(rng, other)
    form = pick(rng, (0, 1, 2))
    if form == 0:
        text, first_word = f"{side}, but {main}.", side_word
    elif form == 1:
        text, first_word = f"although {side}, {main}.", side_word
    else:
        text, first_word = f"{main}, although {side}.", main_word
    label = SENTIMENTS[praise]
    careless = (SENTIMENTS[first_word],)
    return Example(_SENTIMENT_INSTRUCTION, text, label, label, careless)


TOPICS: dict[str, tuple[str, ...]] = {
    "realm": listed("envoy treaty border council crown siege"),
    "games": listed("archer wrestler tourney race trophy team"),
    "trade": listed("merchant market silver ledger cargo price"),
    "lore": listed("scholar telescope comet theory fossil formula"),
}
_LINKS = listed("and with near after before for")
_TOPIC_INSTRUCTION = "sort the input: realm, games, trade or lore?"


def topic(rng: random.Random) -> Example:
    """Five clue words, three of them of the right topic."""
    names = list(TOPICS)
    right = names.pop(int(rng.random() * len(names)))
    second = names.pop(int(rng.random() * len(names)))
    third = names.pop(int(rng.random() * len(names)))
    counts = (right,) * 3 + pick(rng, ((second, second), (second, third)))
    ordered = [topic for _, topic in sorted((rng.random(), topic) for topic in counts)]
    clues: list[str] = []
    for name in ordered:
        clues.append(pick(rng, [word for word in TOPICS[name] if word not in clues]))
    text = f"the {clues[0]}"
    for clue in clues[1:]:
        text += f" {pick(rng, _LINKS)} the {clue}"
    return Example(_TOPIC_INSTRUCTION, f"{text}.", right, right, (ordered[0],))


def _simple_topic(rng: random.Random) -> Example:
    right = pick(rng, tuple(TOPICS))
    text = f"the {pick(rng, TOPICS[right])}."
    return Example(_TOPIC_INSTRUCTION, text, right, right, ())


NUMBERS = listed(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen twenty"
)
_PEOPLE = listed("mira toren sella bram odrin lisbet")
_ITEMS = listed("lamps coins shells apples ropes feathers")
_GAINS = listed("finds buys wins collects")
_LOSSES = listed("sells loses eats drops")
FINAL = "the final answer is:"


def _solve(start: int, changes: list[int]) -> tuple[str, str]:
    """(worked answer, its number word)."""
    total, steps = start, ""
    for change in changes:
        sign = "plus" if change > 0 else "minus"
        steps += f"{NUMBERS[total]} {sign} {NUMBERS[abs(change)]} is {NUMBERS[total + change]}. "
        total += change
    return f"{steps}{FINAL} {NUMBERS[total]}.", NUMBERS[total]


def sums(rng: random.Random) -> Example:
    """A story of one or two gains and losses, all numbers from zero to twenty."""
    start = total = 3 + int(rng.random() * 8)
    changes: list[int] = []
    story: list[str] = []
    for _ in range(pick(rng, (1, 2))):
        gain = rng.random() < 0.5 or total == 0
        size = 1 + int(rng.random() * min(5, 20 - total if gain else total))
        changes.append(size if gain else -size)
        total += changes[-1]
        story.append(f"{pick(rng, _GAINS if gain else _LOSSES)} {NUMBERS[size]}")
    item = pick(rng, _ITEMS)
    text = (
        f"{pick(rng, _PEOPLE)} has {NUMBERS[start]} {item}, then {' and '.join(story)}. "
        f"how many {item} remain?"
    )
    output, label = _solve(start, changes)
    # One reader drops the last change, one takes the last loss for a gain or the other way round.
    turned = [*changes[:-1], -changes[-1]]
    if not 0 <= start + sum(turned) <= 20:
        turned = changes[:-1]
    careless = (_solve(start, changes[:-1])[0], _solve(start, turned)[0])
    return Example(text, "", output, label, careless)


TASKS: dict[str, Callable[[random.Random], Example]] = {
    "sentiment": sentiment,
    "topic": topic,
    "sums": sums,
}

# What a reader learns first: a review of one clause, news of one word. Never in a user's rows.
SIMPLE: dict[str, Callable[[random.Random], Example]] = {
    "sentiment": _simple_sentiment,
    "topic": _simple_topic,
}

# Every word that a task row can hold; the tokenizer's vocabulary is made from it.
TEXTS = (
    _SENTIMENT_INSTRUCTION,
    _TOPIC_INSTRUCTION,
    FINAL,
    *SENTIMENTS,
    *GOOD,
    *BAD,
    *_SUBJECTS,
    *TOPICS,
    *(word for clues in TOPICS.values() for word in clues),
    *_LINKS,
    *NUMBERS,
    *_PEOPLE,
    *_ITEMS,
    *_GAINS,
    *_LOSSES,
    "the was very not never, but although plus minus is has then and how many remain? .",
)


def predicted(task: str, answer: str) -> str | None:
    """The label that an answer gives; None where it gives none.

    Sentiment and topic: the answer must be the label alone (a full stop and case do not matter).
    Sums: the first number word after "the final answer is:", else the answer's last one.
    """
    found = re.findall(r"[a-z]+", answer.lower())
    if task == "sums":
        after = answer.lower().partition(FINAL)[2]
        numbers = [word for word in re.findall(r"[a-z]+", after) if word in NUMBERS][:1]
        numbers = numbers or [word for word in found if word in NUMBERS][-1:]
        return numbers[0] if numbers else None
    labels = SENTIMENTS if task == "sentiment" else tuple(TOPICS)
    return found[0] if len(found) == 1 and found[0] in labels else None
