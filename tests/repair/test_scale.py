"""scale: the fine-tuning's update times c, in every way that a model is fine-tuned."""

import pytest

from holdfast import ScaleConfig, UserError, scale
from holdfast.models.loading import load_last_open
from holdfast.repair.checkpoints import compare
from three_models import WAYS, assert_close, assert_same, dense, effective, opened, stacks, state


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("c", [0.0, 0.3, 1.7])
def test_the_update_is_scaled(tmp_path, way, c):
    tuned, aligned, base = stacks(tmp_path, way)
    model = load_last_open(tuned)
    found = compare(model, tuned, aligned, base)
    after = effective(scale(model, found, ScaleConfig(c=c)))
    W, W_aligned = dense(tuned), dense(aligned)
    assert_close(after, {name: W_aligned[name] + c * (W[name] - W_aligned[name]) for name in W})


@pytest.mark.parametrize("way", WAYS)
def test_once_the_update_is_the_model_bit_for_bit(tmp_path, way):
    model, found = opened(tmp_path, way)
    before = state(model)
    assert_same(state(scale(model, found, ScaleConfig(c=1))), before)


def test_a_scale_below_zero_is_refused():
    with pytest.raises(UserError, match="c is -1"):
        ScaleConfig(c=-1)
