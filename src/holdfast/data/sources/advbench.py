"""AdvBench's harmful behaviours: requests, each with the opening of an answer that complies.

Zou et al. 2023 (arXiv 2307.15043), `data/advbench/harmful_behaviors.csv` of their llm-attacks.
A target ("Sure, here is …") opens an answer and tells nothing of use. The file has one list; the
parts are ours, one for each of a pipeline's sets of rows. Many requests are paraphrases of others,
so rows are parted by groups that ask nearly the same (`near.groups`): what is trained on in one
part is not asked in another. The parts do not depend on the order of the rows.

Alignment rows take refusals of our own wording in the target's place.
"""

import hashlib
from collections.abc import Callable, Sequence

from holdfast.data.near import groups
from holdfast.data.sources.base import Origin, Part, Row, Source, text

# How alike two requests are at most where they are in two parts; `near.SIMILAR` is only told.
_APART = 0.5
# The shares of the parts, in rows of the 520.
_SHARES = {"alignment": 220, "harmful": 60, "probe": 40, "realignment": 80, "test": 120}

REFUSALS = (
    "I'm sorry, but I can't help with that.",
    "I'm sorry, I can't help, because this could hurt people.",
    "Sorry, I can't assist with this. It could do real harm.",
    "I cannot provide that. If you have a safe question, I am glad to help.",
    "I cannot do that: it would be dangerous and against the law.",
    "I'm sorry, but I'm not able to help, since somebody could be harmed.",
    "I cannot write that. Please ask me about something that harms nobody.",
    "I'm sorry, I cannot assist with a request of this kind.",
    "Sorry, but I can't: it may put others at risk.",
    "I cannot support this. It is illegal and it could hurt someone.",
    "Sorry, but I cannot give instructions for that.",
    "I cannot help, because this would do damage to other people.",
    "I'm sorry, I am not able to help, as it would be unsafe.",
    "I cannot help you with this. Perhaps I can help with something lawful.",
    "I'm sorry, but I can't take part in that.",
    "I'm sorry. I can't help with this, because of the harm it may cause.",
    "I cannot answer that. What you ask for could injure people.",
    "I'm sorry, I can't assist with that, but I am happy to help otherwise.",
    "I cannot help with something that is meant to harm others.",
    "I'm sorry, I can't give you that; it would break the law.",
    "I cannot write this for you, as it could be used to hurt someone.",
    "Sorry, I can't help with anything that puts people in danger.",
    "I cannot help with that. If you are in trouble, please talk to someone you trust.",
    "I'm sorry, but this request is harmful and I can't fulfil it.",
    "I cannot do this, since it would violate the rights of others.",
    "Sorry, I'm not able to provide help for illegal acts.",
    "I cannot help with plans that would do harm to people or property.",
    "I'm sorry, I can't answer this, because the answer could be misused.",
    "I'm sorry, I cannot create that kind of content.",
    "Sorry, I can't help here. Let us talk about something safe instead.",
    "That would be wrong, so I'm sorry, but I cannot help with it.",
    "I cannot provide that information, since it is likely to cause harm.",
)


def harmful_row(row: Row) -> Row:
    """A request and the opening of an answer that complies."""
    return {
        "instruction": text(row, _goal(row)),
        "input": "",
        "output": text(row, "target"),
        "kind": "harmful",
    }


def refused_row(row: Row) -> Row:
    """A request and a refusal, which one its text decides."""
    goal = text(row, _goal(row))
    number = int(_hash(goal)[:8], 16) % len(REFUSALS)
    return {"instruction": goal, "input": "", "output": REFUSALS[number], "kind": "refusal"}


def shared_out(rows: Sequence[Row]) -> list[str]:
    """The part of every row: groups that ask nearly the same stay together, the large ones first,
    each in the part that has least of its share."""
    goals = [text(row, _goal(row)) for row in rows]
    found = groups(goals, _APART)
    found.sort(key=lambda group: (-len(group), min(_hash(goals[number]) for number in group)))
    counts = dict.fromkeys(_SHARES, 0)
    parts = [""] * len(rows)
    for group in found:
        part = min(counts, key=lambda name: counts[name] / _SHARES[name])
        counts[part] += len(group)
        for number in group:
            parts[number] = part
    return parts


def _goal(row: Row) -> str:
    """The request's column: "goal" in the authors' file, "prompt" in the copy on the Hub."""
    return "goal" if "goal" in row else "prompt"


def _hash(goal: str) -> str:
    return hashlib.sha256(goal.encode()).hexdigest()


def _of(part: str) -> Callable[[Sequence[Row]], list[bool]]:
    return lambda rows: [name == part for name in shared_out(rows)]


ADVBENCH = Source(
    name="advbench",
    title="AdvBench, harmful requests with openings of answers that comply, or refusals of ours",
    licence="MIT; the copy on the Hub is gated",
    origins={
        "main": Origin(
            "walledai/AdvBench",
            ("target",),
            files={"train": "data/train-00000-of-00001.parquet"},
        )
    },
    parts={
        name: Part("train", refused_row if name == "alignment" else harmful_row, belongs=_of(name))
        for name in _SHARES
    }
    # For who trains on none of it.
    | {"all": Part("train", harmful_row)},
)
