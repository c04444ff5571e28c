"""RESTA, against the merged weights added up."""

import dataclasses

import pytest
import torch

from holdfast import RestaConfig, UserError, resta
from holdfast.models.loading import load_last_open
from holdfast.models.saving import save_stack
from holdfast.models.stack import resolve
from holdfast.repair.checkpoints import compare
from three_models import WAYS, assert_close, assert_same, dense, effective, opened, stacks, state


@pytest.mark.parametrize("way", WAYS)
def test_the_alignments_update_is_added(tmp_path, way):
    tuned, aligned, base = stacks(tmp_path, way)
    model = load_last_open(tuned)
    repaired = resta(model, compare(model, tuned, aligned, base), RestaConfig(gamma=0.7))
    W, W_aligned, W_base = dense(tuned), dense(aligned), dense(base)
    assert_close(effective(repaired), {n: W[n] + 0.7 * (W_aligned[n] - W_base[n]) for n in W})


def test_the_result_of_two_adapters_is_one_of_both_ranks_and_is_saved_so(tmp_path):
    tuned, aligned, base = stacks(tmp_path, "double")
    model = load_last_open(tuned)
    repaired = resta(model, compare(model, tuned, aligned, base), RestaConfig(gamma=0.7))
    assert repaired.peft_config["default"].r == 3 + 4
    below = dataclasses.replace(tuned, entries=tuned.entries[:-1])
    save_stack(repaired, below, tmp_path / "out", None, tuned.entries[-1])
    W, W_aligned, W_base = dense(tuned), dense(aligned), dense(base)
    again = resolve(tmp_path / "out")
    assert len(again.entries) == 2
    assert_close(dense(again), {n: W[n] + 0.7 * (W_aligned[n] - W_base[n]) for n in W})


@pytest.mark.parametrize("way", WAYS)
def test_dare_drops_its_share_at_random_and_scales_the_rest(tmp_path, way):
    tuned, aligned, base = stacks(tmp_path, way)
    config = RestaConfig(gamma=0.7, drop_rate=0.25, seed=3)
    model = load_last_open(tuned)
    found = compare(model, tuned, aligned, base)
    before = torch.random.get_rng_state()
    after = effective(resta(model, found, config))
    assert torch.equal(torch.random.get_rng_state(), before)
    W, W_aligned, W_base = dense(tuned), dense(aligned), dense(base)
    kept = total = 0
    for name, weight in after.items():
        U = W[name] - W_aligned[name]
        left = weight - W_aligned[name] - 0.7 * (W_aligned[name] - W_base[name])
        certain = U.abs() > 1e-3
        dropped = left.abs() < 1e-5
        assert torch.allclose(left[~dropped], U[~dropped] / 0.75, rtol=1e-3, atol=1e-5), name
        kept += int((certain & ~dropped).sum())
        total += int(certain.sum())
    assert abs(kept / total - 0.75) < 4 * (0.75 * 0.25 / total) ** 0.5
    again = load_last_open(tuned)
    assert_same(effective(resta(again, compare(again, tuned, aligned, base), config)), after)
    again, config = load_last_open(tuned), dataclasses.replace(config, seed=4)
    other = effective(resta(again, compare(again, tuned, aligned, base), config))
    assert any(not torch.equal(other[name], weight) for name, weight in after.items())


@pytest.mark.parametrize("way", WAYS)
def test_nothing_added_and_nothing_dropped_is_the_model_bit_for_bit(tmp_path, way):
    model, found = opened(tmp_path, way)
    before = state(model)
    assert_same(state(resta(model, found, RestaConfig(gamma=0))), before)


def test_to_drop_all_is_refused():
    with pytest.raises(UserError, match="drop_rate is 1"):
        RestaConfig(drop_rate=1)
