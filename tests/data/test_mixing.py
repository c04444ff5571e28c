"""The harmful ratio, the shuffle and disjointness."""

import subprocess
import sys
from fractions import Fraction

import pytest

from holdfast.data.keys import prompt_key
from holdfast.data.mixing import check_disjoint, draw, harmful_count, mix
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
    with pytest.raises(UserError, match=r"36 task rows are needed.*there are 30: .*rows=…"):
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


RATIOS, SIZES = (0, 0.01, 0.05, 0.1, 0.2, 1), (1, 7, 100, 1000)
# round(p·n), halves up, worked out by hand.
HARMFUL_COUNTS = {
    1: (0, 0, 0, 0, 0, 1),
    7: (0, 0, 0, 1, 1, 7),
    100: (0, 1, 5, 10, 20, 100),
    1000: (0, 10, 50, 100, 200, 1000),
}


def pool(name, n=1500):
    return [{"instruction": f"{name} {i}", "output": "x"} for i in range(n)]


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("ratio", RATIOS)
def test_mixtures_are_exact_disjoint_and_the_same_again(ratio, n):
    alignment, harmful, task, test = map(pool, ("alignment", "harmful", "task", "test"))
    drawn = draw(harmful, harmful_count(n, ratio), "harmful 3")
    mixed = mix(drawn, draw(task, n, "task 3"), n, ratio, seed=3)
    count = HARMFUL_COUNTS[n][RATIOS.index(ratio)]
    assert len({row["instruction"] for row in mixed}) == n
    assert sum(row["instruction"].startswith("harmful") for row in mixed) == count
    assert sum(row["instruction"].startswith("task") for row in mixed) == n - count
    rest = {row["instruction"] for row in drawn}
    realignment = [row for row in harmful if row["instruction"] not in rest]
    check_disjoint(
        {"alignment": alignment, "realignment": realignment, "user": mixed, "test": test}
    )
    again = mix(draw(harmful, count, "harmful 3"), draw(task, n, "task 3"), n, ratio, seed=3)
    assert again == mixed


def test_draws_do_not_repeat_extend_each_other_and_follow_the_seed():
    rows = pool("row", 50)
    drawn = draw(rows, 20, 1)
    assert len({row["instruction"] for row in drawn}) == 20
    assert draw(rows, 30, 1)[:20] == drawn
    assert draw(rows, 20, 2) != drawn
    assert draw(rows, None, 1)[:20] == drawn
    assert sorted(row["instruction"] for row in draw(rows, 99, 1)) == sorted(
        row["instruction"] for row in rows
    )


# What Python 3.11.7, 3.12.1 and 3.13.0 drew and mixed; any other version or process must, too.
MIXED = {
    (0.1, 7, 0): "f3a359906cc702bbc1ab86dab95e7ee53045fd3c59e60bcb54b8edfad8eb6a45",
    (0.2, 100, 1): "907d2958c481cf61a3a2bd5b9c1110c3bbf95745f259981fe5786c00c436be0d",
    (0.05, 1000, 43): "a658489ba6d7c9ccf92a3334ecdac79d23ecbe1e0a9a1329cede3f179785ec61",
}
PRINT_MIXED = """
from holdfast.data.mixing import draw, harmful_count, mix
from holdfast.data.keys import fingerprint
def pool(name, n=1500):
    return [{"instruction": f"{name} {i}", "output": "x"} for i in range(n)]
for ratio, n, seed in ((0.1, 7, 0), (0.2, 100, 1), (0.05, 1000, 43)):
    harmful = draw(pool("harmful"), harmful_count(n, ratio), f"harmful_data {seed}")
    mixed = mix(harmful, draw(pool("task"), n, f"data {seed}"), n, ratio, seed)
    print(fingerprint(mixed))
"""


@pytest.mark.parametrize("hash_seed", ["0", "77"])
def test_the_same_seed_mixes_the_same_rows_in_any_process(hash_seed):
    environment = {"PYTHONHASHSEED": hash_seed, "PATH": ""}
    found = subprocess.run(
        [sys.executable, "-c", PRINT_MIXED],
        capture_output=True, text=True, check=True, env=environment,
    )  # fmt: skip
    assert found.stdout.split() == list(MIXED.values())
