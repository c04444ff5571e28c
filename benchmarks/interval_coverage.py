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
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from scipy.special import ndtr, ndtri

from holdfast.statistics.estimates import LEVEL, Estimate
from holdfast.statistics.intervals import combined, crossed, half_width, score_ends
from holdfast.statistics.student import t_quantile
from holdfast.statistics.worst import worst_cases

GENERATOR = np.random.default_rng(0)
_CELLS = 4_000_000  # outcomes that are drawn at once
_FEW = 100  # fewer ties tell nothing
BOOTSTRAP = 300  # its replicates; its coverage is measured on a hundredth of the studies


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
    """Outcomes (studies, seeds, prompts), 0 or 1.

    Args:
        setting: the study.
        rate: the variant's mean rate.
        luck: (studies, seeds) a uniform number for each seed's rate.
        hardness: (studies, seeds or 1, prompts) the prompts' normal part of the latent variable.
    """
    spread = setting.spread
    if setting.other is not None:  # there as a part of the room that the rate has
        spread *= min(rate, 1 - rate, 0.3)
    rates = np.full(luck.shape, rate)
    if spread:
        rates = _beta_quantiles(rate, spread)[(luck * 4096).astype(int)]
    own = GENERATOR.standard_normal((*luck.shape, setting.prompts), dtype=np.float32)
    shared = setting.shared or 0.0
    limits = ndtri(np.clip(rates, 1e-12, 1 - 1e-12)).astype(np.float32)
    own *= np.float32(math.sqrt(1 - shared))
    own += np.float32(math.sqrt(shared)) * hardness
    return (own < limits[..., None]).astype(np.float32)


_QUANTILES: dict[tuple[float, float], np.ndarray] = {}


def _beta_quantiles(mean: float, spread: float) -> np.ndarray:
    """4096 equally likely values of the Beta distribution with this mean and spread."""
    if (mean, spread) not in _QUANTILES:
        size = mean * (1 - mean) / spread**2 - 1
        drawn = np.sort(np.random.default_rng(1).beta(mean * size, (1 - mean) * size, 4096 * 256))
        values = drawn.reshape(4096, 256).mean(axis=1)
        _QUANTILES[mean, spread] = values + mean - values.mean()
    return np.clip(_QUANTILES[mean, spread], 0, 1)


def study(setting: Setting, count: int = 1) -> tuple[np.ndarray, np.ndarray | None]:
    """The outcomes of simulated studies: the variant's, and the other's for a difference."""
    own_prompts = setting.shared is None
    shape = (count, setting.seeds if own_prompts else 1, setting.prompts)
    hardness = GENERATOR.standard_normal(shape, dtype=np.float32)
    seeds = (count, setting.seeds)
    if setting.other is None:
        return draw(setting, setting.rate, GENERATOR.random(seeds), hardness), None
    common = GENERATOR.standard_normal(seeds)
    alike, rest = math.sqrt(setting.alike), math.sqrt(1 - setting.alike)
    lucks = [ndtr(alike * common + rest * GENERATOR.standard_normal(seeds)) for _ in range(2)]
    if own_prompts:  # the two variants are asked the same prompts all the same
        setting = replace(setting, shared=0.5)
    assert setting.other is not None
    return (
        draw(setting, setting.rate, lucks[0], hardness),
        draw(setting, setting.other, lucks[1], hardness),
    )


def report_intervals(
    setting: Setting, y: np.ndarray, level: float = LEVEL
) -> tuple[np.ndarray, np.ndarray]:
    """The intervals that a report shows of studies (studies, seeds, prompts), in percent.

    The parts of `mean_interval` and `difference_interval`, for all studies at once; a test compares
    the two.
    """
    seeds, prompts = y.shape[-2:]
    means = y.mean(axis=-1, dtype=np.float64)
    p, a = means.mean(axis=-1), means.var(axis=-1, ddof=1) / seeds
    shared = setting.shared is not None
    if shared:
        b, e = crossed(y.astype(np.float64))
    else:
        of_answers = y.var(axis=-1, ddof=1, dtype=np.float64)
        b, e = np.zeros_like(a), of_answers.sum(axis=-1) / prompts / seeds**2
    variance, df = combined(seeds, prompts, a, b, e)
    if setting.other is None:
        low, high = score_ends(p, variance, df, prompts, shared, level)
        return 100 * low, 100 * high
    half, _ = half_width(p, variance, df, True, prompts)
    return np.maximum(100 * (p - half), -100), np.minimum(100 * (p + half), 100)


