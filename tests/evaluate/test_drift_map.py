"""The map of the drift: against the covariance's eigenvectors, and its edges."""

import numpy as np
import pytest
import torch

from holdfast.evaluate.drift_map import drift_map


def states(rows: int, hidden: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    scale = torch.arange(1, hidden + 1)
    return torch.randn(rows, 3, hidden, generator=generator) * scale


def test_it_is_the_principal_components_of_both_models_last_blocks():
    a, b = states(12, 5, 0), states(12, 5, 1) + 2
    found = drift_map(a, b)
    both = np.concatenate([a[:, -1].numpy(), b[:, -1].numpy()]).astype(float)
    values, vectors = np.linalg.eigh(np.cov(both.T))
    assert found.shares == pytest.approx((values[::-1][:2] / values.sum()).tolist())
    plain = (both - both.mean(0)) @ vectors[:, ::-1][:, :2]
    ours = np.array([*found.aligned, *found.tuned])
    for axis in range(2):
        sign = 1 if ours[0, axis] * plain[0, axis] > 0 else -1
        assert ours[:, axis] == pytest.approx(sign * plain[:, axis], rel=1e-3, abs=1e-3)
        assert ours[np.abs(ours[:, axis]).argmax(), axis] > 0


def test_models_that_are_one_lie_on_each_other():
    a = states(4, 6, 0)
    found = drift_map(a, a)
    assert found.aligned == found.tuned
    assert sum(found.shares) <= 1


@pytest.mark.parametrize(("rows", "hidden"), [(1, 4), (3, 1), (1, 1)])
def test_what_has_fewer_than_two_axes_lies_on_a_line(rows: int, hidden: int):
    found = drift_map(states(rows, hidden, 0), states(rows, hidden, 1))
    assert [len(at) for at in (*found.aligned, *found.tuned)] == [2] * 2 * rows
    assert found.shares[0] == pytest.approx(1)
    assert all(at[1] == pytest.approx(0, abs=1e-9) for at in found.aligned)


def test_states_that_are_all_the_same_are_one_point():
    same = torch.ones(3, 2, 4)
    assert drift_map(same, same).record() == {
        "aligned": [[0.0, 0.0]] * 3,
        "tuned": [[0.0, 0.0]] * 3,
        "shares": [0.0, 0.0],
    }


def test_a_picture_has_a_hundred_rows_at_most():
    found = drift_map(states(130, 4, 0), states(130, 4, 1))
    assert len(found.aligned) == len(found.tuned) == 100
    assert found == drift_map(states(130, 4, 0)[:100], states(130, 4, 1)[:100])
