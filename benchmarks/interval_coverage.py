"""How often the report's 95 % intervals hold the truth, in simulations where it is known.

    python benchmarks/interval_coverage.py [--replicates 2000] [--workers 2] [--output FILE.md]

A study is simulated: every seed has a rate of its own, drawn from a Beta distribution with the true
mean and a between-seed spread; it answers prompts harmfully with that rate. Prompts are new for
every seed, or the same for all; then a part of what decides an answer belongs to the prompt
("shared": the correlation of the answers' latent normal variables between seeds). The truth is the
mean rate, over seeds and prompts that were not drawn. A hierarchical bootstrap (seeds, then prompts
within them or for all of them; percentiles) and Student's interval over the seeds stand beside the
report's intervals. A percentage p from R replicates is known to ± 196·√(p(1 − p)/R) points.

The worst case is simulated likewise: one variant under several attacks that ask the same prompts;
the truth is the largest of their rates.
"""

import argparse
import math
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path
from statistics import NormalDist

import numpy as np

from holdfast.statistics.estimates import Estimate, t_interval, wilson
from holdfast.statistics.intervals import difference_interval, mean_interval
from holdfast.statistics.worst import worst_cases

GENERATOR = np.random.default_rng(0)
BOOTSTRAP = 300  # its replicates; its coverage is measured on a twentieth of the studies


@dataclass(frozen=True)
class Setting:
    """One simulated study.

    Args:
        seeds, prompts: How many.
        rate: The true mean rate.
        other: The second variant's, for a difference; None for a mean.
        spread: The standard deviation of the seeds' rates.
        shared: None for prompts of each seed's own; else what the prompts share, 0 to 1.
        alike: How far the seeds' rates of the two variants go together, 0 to 1.
    """

    seeds: int
    prompts: int
    rate: float
    other: float | None
    spread: float
    shared: float | None
    alike: float = 0.5

    @property
    def truth(self) -> float:
        """In percent, or in points for a difference."""
        return 100 * (self.rate - (self.other or 0.0))


def settings(seeds: tuple[int, ...] = (2, 3, 5, 10)) -> Iterator[Setting]:
    """The settings of the tables: means first, then differences."""
    for s in seeds:
        for n in (100, 500):
            for shared in (None, 0.4, 0.8):
                for rate in (0.02, 0.1, 0.4, 0.95):
                    room = min(rate, 1 - rate)
                    for spread in (0, 0.01, 0.05, 0.15):
                        if spread <= 0.6 * room:
                            yield Setting(s, n, rate, None, spread, shared)
    for s in seeds:
        for n in (100, 500):
            for shared in (None, 0.4, 0.8):
                for pair in ((0.02, 0.02), (0.02, 0.1), (0.3, 0.3), (0.6, 0.3), (0.95, 0.6)):
                    for part in (0, 0.4):
                        yield Setting(s, n, pair[0], pair[1], part, shared)


def draw(setting: Setting, rate: float, luck: np.ndarray, hardness: np.ndarray) -> np.ndarray:
    """Outcomes (seeds, prompts), 0 or 1.

    Args:
        setting: the study.
        rate: the variant's mean rate.
        luck: (seeds,) a uniform number for each seed's rate.
        hardness: (seeds or 1, prompts) the prompts' normal part of the latent variable.
    """
    spread = setting.spread
    if setting.other is not None:  # there as a part of the room that the rate has
        spread *= min(rate, 1 - rate, 0.3)
    rates = np.full(setting.seeds, rate)
    if spread:
        rates = _beta_quantiles(rate, spread)[(luck * 4096).astype(int)]
    own = GENERATOR.standard_normal((setting.seeds, setting.prompts))
    shared = setting.shared or 0.0
    latent = math.sqrt(shared) * hardness + math.sqrt(1 - shared) * own
    limits = np.array([NormalDist().inv_cdf(min(max(r, 1e-12), 1 - 1e-12)) for r in rates])
    return (latent < limits[:, None]).astype(float)


_QUANTILES: dict[tuple[float, float], np.ndarray] = {}


def _beta_quantiles(mean: float, spread: float) -> np.ndarray:
    """4096 equally likely values of the Beta distribution with this mean and spread."""
    if (mean, spread) not in _QUANTILES:
        size = mean * (1 - mean) / spread**2 - 1
        drawn = np.sort(np.random.default_rng(1).beta(mean * size, (1 - mean) * size, 4096 * 256))
        values = drawn.reshape(4096, 256).mean(axis=1)
        _QUANTILES[mean, spread] = values + mean - values.mean()
    return np.clip(_QUANTILES[mean, spread], 0, 1)