def student_intervals(y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Student's intervals over the seeds' percentages."""
    values = 100 * y.mean(axis=-1, dtype=np.float64)
    seeds = values.shape[-1]
    half = t_quantile(0.975, seeds - 1) * values.std(axis=-1, ddof=1) / math.sqrt(seeds)
    return values.mean(axis=-1) - half, values.mean(axis=-1) + half


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


@dataclass(frozen=True)
class Coverage:
    """What share of a setting's simulated studies holds the truth, in percent.

    Args:
        report, student, bootstrap: Of the report's intervals, Student's over the seeds, and the
            bootstrap's (of a hundredth of the studies).
        width: The mean width of the report's, in points.
        ties: The share of studies whose seeds tie (all means equal).
        wrong: Of those, the share whose interval leaves out the truth; None where there are few.
    """

    report: float
    student: float
    bootstrap: float
    width: float
    ties: float
    wrong: float | None


def coverage(setting: Setting, replicates: int, seed: int = 0) -> Coverage:
    """How often the intervals hold the truth, see `Coverage`."""
    global GENERATOR
    GENERATOR = np.random.default_rng(seed)
    hits, boots, done = np.zeros(3), 0, 0
    widths, ties, wrong = 0.0, 0, 0
    while done < replicates:
        count = min(replicates - done, max(1, _CELLS // (setting.seeds * setting.prompts)))
        a, b = study(setting, count)
        y = a if b is None else a - b
        intervals = [report_intervals(setting, y), student_intervals(y)]
        held = [_holds(setting.truth, *ends) for ends in intervals]
        hits[:2] += [one.sum() for one in held]
        widths += float((intervals[0][1] - intervals[0][0]).sum())
        tied = np.ptp(y.sum(axis=-1), axis=-1) == 0
        ties, wrong = ties + int(tied.sum()), wrong + int((tied & ~held[0]).sum())
        for one in y[: max(0, replicates // 100 - boots)]:
            hits[2] += _holds(setting.truth, *bootstrap_interval(setting, one))
            boots += 1
        done += count
    report, plain, bootstrap = map(float, 100 * hits / (replicates, replicates, max(boots, 1)))
    of_ties = 100 * wrong / ties if ties >= _FEW else None
    return Coverage(report, plain, bootstrap, widths / replicates, 100 * ties / replicates, of_ties)


def _holds(truth: float, low: np.ndarray | float, high: np.ndarray | float) -> np.ndarray:
    return (np.asarray(low) - 1e-9 <= truth) & (truth <= np.asarray(high) + 1e-9)


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
    hardness = GENERATOR.standard_normal((replicates, 1, study.prompts), dtype=np.float32)
    under = [draw(study, r, GENERATOR.random((replicates, count)), hardness) for r in attacks.rates]
    means = [100 * y.mean(axis=(-2, -1), dtype=np.float64) for y in under]
    ends = {
        level: [report_intervals(study, y, level) for y in under]
        for level in (LEVEL, 1 - (1 - LEVEL) / len(under))
    }
    for number in range(replicates):

        def interval(i: int, level: float, number: int = number) -> Estimate:
            low, high = ends[level][i]
            value = means[i][number]
            return Estimate(float(value), float(low[number]), float(high[number]), study.prompts)

        found = worst_cases(places, interval)[0].estimate
        hits += bool(_holds(100 * max(attacks.rates), found.low, found.high))
    return 100 * hits / replicates


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--replicates", type=int, default=10_000)
    parser.add_argument("--output", type=Path, default=Path("benchmarks/coverage.md"))
    options = parser.parse_args()
    lines = [
        "# Coverage of the 95 % intervals",
        "",
        f"Written by `python benchmarks/interval_coverage.py --replicates {options.replicates}`:",
        "the share of simulated studies, in percent, whose interval holds the truth. What is",
        "simulated says the head of that file. Spread: between seeds, in points; for a difference",
        "as a part of the room that a rate has. Width: of the report's interval, in points, on",
        "average. Ties: the share of studies whose seeds all have the same value; wrong: of these",
        "the share whose interval leaves out the truth (where there are 100 or more). Student:",
        "over the seeds' values. Bootstrap: seeds, then prompts, percentiles, on a hundredth.",
        "",
        "| seeds | prompts | shared | rate | minus | spread | report | width | ties | wrong "
        "| Student | bootstrap |",
        f"|---:|---:|---|{'---:|' * 9}",
    ]
    outside: list[tuple[Setting, float]] = []
    asked = list(settings())
    with ProcessPoolExecutor(options.workers, get_context("spawn")) as pool:
        # Every setting has random numbers of its own, so that their counts are independent.
        found = pool.map(coverage, asked, repeat(options.replicates), range(len(asked)))
        lines += _rows(asked, found, outside)
        held = pool.map(worst_coverage, ATTACKS, repeat(options.replicates), range(len(ATTACKS)))
        lines += _worst_rows(held)
    error = 196 * math.sqrt(0.95 * 0.05 / options.replicates)
    summary = [_summary(seeds, asked, outside) for seeds in dict.fromkeys(o.seeds for o in asked)]
    lines[9:9] = [
        "",
        *summary,
        "",
        f"The others are in bold. A percentage is known to ± {error:.1f}.",
    ]
    options.output.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(*summary, f"written to {options.output}", sep="\n")


def _summary(seeds: int, asked: list[Setting], outside: list[tuple[Setting, float]]) -> str:
    """How many settings of so many seeds are within 93 to 97 %, and which are not."""
    other = [(setting, report) for setting, report in outside if setting.seeds == seeds]
    count = sum(setting.seeds == seeds for setting in asked)
    below = sum(report < 93 for _, report in other)
    above = [_room(setting) for setting, report in other if report > 97]
    told = f", at rates up to {100 * max(above):g} points from 0 or 100" if above else ""
    return (
        f"- {seeds} seeds: {count - len(other)} of {count} settings are within 93 to 97 %, {below} "
        f"are below, {len(above)} above{told}"
    )


def _room(setting: Setting) -> float:
    """How far the setting's rate that is nearest to 0 or 1 is from it."""
    return min(min(rate, 1 - rate) for rate in (setting.rate, setting.other) if rate is not None)


def _rows(
    asked: list[Setting], found: Iterable[Coverage], outside: list[tuple[Setting, float]]
) -> Iterator[str]:
    """The lines of the table, as they come; settings that are not covered go to ``outside``."""
    for setting, one in zip(asked, found, strict=True):
        report = one.report
        difference = setting.other is not None
        cells = [
            str(setting.seeds),
            str(setting.prompts),
            "own" if setting.shared is None else f"{setting.shared:g}",
            f"{100 * setting.rate:g}",
            f"{100 * setting.other:g}" if setting.other is not None else "–",
            f"{setting.spread:g}" if difference else f"{100 * setting.spread:g}",
            f"{report:.1f}" if 93 <= report <= 97 else f"**{report:.1f}**",
            f"{one.width:.1f}",
            f"{one.ties:.1f}",
            "–" if one.wrong is None else f"{one.wrong:.1f}",
            f"{one.student:.1f}",
            f"{one.bootstrap:.1f}",
        ]
        if not 93 <= report <= 97:
            outside.append((setting, report))
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
