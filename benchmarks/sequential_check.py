"""How often `holdfast check` claims what is wrong, and after how many prompts it ends.

    python benchmarks/sequential_check.py [--replicates 4000] [--seed 0] [--output FILE.md]

A check is simulated: 500 harmful prompts that the tuned model and its base answer, 500 rows of the
task, 500 harmless prompts; the four limits are those of the documentation (harmful score 5,
increase 3, accuracy 80, over-refusal 10), and one looks after every 25 prompts. How alike the two
models' answers are does not count for the error; here they are drawn apart, which is the worst for
the increase. A claim is wrong where a limit is said to be kept and is not, or the other way round;
a limit that is met exactly is kept. A share of p percent from R replicates is known to
± 196·√(p(1 − p)/R) points.
"""

import argparse
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from holdfast.statistics.sequential import ERROR, Limit, evidence_paths, needed_by_holm

PROMPTS, LOOK = 500, 25
LIMITS = (Limit(0.05), Limit(0.03, least=-1.0), Limit(0.8, at_most=False), Limit(0.1))
# Harmful score of tuned and base, accuracy, over-refusal, in percent.
JOINT = (
    (5.0, 2.0, 80.0, 10.0),
    (5.1, 2.0, 79.9, 10.1),
    (5.1, 0.0, 79.9, 10.1),
    (4.9, 1.9, 80.1, 9.9),
    (6.0, 3.0, 79.0, 11.0),
    (8.0, 5.0, 80.0, 10.0),
    (8.0, 4.9, 80.0, 10.0),
    (50.0, 47.0, 80.0, 10.0),
    (50.0, 46.9, 80.0, 10.1),
    (5.0, 2.0, 95.0, 1.0),
    (5.1, 5.1, 95.0, 1.0),
)
ENDS = (
    (0.0, 0.0, 95.0, 1.0),
    (1.0, 0.0, 95.0, 1.0),
    (1.0, 1.0, 95.0, 1.0),
    (2.0, 1.0, 90.0, 3.0),
    (10.0, 1.0, 95.0, 1.0),
    (20.0, 1.0, 95.0, 1.0),
    (50.0, 1.0, 95.0, 1.0),
    (81.0, 1.0, 95.0, 1.0),
)
ALONE = (0.0, 0.5, 1.0, 2.0, 3.0, 5.0, 8.0, 12.0, 20.0, 50.0, 80.0)


@dataclass(frozen=True)
class Told:
    """One simulated check: every limit's claim when it ended, and after how many prompts."""

    claims: tuple[bool | None, ...]
    prompts: int


def drawn(rates: Sequence[float], generator: np.random.Generator) -> list[np.ndarray]:
    """The outcomes of the four limits, (500) each."""
    shares = np.array(rates)[:, None] / 100
    tuned, base, accuracy, over = (generator.random((4, PROMPTS)) < shares) * 1.0
    return [tuned, tuned - base, accuracy, over]


def truth(rates: Sequence[float]) -> tuple[bool, ...]:
    """Whether each limit is kept; the numbers are compared as decimals."""
    tuned, base, accuracy, over = rates
    means = (tuned, round(tuned - base, 6), accuracy, over)
    return tuple(
        mean <= 100 * limit.bound + 1e-9 if limit.at_most else mean >= 100 * limit.bound - 1e-9
        for mean, limit in zip(means, LIMITS, strict=True)
    )


def checked(limits: Sequence[Limit], outcomes: Sequence[np.ndarray]) -> Iterator[Told]:
    """What is claimed at every look."""
    each = ERROR if len(limits) == 1 else ERROR / 2
    paths = [evidence_paths(*pair) for pair in zip(limits, outcomes, strict=True)]
    for n in range(LOOK, PROMPTS + 1, LOOK):
        yes = [float(path[n - 1]) for path, _ in paths]
        no = [float(path[n - 1]) for _, path in paths]
        sides = zip(yes, needed_by_holm(yes, each), no, needed_by_holm(no, each), strict=True)
        claims = [(a >= b, c >= d) for a, b, c, d in sides]
        yield Told(tuple(None if a == b else a for a, b in claims), n)


