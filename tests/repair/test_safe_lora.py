"""Safe LoRA, against whole matrices and PyTorch's own cosine."""

import pytest
import torch

from holdfast import SafeLoraConfig, UserError, safe_lora
from holdfast.models.loading import load_last_open
from holdfast.models.updates import Update
from holdfast.repair.checkpoints import compare
from holdfast.repair.subspace import project
from three_models import WAYS, assert_close, assert_same, dense, effective, opened, stacks, state


def slow(tuned, aligned, base, exact):
    """The cosine and the projected weight of every module that both trainings changed."""
    W, W_aligned, W_base = (
        {name: weight.double() for name, weight in dense(one).items()}
        for one in (tuned, aligned, base)
    )
    found = {}
    for name, weight in W.items():
        if "layers" not in name or weight.ndim != 2:
            continue
        U, V = weight - W_aligned[name], W_aligned[name] - W_base[name]
        if U.norm() < 1e-6 or V.norm() < 1e-6:
            continue
        C = V @ V.T / torch.linalg.matrix_norm(V)
        if exact:
            C = V @ torch.linalg.pinv(V, rtol=1e-6)
        cosine = torch.cosine_similarity((C @ U).flatten(), U.flatten(), dim=0)
        found[name] = (float(cosine), (W_aligned[name] + C @ U).float())
    return found


@pytest.mark.parametrize(
    ("way", "exact"),
    # Of weights that were all trained the subspace is the whole space.
    [*((way, False) for way in WAYS), ("double", True), ("single", True)],
)
def test_modules_below_the_threshold_are_projected_once_and_no_other(tmp_path, way, exact):
    tuned, aligned, base = stacks(tmp_path, way)
    expected = slow(tuned, aligned, base, exact)
    cosines = sorted(cosine for cosine, _ in expected.values())
    assert len(cosines) >= 2
    middle = (cosines[0] + cosines[1]) / 2
    for config, chosen in (
        (SafeLoraConfig(threshold=middle, exact=exact), cosines[:1]),
        (SafeLoraConfig(threshold=1, exact=exact), cosines),
        (SafeLoraConfig(threshold=-1, number=1, exact=exact), cosines[:1]),
        (SafeLoraConfig(threshold=1, number=2, exact=exact), cosines[:2]),
    ):
        model = load_last_open(tuned)
        after = effective(safe_lora(model, compare(model, tuned, aligned, base), config))
        wanted = dense(tuned)
        for name, (cosine, weight) in expected.items():
            if cosine in chosen:
                wanted[name] = weight
        assert_close(after, wanted)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("config", [{"threshold": -1.0}, {"number": 0}])
def test_none_projected_is_the_model_bit_for_bit(tmp_path, way, config):
    model, found = opened(tmp_path, way)
    before = state(model)
    assert_same(state(safe_lora(model, found, SafeLoraConfig(**config))), before)


def test_directions_that_the_alignments_update_does_not_have_are_no_part_of_its_subspace():
    generator = torch.Generator().manual_seed(0)
    L, R, U = (torch.randn(size, generator=generator) for size in ((9, 2), (2, 7), (9, 7)))
    V = L @ R
    expected = V @ torch.linalg.pinv(V, rtol=1e-5) @ U
    twice = Update(torch.cat([L, L], dim=1), torch.cat([R, R]))  # four columns, rank two
    for update in (Update(V), twice):
        assert torch.allclose(project(Update(U), update, exact=True).whole(), expected, atol=1e-5)


def test_an_adapter_keeps_its_rank_and_its_a(tmp_path):
    model, found = opened(tmp_path)
    before = state(model)
    after = state(safe_lora(model, found, SafeLoraConfig(threshold=1)))
    changed = {name for name, weight in after.items() if not torch.equal(weight, before[name])}
    assert changed == {name for name in after if "q_proj.lora_B" in name}


def test_trainings_that_share_no_module_are_refused(tmp_path):
    model, found = opened(tmp_path)
    for name in [name for name in found.alignment if "q_proj" in name]:
        del found.alignment[name]  # pyright: ignore
    with pytest.raises(UserError, match="give both the same target_modules"):
        safe_lora(model, found)


def test_a_threshold_that_is_no_cosine_is_refused():
    with pytest.raises(UserError, match="threshold is 2"):
        SafeLoraConfig(threshold=2)
