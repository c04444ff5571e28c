"""Safe Delta, against a slow calculation that inverts H anew for every column."""

import pytest
import torch

from holdfast import SafeDeltaConfig, UserError, safe_delta
from holdfast.models.loading import load_last_open, load_merged
from holdfast.repair.checkpoints import compare
from holdfast.repair.safe_delta import adjusted
from three_models import assert_close, assert_same, dense, effective, opened, stacks

ROWS = [{"input_ids": [1, *range(5 + n, 15 + n, 1 + n % 3)], "labels": [1] * 11} for n in range(6)]


def slow_weight(W, tuned, H, s, block):
    """Column by column; the inverse is that of the columns that are not fixed yet."""
    H = H + 0.01 * H.diagonal().mean() * torch.eye(len(H), dtype=H.dtype)
    W = W.clone()
    out, columns = W.shape
    rates = torch.tensor([1 / torch.linalg.inv(H[j:, j:])[0, 0] for j in range(columns)])
    for start in range(0, columns, block):
        here = range(start, min(start + block, columns))
        costs = sorted(
            (float(rates[j]), i, j, float((tuned[i, j] - W[i, j]) ** 2 * rates[j]))
            for i in range(out) for j in here
        )  # fmt: skip
        costs.sort(key=lambda one: (one[0], one[1] * len(here) + one[2]))
        limit = float(rates[start : start + block].mean()) * s / 2 * out / 4096
        kept, spent = set(), 0.0
        for _, i, j, cost in costs[: len(costs) - int(0.15 * len(costs))]:
            spent += cost
            if spent <= limit:
                kept.add((i, j))
        for j in here:
            inverse = torch.linalg.inv(H[j:, j:])
            for i in range(out):
                if (i, j) in kept:
                    moved = (W[i, j] - tuned[i, j]) / inverse[0, 0]
                    W[i, j:] -= moved * inverse[0]
    return W


@pytest.mark.parametrize("way", ["double", "single", "full"])
@pytest.mark.parametrize(("s", "block"), [(600.0, 32), (2000.0, 12)])
def test_the_weights_are_those_of_the_slow_calculation(tmp_path, way, s, block):
    tuned, aligned, base = stacks(tmp_path, way)
    model = load_last_open(tuned)
    found = compare(model, tuned, aligned, base)
    names = ["model.layers.0.self_attn.q_proj", "model.layers.1.self_attn.q_proj"]
    object.__setattr__(found, "linear", tuple(names))
    after = effective(safe_delta(model, found, ROWS, SafeDeltaConfig(budget=s, block=block)))
    plain, inputs = load_merged(aligned), {name: [] for name in names}
    for name in names:
        plain.get_submodule(name).register_forward_pre_hook(
            lambda _, x, name=name: inputs[name].append(x[0][0].double())
        )
    for row in ROWS:
        plain(input_ids=torch.tensor([row["input_ids"]]))
    expected, W = dense(aligned), dense(tuned)
    changed = []
    for name in names:
        key, H = f"{name}.weight", sum(2 / len(ROWS) * x.T @ x for x in inputs[name])
        one = slow_weight(expected[key].double(), W[key].double(), H.detach(), s, block)
        changed.append(float((one - expected[key]).norm() / (W[key] - expected[key]).norm()))
        expected[key] = one.float()
    assert all(0.05 < share < 2 for share in changed), changed
    assert_close(after, expected)


@pytest.mark.parametrize("way", ["double", "single", "full"])
def test_without_a_budget_it_is_the_aligned_model(tmp_path, way):
    tuned, aligned, base = stacks(tmp_path, way)
    model = load_last_open(tuned)
    found = compare(model, tuned, aligned, base)
    assert_close(
        effective(safe_delta(model, found, ROWS, SafeDeltaConfig(budget=0))), dense(aligned)
    )


def test_without_rows_it_is_refused(tmp_path):
    model, found = opened(tmp_path)
    with pytest.raises(UserError, match="at least one safe row"):
        safe_delta(model, found, [])


def test_an_input_that_no_row_has_counts_as_one():
    generator = torch.Generator().manual_seed(0)
    W, U = (torch.randn(6, 8, generator=generator, dtype=torch.float64) for _ in range(2))
    X = torch.randn(8, 40, generator=generator, dtype=torch.float64)
    X[3] = 0
    H = 0.2 * X @ X.T
    expected = H.clone()
    expected[3, 3] = 1
    after = adjusted(W, U, H.clone(), SafeDeltaConfig(budget=9000.0, block=8))
    assert torch.allclose(after, slow_weight(W, W + U, expected, 9000.0, 8), atol=1e-9)
    assert 0.05 < float((after - W).norm() / U.norm()) < 2


def test_a_row_counts_up_to_its_longest_length(tmp_path):
    model, found = opened(tmp_path)
    config = SafeDeltaConfig(budget=2000.0, max_length=5)
    after = effective(safe_delta(model, found, ROWS, config))
    model, found = opened(tmp_path)
    cut = [{"input_ids": row["input_ids"][:5]} for row in ROWS]
    assert_same(effective(safe_delta(model, found, cut, SafeDeltaConfig(budget=2000.0))), after)


def test_a_layer_whose_inputs_it_cannot_watch_is_refused(tmp_path, monkeypatch):
    model, found = opened(tmp_path)
    aligned = model.get_base_model()  # pyright: ignore
    monkeypatch.setattr(type(found), "replace", lambda *_: aligned)  # its layers carry adapters
    with pytest.raises(UserError, match="is no plain linear layer"):
        safe_delta(model, found, ROWS)
