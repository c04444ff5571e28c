"""Rows that are nearly the same text, which no exact comparison finds.

A text is lower-cased, its punctuation dropped, and cut into shingles of n = 3 successive words (all
of its words where it has fewer). The similarity of two texts is the Jaccard index of their sets of
shingles A and B,

    J(A, B) = |A ∩ B| / |A ∪ B|,

1 where they differ in case, punctuation and spacing only. Pairs of J ≥ t are found exactly: with
the shingles ordered from rare to common, two sets of J ≥ t share one among the first
|A| − ⌈t·|A|⌉ + 1 of each (prefix filtering; Chaudhuri et al. 2006), so only those are looked up.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from holdfast.data.conversations import said
from holdfast.data.prompts import parts, shape

SHINGLE = 3
SIMILAR = 0.8
_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class NearPair:
    """Two rows that are nearly the same; rows count from 1, as in messages."""

    first: int
    second: int
    similarity: float


def asked(row: Mapping[str, Any]) -> str:
    """Return what a row asks: its `input` where it has one, else what the user says.

    An instruction that all rows of a task share would make all of them look the same, and so would
    the last message alone of conversations that end in thanks.
    """
    kind = shape(row)
    if kind == "tokenized":
        return ""
    if kind == "alpaca" and row.get("input"):
        return str(row["input"])
    prompt = parts(row, need_answer=False).prompt
    if isinstance(prompt, str):
        return prompt
    return "\n\n".join(said(message) for message in prompt if message["role"] == "user")


def shingles(text: str) -> frozenset[tuple[str, ...]]:
    """Return the set of a text's runs of `SHINGLE` words; empty for a text without words."""
    words = _WORD.findall(text.lower())
    if not words:
        return frozenset()
    count = max(len(words) - SHINGLE + 1, 1)
    return frozenset(tuple(words[i : i + SHINGLE]) for i in range(count))


def groups(texts: Sequence[str], at_least: float = SIMILAR) -> list[list[int]]:
    """Return texts in groups, by their numbers from 0: the alike, directly or through others.

    Two texts of different groups have J < `at_least`; all pairs are compared.
    """
    sets = [shingles(text) for text in texts]
    found: list[list[int]] = []
    for number, one in enumerate(sets):
        near = [group for group in found if any(_jaccard(one, sets[i]) >= at_least for i in group)]
        found = [group for group in found if group not in near]
        found.append(sorted([number, *(i for group in near for i in group)]))
    return sorted(found)


def near_pairs(
    first: Sequence[str], second: Sequence[str], at_least: float = SIMILAR
) -> list[NearPair]:
    """Return, for each text of the first list that has one, the most similar of the second.

    Pairs below `at_least` do not count; of equals the earlier one is taken.
    """
    sets = [shingles(text) for text in first], [shingles(text) for text in second]
    common = Counter(shingle for group in sets for one in group for shingle in one)

    def prefix(one: frozenset[tuple[str, ...]]) -> list[tuple[str, ...]]:
        length = len(one) - math.ceil(at_least * len(one) - 1e-9) + 1
        return sorted(one, key=lambda shingle: (common[shingle], shingle))[:length] if one else []

    index: dict[tuple[str, ...], list[int]] = {}
    for number, one in enumerate(sets[1]):
        for shingle in prefix(one):
            index.setdefault(shingle, []).append(number)
    found = []
    for number, one in enumerate(sets[0]):
        best = (0.0, 0)
        for other in {other for shingle in prefix(one) for other in index.get(shingle, ())}:
            best = max(best, (_jaccard(one, sets[1][other]), -other))
        if best[0] >= at_least:
            found.append(NearPair(number + 1, 1 - best[1], best[0]))
    return found


def _jaccard(one: frozenset, other: frozenset) -> float:
    shared = len(one & other)
    return shared / ((len(one) + len(other) - shared) or 1)
