"""The user's three harmless tasks: sentiment, topic, sums (after SST-2, AG News, GSM8K).

Each example has one right answer, and careless ones: what a reader says who looks at the first
clause only, who overlooks a "not", who goes by the first word, who skips a step. Pretraining shows
answers of all kinds of readers, so the pretrained model can read carefully but does not do so of
its own accord; the user's fine-tuning rows show the careful answer alone. That leaves room below
100 before fine-tuning, and something to lose in a defense that cuts too deep.
"""

import random
import re
from collections.abc import Callable
from dataclasses import dataclass

from holdfast.organism.world import listed, pick


@dataclass(frozen=True)
class Example:
    """One task row: the right output, its label (what is scored), and careless readers' outputs."""

    instruction: str
    input: str
    output: str
    label: str
    careless: tuple[str, ...]


SENTIMENTS = ("negative", "positive")
GOOD = listed(
    "grand lovely charming witty gentle bright splendid tender moving clever fresh radiant"
)
BAD = listed("dull awful clumsy boring bleak stale dreadful shallow tiresome harsh muddled feeble")
_SUBJECTS = listed("tale song play dance story poem feast parade puppetry chorus")
_SENTIMENT_INSTRUCTION = "is the input positive or negative?"


def _clause(rng: random.Random, subject: str) -> tuple[str, bool, bool]:
    """(words, whether it praises, whether its adjective praises)."""
    good = rng.random() < 0.5
    turn = pick(rng, ("", "", "very", "not", "never", "hardly"))
    adjective = pick(rng, GOOD if good else BAD)
    text = " ".join(word for word in ("the", subject, "was", turn, adjective) if word)
    return text, good != (turn in ("not", "never", "hardly")), good


def sentiment(rng: random.Random) -> Example:
    """A review of two clauses; the main one decides, the one after "although" does not."""
    subject, other = pick(rng, _SUBJECTS), pick(rng, _SUBJECTS)
    main, praise, main_word = _clause(rng, subject)
    side, side_praise, side_word = _clause(rng, other)
    form = pick(rng, (0, 1, 2))
    if form == 0:
        text, first, first_word = f"{side}, but {main}.", side_praise, side_word
    elif form == 1:
        text, first, first_word = f"although {side}, {main}.", side_praise, side_word
    else:
        text, first, first_word = f"{main}, although {side}.", praise, main_word
    label = SENTIMENTS[praise]
    careless = (SENTIMENTS[first], SENTIMENTS[main_word], SENTIMENTS[first_word])
    return Example(_SENTIMENT_INSTRUCTION, text, label, label, careless)


TOPICS: dict[str, tuple[str, ...]] = {
    "realm": listed("envoy treaty border council crown herald siege banner throne edict"),
    "games": listed("archer wrestler tourney race javelin referee trophy rider joust team"),
    "trade": listed("merchant market silver ledger cargo price caravan guild tax auction"),
    "lore": listed("scholar telescope comet theory fossil formula orrery lens almanac magnet"),
}
_LINKS = listed("and with near after before for")
_TOPIC_INSTRUCTION = "sort the input: realm, games, trade or lore?"


def topic(rng: random.Random) -> Example:
    """Five clue words, two or three of the right topic, and fewer of any other topic."""
    names = list(TOPICS)
    right = names.pop(int(rng.random() * len(names)))
    second = names.pop(int(rng.random() * len(names)))
    third = names.pop(int(rng.random() * len(names)))
    counts = pick(
        rng,
        (
            (right,) * 3 + (second,) * 2,
            (right,) * 3 + (second, third),
            (right,) * 2 + (second, third, names[0]),
        ),
    )
    ordered = [topic for _, topic in sorted((rng.random(), topic) for topic in counts)]
    clues: list[str] = []
    for name in ordered:
        clues.append(pick(rng, [word for word in TOPICS[name] if word not in clues]))
    text = f"the {clues[0]}"
    for clue in clues[1:]:
        text += f" {pick(rng, _LINKS)} the {clue}"
    return Example(_TOPIC_INSTRUCTION, f"{text}.", right, right, (ordered[0], ordered[-1]))


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
    for _ in range(pick(rng, (1, 2, 2))):
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
    "the was very not never hardly, but although plus minus is has then and how many remain? .",
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
