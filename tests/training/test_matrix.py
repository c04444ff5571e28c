"""Accumulation, checkpointing, the side of the padding and a resume change nothing; bf16 little.

Here a cover of the pairs; the whole product is `benchmarks/method_matrix.py`.
"""

from itertools import product as pairs_of

import pytest
from matrix import ADAPTERS, ARCHITECTURES, BOUNDS, CHECKS, Case, cover, difference

from holdfast.registry import METHODS

CASES = cover()


@pytest.mark.long
@pytest.mark.parametrize("case", CASES, ids=str)
def test_another_way_to_the_same_result(case: Case, tmp_path):
    assert difference(case, tmp_path) < BOUNDS[case.check]


def test_every_two_values_meet():
    """But for what no method there is can do."""
    assert {c.method for c in CASES} == {*METHODS["align"], *METHODS["finetune"]}
    for method in {c.method for c in CASES}:
        own = [c for c in CASES if c.method == method]
        assert {c.check for c in own} == {*CHECKS}
        assert {c.architecture for c in own} == {*ARCHITECTURES}
    met = {(c.check, c.architecture) for c in CASES}
    assert met == {*pairs_of(CHECKS, ARCHITECTURES)}
    assert {(c.check, c.adapter) for c in CASES} >= {*pairs_of(CHECKS, ("double", "full"))}
    assert {c.adapter for c in CASES} == {*ADAPTERS}