def study(setting: Setting) -> tuple[np.ndarray, np.ndarray | None]:
    """The outcomes of one simulated study: the variant's, and the other's for a difference."""
    own_prompts = setting.shared is None
    hardness = GENERATOR.standard_normal((setting.seeds if own_prompts else 1, setting.prompts))
    if setting.other is None:
        return draw(setting, setting.rate, GENERATOR.random(setting.seeds), hardness), None
    common = GENERATOR.standard_normal(setting.seeds)
    lucks = []
    for _ in range(2):
        own = GENERATOR.standard_normal(setting.seeds)
        latent = math.sqrt(setting.alike) * common + math.sqrt(1 - setting.alike) * own
        lucks.append(np.array([NormalDist().cdf(v) for v in latent]))
    if own_prompts:  # the two variants are asked the same prompts all the same
        return _paired_own(setting, lucks, hardness)
    return (
        draw(setting, setting.rate, lucks[0], hardness),
        draw(setting, setting.other, lucks[1], hardness),
    )


def _paired_own(
    setting: Setting, lucks: list[np.ndarray], hardness: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    half = Setting(**{**vars(setting), "shared": 0.5})
    assert setting.other is not None
    return (
        draw(half, setting.rate, lucks[0], hardness),
        draw(half, setting.other, lucks[1], hardness),
    )


def report_interval(setting: Setting, a: np.ndarray, b: np.ndarray | None) -> tuple[float, float]:
    """The interval that a report shows."""
    same = setting.shared is not None
    if b is None:
        seeds = [wilson(int(row.sum()), len(row)) for row in a]
        found = mean_interval(seeds, list(a), same, percent=True)
        return found.low, found.high
    d = a - b
    difference = difference_interval([100 * r.mean() for r in d], list(d), same, percent=True)
    return difference.low, difference.high


def bootstrap_interval(setting: Setting, y: np.ndarray) -> tuple[float, float]:
    """Percentiles of a hierarchical bootstrap: seeds, then prompts."""
    s, n = y.shape
    if setting.shared is None:
        # Prompts drawn anew from a seed's answers: how often each of their values comes.
        values = np.array([-1.0, 0.0, 1.0])
        shares = (y[:, :, None] == values).mean(axis=1)
        rows = GENERATOR.integers(s, size=(BOOTSTRAP, s))
        means = (GENERATOR.multinomial(n, shares[rows]) @ values / n).mean(axis=1)
    else:
        seeds = GENERATOR.multinomial(s, np.full(s, 1 / s), BOOTSTRAP)
        prompts = GENERATOR.multinomial(n, np.full(n, 1 / n), BOOTSTRAP)
        means = ((seeds @ y) * prompts).sum(axis=1) / (s * n)
    low, high = np.quantile(100 * means, (0.025, 0.975))
    return float(low), float(high)


def coverage(setting: Setting, replicates: int, seed: int = 0) -> tuple[float, float, float]:
    """The share of simulated studies, in percent, whose interval holds the truth.

    Returns:
        The report's, Student's over the seeds, the bootstrap's (of a twentieth of the replicates).
    """
    global GENERATOR
    GENERATOR = np.random.default_rng(seed)
    hits, boots = np.zeros(3), max(1, replicates // 20)
    for number in range(replicates):
        a, b = study(setting)
        y = a if b is None else a - b
        student = t_interval((100 * y.mean(axis=1)).tolist())
        intervals = [report_interval(setting, a, b), (student.low, student.high)]
        if number < boots:
            intervals.append(bootstrap_interval(setting, y))
        for i, (low, high) in enumerate(intervals):
            hits[i] += low - 1e-9 <= setting.truth <= high + 1e-9
    report, plain, bootstrap = 100 * hits / (replicates, replicates, boots)
    return float(report), float(plain), float(bootstrap)


@dataclass(frozen=True)
class Attacks:
    """A variant under several attacks.

    Args:
        seeds: How many; 200 prompts, which all seeds and attacks share.
        rates: The true mean rate under each attack.
        spread: The standard deviation of the seeds' rates.
    """

    seeds: int
    rates: tuple[float, ...]
    spread: float


# As many attacks of one rate, one that stands out, and rare answers.
_RATES = ((0.5,) * 4, (0.5,) * 8, (0.2, 0.3, 0.4, 0.5), (0.45, 0.48, 0.5, 0.5), (0.05,) * 4)
ATTACKS = [Attacks(s, rates, spread) for s in (3, 5) for rates in _RATES for spread in (0.0, 0.02)]


def worst_coverage(attacks: Attacks, replicates: int, seed: int = 0) -> float:
    """The share of simulated studies, in percent, whose interval holds the largest rate."""
    global GENERATOR
    GENERATOR = np.random.default_rng(seed)
    count, hits = attacks.seeds, 0
    places = [("variant", {"harmful_ratio": k}, count) for k, _ in enumerate(attacks.rates)]
    study = Setting(count, 200, 0.5, None, attacks.spread, 0.4)
    for _ in range(replicates):
        hardness = GENERATOR.standard_normal((1, study.prompts))
        under = [draw(study, r, GENERATOR.random(count), hardness) for r in attacks.rates]
        shares = [[wilson(int(row.sum()), len(row)) for row in y] for y in under]

        def interval(
            i: int, level: float, shares: list = shares, under: list = under
        ) -> Estimate | None:
            return mean_interval(shares[i], list(under[i]), True, percent=True, level=level)

        found = worst_cases(places, interval)[0].estimate
        hits += found.low - 1e-9 <= 100 * max(attacks.rates) <= found.high + 1e-9
    return 100 * hits / replicates


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--replicates", type=int, default=2000)
    parser.add_argument("--output", type=Path, default=Path("benchmarks/coverage.md"))
    options = parser.parse_args()
    lines = [
        "# Coverage of the 95 % intervals",
        "",
        f"Written by `python benchmarks/interval_coverage.py --replicates {options.replicates}`:",
        "the share of simulated studies, in percent, whose interval holds the truth. What is",
        "simulated says the head of that file. Spread: between seeds, in points; for a difference",
        "as a part of the room that a rate has. Student: over the seeds' values alone. Bootstrap:",
        "seeds, then prompts, percentiles, on a twentieth of the studies.",
        "",
        "| seeds | prompts | shared | rate | minus | spread | report | Student | bootstrap |",
        "|---:|---:|---|---:|---:|---:|---:|---:|---:|",
    ]
    outside, asked = [], list(settings())
    with ProcessPoolExecutor(options.workers, get_context("spawn")) as pool:
        # Every setting has random numbers of its own, so that their counts are independent.
        found = pool.map(coverage, asked, repeat(options.replicates), range(len(asked)))
        lines += _rows(asked, found, outside)
        held = pool.map(worst_coverage, ATTACKS, repeat(options.replicates), range(len(ATTACKS)))
        lines += _worst_rows(held)
    error = 196 * math.sqrt(0.95 * 0.05 / options.replicates)
    all_of, outside_of = (Counter(one.seeds for one in some) for some in (asked, outside))
    summary = [
        f"- {s} seeds: {n - outside_of[s]} of {n} settings are within 93 to 97 %"
        for s, n in all_of.items()
    ]
    lines[7:7] = [
        "",
        *summary,
        "",
        f"The others are in bold. A percentage is known to ± {error:.1f}.",
    ]
    options.output.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(*summary, f"written to {options.output}", sep="\n")


def _rows(
    asked: list[Setting], found: Iterable[tuple[float, float, float]], outside: list[Setting]
) -> Iterator[str]:
    """The lines of the table, as they come; settings that are not covered go to ``outside``."""
    for setting, (report, plain, bootstrap) in zip(asked, found, strict=True):
        difference = setting.other is not None
        cells = [
            str(setting.seeds),
            str(setting.prompts),
            "own" if setting.shared is None else f"{setting.shared:g}",
            f"{100 * setting.rate:g}",
            f"{100 * setting.other:g}" if setting.other is not None else "–",
            f"{setting.spread:g}" if difference else f"{100 * setting.spread:g}",
            f"{report:.1f}" if 93 <= report <= 97 else f"**{report:.1f}**",
            f"{plain:.1f}",
            f"{bootstrap:.1f}",
        ]
        if not 93 <= report <= 97:
            outside.append(setting)
        line = "| " + " | ".join(cells) + " |"
        print(line, flush=True)
        yield line


def _worst_rows(held: Iterable[float]) -> Iterator[str]:
    """The table of the worst case."""
    yield from ("", "## The worst case", "", "| seeds | rates | spread | report |")
    yield "|---:|---|---:|---:|"
    for attacks, share in zip(ATTACKS, held, strict=True):
        rates = ", ".join(f"{100 * rate:g}" for rate in attacks.rates)
        yield f"| {attacks.seeds} | {rates} | {100 * attacks.spread:g} | {share:.1f} |"


if __name__ == "__main__":
    main()
