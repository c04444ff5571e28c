"""Intervals against published values, against their definition, and by simulated coverage."""

import math
import subprocess
import sys

import numpy as np
import pytest

from holdfast.errors import UserError
from holdfast.statistics.estimates import (
    Estimate,
    holm,
    over_seeds,
    t_interval,
    wilson,
)
from holdfast.statistics.student import t_quantile, t_within

Z = 1.959963984540054


@pytest.mark.parametrize(
    ("df", "expected"),  # the printed two-sided 95 % points of Student's t
    [(1, 12.706), (2, 4.303), (3, 3.182), (4, 2.776), (5, 2.571), (9, 2.262), (30, 2.042)],
)
def test_t_quantile_is_the_printed_table(df: int, expected: float):
    assert t_quantile(0.975, df) == pytest.approx(expected, abs=6e-4)


def test_t_quantile_tends_to_the_normal():
    assert t_quantile(0.975, 5000) == pytest.approx(Z, abs=1e-3)
    assert t_quantile(0.975, 5001) == pytest.approx(Z, abs=1e-3)


def test_t_quantile_agrees_with_drawn_values():
    generator = np.random.default_rng(0)
    for df in (2, 5, 8):
        drawn = np.abs(generator.standard_t(df, 400_000))
        assert np.mean(drawn <= t_quantile(0.975, df)) == pytest.approx(0.95, abs=2e-3)


@pytest.mark.parametrize(
    ("k", "n", "low", "high"),  # Newcombe 1998, table I, score method
    [(81, 263, 25.53, 36.62), (15, 148, 6.24, 16.05), (0, 20, 0.0, 16.11), (1, 29, 0.61, 17.18)],
)
def test_wilson_is_the_published_interval(k: int, n: int, low: float, high: float):
    estimate = wilson(k, n)
    assert estimate.value == pytest.approx(100 * k / n)
    assert (estimate.low, estimate.high, estimate.n) == (
        pytest.approx(low, abs=0.006),
        pytest.approx(high, abs=0.006),
        n,
    )


@pytest.mark.parametrize(("k", "n"), [(0, 200), (1, 7), (60, 100), (199, 200), (200, 200)])
def test_wilson_ends_solve_the_score_equation(k: int, n: int):
    estimate = wilson(k, n)
    for end in (estimate.low, estimate.high):
        p0 = end / 100
        assert abs(k / n - p0) == pytest.approx(Z * math.sqrt(p0 * (1 - p0) / n), abs=1e-9)
    assert 0 <= estimate.low <= estimate.value <= estimate.high <= 100
    assert estimate.low < estimate.high


@pytest.mark.parametrize(("k", "n"), [(1, 0), (-1, 5), (6, 5)])
def test_wilson_refuses_what_is_no_share(k: int, n: int):
    with pytest.raises(UserError, match="share"):
        wilson(k, n)


def test_t_interval_by_hand():
    # mean 4, s = 2, t(2) = 4.302653 → half = 4.302653 · 2 / √3
    estimate = t_interval([2.0, 4.0, 6.0])
    assert estimate.value == 4
    assert estimate.high - 4 == pytest.approx(4.302653 * 2 / math.sqrt(3), abs=1e-5)
    assert 4 - estimate.low == pytest.approx(estimate.high - 4)
    with pytest.raises(UserError, match="at least 2"):
        t_interval([1.0])


def test_seeds_that_agree_keep_the_interval_of_the_prompts():
    for k in (0, 30, 200):
        both, one = over_seeds([wilson(k, 200)] * 5), wilson(k, 200)
        assert (both.low, both.high) == (pytest.approx(one.low), pytest.approx(one.high))
        assert both.high - both.low > 1.8


def test_one_seed_is_its_own_interval():
    assert over_seeds([wilson(7, 50)]) == wilson(7, 50)
    with pytest.raises(UserError, match="no seed"):
        over_seeds([])


def test_over_seeds_is_never_narrower_than_either_part():
    seeds = [wilson(k, 200) for k in (60, 90, 71)]
    both, between = over_seeds(seeds), t_interval([seed.value for seed in seeds])
    assert both.value == pytest.approx(between.value)
    assert both.low < between.low
    assert both.high > between.high
    assert both.n == 200


def test_over_seeds_stays_within_its_bounds():
    wild = over_seeds([wilson(0, 200), wilson(200, 200)])
    assert (wild.low, wild.high) == (0, 100)
    losses = [Estimate(2.0, 1.9, 2.1, 50), Estimate(0.1, 0.05, 0.15, 50)]
    wide = over_seeds(losses, bounds=(0.0, math.inf))
    assert wide.low == 0
    assert wide.high > 12


def coverage(mean: float, concentration: float, shared: bool, trials: int = 600) -> float:
    """How often the interval of 5 seeds × 200 prompts holds the true mean.

    Seed s answers a prompt harmfully with probability p_s ~ Beta of the given mean. Prompts are
    either new ones for every seed, or the same for all and equally hard for all of them.
    """
    generator = np.random.default_rng(0)
    hits = 0
    for _ in range(trials):
        p = generator.beta(mean * concentration, (1 - mean) * concentration, size=5)
        hardness = generator.random((1 if shared else 5, 200))
        counts = (hardness < p[:, None]).sum(axis=1)
        interval = over_seeds([wilson(int(k), 200) for k in counts])
        hits += interval.low <= 100 * mean <= interval.high
    return hits / trials


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize(
    ("mean", "concentration"), [(0.6, 20), (0.6, 100), (0.3, 10), (0.1, 20), (0.05, 50)]
)
def test_over_seeds_covers_the_truth(mean: float, concentration: float, shared: bool):
    assert coverage(mean, concentration, shared) >= 0.93


@pytest.mark.parametrize("df", [1, 1.4, 2, 3.7, 12.5, 400.0])
def test_t_is_its_density_summed(df: float):
    # The density of Student's t by its formula, summed by the trapezoid rule.
    x = np.linspace(0, 1.8, 20_001)
    scale = math.gamma((df + 1) / 2) / math.gamma(df / 2) if df < 300 else math.sqrt(df / 2)
    scale *= 1 - 1 / (4 * df) if df >= 300 else 1
    density = scale / math.sqrt(df * math.pi) * (1 + x**2 / df) ** (-(df + 1) / 2)
    assert t_within(1.8, df) == pytest.approx(2 * np.trapezoid(density, x), abs=2e-6)
    assert t_within(t_quantile(0.99, df), df) == pytest.approx(0.98)


def test_t_with_one_degree_of_freedom_is_cauchys():
    for probability in (0.6, 0.975, 0.9995):
        assert t_quantile(probability, 1) == pytest.approx(math.tan(math.pi * (probability - 0.5)))


def test_wilson_at_another_level():
    wide, usual = wilson(30, 100, 0.99), wilson(30, 100)
    z = 2.5758293035489004
    for end in (wide.low, wide.high):
        p0 = end / 100
        assert abs(0.3 - p0) == pytest.approx(z * math.sqrt(p0 * (1 - p0) / 100), abs=1e-9)
    assert wide.low < usual.low < usual.high < wide.high


def test_holm_by_hand():
    # Sorted: .01 · 4, .02 · 3, .03 · 2 (no less than the one before), .4 · 1.
    assert holm([0.02, 0.4, 0.01, 0.03]) == pytest.approx([0.06, 0.4, 0.04, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_statistics_load_without_torch():
    modules = "holdfast.report.comparison, holdfast.report.figures, holdfast.commands.report"
    code = f"import {modules}, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