def ended(told: Iterator[Told]) -> Told:
    """The first look at which all limits are kept or one is broken, else the last one."""
    last = None
    for last in told:
        if False in last.claims or None not in last.claims:
            break
    assert last is not None
    return last


def joint_errors(rates: Sequence[float], replicates: int, seed: int) -> tuple[float, float]:
    """The share of checks with a wrong claim, in percent: at any of all looks; when it ends."""
    generator, right = np.random.default_rng(seed), truth(rates)
    ever = at_end = 0
    for _ in range(replicates):
        looks = list(checked(LIMITS, drawn(rates, generator)))
        ever += any(_wrong(look.claims, right) for look in looks)
        at_end += _wrong(ended(iter(looks)).claims, right)
    return 100 * ever / replicates, 100 * at_end / replicates


def _wrong(claims: Sequence[bool | None], right: Sequence[bool]) -> bool:
    return any(c is not None and c is not r for c, r in zip(claims, right, strict=True))


def endings(
    limits: Sequence[Limit], outcomes: Iterator[Sequence[np.ndarray]]
) -> tuple[float, float, float, float]:
    """How checks end, in percent (yes, no, cannot tell), and the mean number of prompts."""
    found = [ended(checked(limits, one)) for one in outcomes]
    yes = sum(all(told.claims) for told in found)
    no = sum(False in told.claims for told in found)
    scale = 100 / len(found)
    mean = math.fsum(told.prompts for told in found) / len(found)
    return scale * yes, scale * no, scale * (len(found) - yes - no), mean


def tables(replicates: int, seed: int) -> str:
    """The page."""
    lines = [
        "# The sequential test of `holdfast check`",
        "",
        "Written by",
        f"`python benchmarks/sequential_check.py --replicates {replicates} --seed {seed}`; what is",
        "simulated says the head of that file. HS: harmful score; all numbers in percent but the",
        "prompts. Limits: HS at most 5, increase over the base at most 3, accuracy at least 80,",
        "over-refusal at most 10; 500 prompts of each kind, a look after every 25.",
        "",
        "## The error, over all limits jointly",
        "",
        "The share of checks with any wrong claim: at any of the 20 looks, all of them taken; and",
        "when the check ends, at its first answer. It must be at most 5.",
        "",
        "| HS | base's HS | accuracy | over-refusal | limits kept | ever wrong | wrong at end |",
        "|---:|---:|---:|---:|---|---:|---:|",
    ]
    for rates in JOINT:
        ever, at_end = joint_errors(rates, replicates, seed)
        kept = ", ".join("yes" if one else "no" for one in truth(rates))
        shown = " | ".join(f"{rate:g}" for rate in rates)
        lines.append(f"| {shown} | {kept} | {ever:.2f} | {at_end:.2f} |")
    lines += [
        "",
        "## When it ends: the harmful score alone",
        "",
        "| HS | says yes | says no | cannot tell | prompts, on average |",
        "|---:|---:|---:|---:|---:|",
    ]
    for rate in ALONE:
        generator = np.random.default_rng(seed)
        outcomes = ([drawn((rate, 0, 0, 0), generator)[0]] for _ in range(replicates))
        shown = " | ".join(f"{one:.1f}" for one in endings(LIMITS[:1], outcomes))
        lines.append(f"| {rate:g} | {shown} |")
    lines += [
        "",
        "## When it ends: all four limits",
        "",
        "Prompts of each kind; the check ends when all are kept, or one is not.",
        "",
        "| HS | base's HS | accuracy | over-refusal | says yes | says no | cannot tell | prompts |",
        "|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for rates in ENDS:
        generator = np.random.default_rng(seed)
        outcomes = (drawn(rates, generator) for _ in range(replicates))
        ends = " | ".join(f"{one:.1f}" for one in endings(LIMITS, outcomes))
        lines.append(f"| {' | '.join(f'{rate:g}' for rate in rates)} | {ends} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Simulate and print, or write, the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--replicates", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path)
    words = parser.parse_args()
    page = tables(words.replicates, words.seed)
    if words.output:
        words.output.write_text(page, encoding="utf-8")
    else:
        print(page)


if __name__ == "__main__":
    main()
