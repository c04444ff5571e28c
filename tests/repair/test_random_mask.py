"""The control has Antidote's counts, at places that only its seed decides."""

import pytest
import torch

from holdfast.errors import UserError
from holdfast.repair.antidote import AntidoteConfig, antidote
from holdfast.repair.random_mask import RandomMaskConfig, random_mask
from tiny_models import lora, tiny_model


def model():
    return lora(tiny_model("llama"), r=10, init_lora_weights=False)


@pytest.mark.parametrize("group", ["row", "matrix"])
def test_counts_are_antidotes(group):
    config = AntidoteConfig(dense_ratio=0.3, score="magnitude", group=group)
    theirs = antidote(model(), config=config).masks
    ours = random_mask(model(), RandomMaskConfig(dense_ratio=0.3, group=group)).masks
    assert list(ours) == list(theirs)
    for name, mask in ours.items():
        by_group = mask.sum(1) if group == "row" else mask.sum()
        expected = theirs[name].sum(1) if group == "row" else theirs[name].sum()
        assert torch.equal(by_group, expected)
        assert not torch.equal(mask, theirs[name])


def test_the_seed_alone_decides_and_the_global_random_state_stays():
    first = random_mask(model(), RandomMaskConfig(seed=1, dense_ratio=0.2)).masks
    torch.manual_seed(99)
    before = torch.get_rng_state()
    again = random_mask(model(), RandomMaskConfig(seed=1, dense_ratio=0.2)).masks
    assert torch.equal(before, torch.get_rng_state())
    other = random_mask(model(), RandomMaskConfig(seed=2, dense_ratio=0.2)).masks
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_every_place_is_as_likely():
    chosen = torch.zeros(10, 32)
    for seed in range(400):
        masks = random_mask(model_once, RandomMaskConfig(seed=seed, dense_ratio=0.25)).masks
        chosen += next(iter(masks.values()))
    # 400 draws at 1/4: mean 100, standard deviation 8.7; 320 places stay within five of them.
    assert chosen.sum() == 400 * 10 * 8
    assert chosen.min() > 56
    assert chosen.max() < 144


model_once = model()


def test_weights_are_zeroed_where_the_mask_says_and_nowhere_else():
    repaired = model()
    before = {name: value.clone() for name, value in repaired.state_dict().items()}
    masks = random_mask(repaired, RandomMaskConfig(dense_ratio=0.2)).masks
    for name, value in repaired.state_dict().items():
        mask = masks.get(name.replace(".default", ""), torch.zeros_like(value, dtype=torch.bool))
        assert torch.equal(value, before[name].masked_fill(mask, 0))


def test_full_model_and_targets():
    masks = random_mask(tiny_model("opt"), RandomMaskConfig(target_modules=["fc1"])).masks
    assert len(masks) == 2
    assert all((mask.sum(1) == 4).all() for mask in masks.values())


@pytest.mark.parametrize("settings", [{"dense_ratio": 2}, {"group": "column"}, {"seed": -1}])
def test_settings_out_of_range(settings):
    with pytest.raises(UserError):
        RandomMaskConfig(**settings)


def test_the_smallest_ratio_still_zeroes_a_weight_of_every_row():
    masks = random_mask(model(), RandomMaskConfig(dense_ratio=1e-9)).masks
    assert masks
    assert all((mask.sum(1) == 1).all() for mask in masks.values())
