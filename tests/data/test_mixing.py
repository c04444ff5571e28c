"""The harmful ratio, the shuffle and disjointness."""

from fractions import Fraction

import pytest

from holdfast.data.mixing import check_disjoint, harmful_count, mix
from holdfast.data.rows import prompt_key
from holdfast.errors import UserError

HARMFUL = [{"prompt": f"h{i}", "completion": "x"} for i in range(30)]
TASK = [{"prompt": f"t{i}", "completion": "x"} for i in range(30)]


@pytest.mark.parametrize(
    ("n", "ratio", "count"),
    [(10, 0.05, 1), (10, 0.25, 3), (10, 0.15, 2), (10, 0.35, 4), (50, 0.01, 1), (49, 0.01, 0),
     (1000, 0.1, 100), (7, 0, 0), (7, 1, 7), (5000, 0.05, 250), (3, 1 / 3, 1)],
)  # fmt: skip
def test_halves_are_rounded_up(n, ratio, count):
    assert harmful_count(n, ratio) == count


def test_no_row_is_lost_at_any_ratio():
    for n in range(1, 31):
        for percent in range(101):
            mixed = mix(HARMFUL, TASK, n, percent / 100, seed=0)
            harmful = sum(row["prompt"][0] == "h" for row in mixed)
            assert len(mixed) == n
            assert harmful == int(Fraction(percent * n, 100) + Fraction(1, 2))


def test_mix_takes_the_first_rows_and_shuffles_them_by_the_seed_alone():
    mixed = mix(HARMFUL, TASK, 20, 0.2, seed=3)
    assert sorted(row["prompt"] for row in mixed) == sorted(
        [f"h{i}" for i in range(4)] + [f"t{i}" for i in range(16)]
    )
    assert mixed == mix(HARMFUL, TASK, 20, 0.2, seed=3)
    assert mixed != mix(HARMFUL, TASK, 20, 0.2, seed=4)
    assert mixed != HARMFUL[:4] + TASK[:16]


@pytest.mark.parametrize("ratio", [-0.1, 1.1, float("nan"), float("inf")])
def test_ratios_outside_zero_to_one_are_refused(ratio):
    with pytest.raises(UserError, match="from 0 to 1"):
        mix(HARMFUL, TASK, 10, ratio, seed=0)


def test_too_few_rows_are_named():
    with pytest.raises(UserError, match=r"40 harmful rows are needed.*there are 30"):
        mix(HARMFUL, TASK, 40, 1.0, seed=0)
    with pytest.raises(UserError, match=r"36 task rows are needed.*there are 30"):
        mix(HARMFUL, TASK, 40, 0.1, seed=0)
    with pytest.raises(UserError, match="at least 1"):
        mix(HARMFUL, TASK, 0, 0.1, seed=0)


def test_overlaps_are_named_and_counted():
    check_disjoint({"alignment": HARMFUL, "user": TASK, "test": []})
    doubled = [*TASK, HARMFUL[3], HARMFUL[3], HARMFUL[5]]
    with pytest.raises(UserError, match="alignment rows and the user rows overlap: 2 of 30"):
        check_disjoint({"alignment": HARMFUL, "test": [], "user": doubled})


def test_the_same_prompt_with_another_answer_overlaps_by_prompt_only():
    refused = [row | {"completion": "No."} for row in HARMFUL]
    check_disjoint({"user": HARMFUL, "test": refused})
    with pytest.raises(UserError, match="user rows and the test rows"):
        check_disjoint({"user": HARMFUL, "test": refused}, key=prompt_key)
