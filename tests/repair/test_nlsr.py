"""NLSR, against a slow calculation with whole matrices, SVDs and a loop over weights."""

from typing import Any

import pytest
import torch

from holdfast import NLSRConfig, UserError, nlsr
from holdfast.models.adapters import NEW
from holdfast.models.differences import adapted
from holdfast.models.loading import load_last_open, load_merged
from holdfast.repair.checkpoints import compare
from holdfast.repair.nlsr import drawn
from three_models import WAYS, assert_close, assert_same, dense, effective, opened, stacks, state

# More answer tokens than any layer has inputs.
ROWS = [
    {
        "input_ids": [1, 2, *(torch.arange(14) * (n + 3) % 60 + 3).tolist()],
        "labels": [-100] * 3 + [1] * 13,
    }
    for n in range(20)
]


def slow_neurons(W, X, share, rank):
    """The ⌈share·n⌉ largest weights of W projected on the leading outputs' directions."""
    Vt = torch.linalg.svd(X @ W.T, full_matrices=False)[2][: max(1, int((1 - share) * rank))]
    found, size = (Vt.T @ Vt @ W).abs(), W.numel()
    places = sorted(range(size), key=lambda n: -found.flatten()[n])[
        : -(-int(share * 100) * size // 100)
    ]
    mask = torch.zeros(size, dtype=torch.float64)
    mask[places] = 1
    return mask.reshape(W.shape)


def factors_of(stack):
    """A LoRA adapter's B, times its scale, and A, by the layer's name."""
    model: Any = load_last_open(stack)
    return {
        name: (
            layer.scaling[NEW] * layer.lora_B[NEW].weight.detach().double(),
            layer.lora_A[NEW].weight.detach().double(),
        )
        for name, layer in adapted(model, NEW).items()
    }


def inputs_of(stack, names, change):
    """The inputs at the answers' tokens, [tokens, in], with some weights of a stack changed."""
    plain = load_merged(stack)
    seen = {name: [] for name in names}
    with torch.no_grad():
        for name in names:
            layer = plain.get_submodule(name)
            layer.weight += change[name].float()
            layer.register_forward_pre_hook(
                lambda _, x, name=name: seen[name].append(x[0][0].double())
            )
        for row in ROWS:
            plain(input_ids=torch.tensor([row["input_ids"]]))
    answers = [torch.tensor(row["labels"]) != -100 for row in ROWS]
    return {
        name: torch.cat([x[a] for x, a in zip(some, answers, strict=True)])
        for name, some in seen.items()
    }


def cosine(a, b):
    return float((a * b).sum() / (a.norm() * b.norm()))


@pytest.mark.parametrize("way", ["double", "full", "full alignment"])
@pytest.mark.parametrize("beta", [0.0, 0.9])
def test_whole_updates_are_those_of_the_slow_calculation(tmp_path, way, beta):
    tuned, aligned, base = stacks(tmp_path, way)
    model = load_last_open(tuned)
    found = compare(model, tuned, aligned, base)
    if way == "full":
        both = [f"model.layers.{n}.self_attn.{p}_proj" for n in (0, 1) for p in ("q", "o")]
        object.__setattr__(found, "linear", tuple(both))
    names = found.both()
    config = NLSRConfig(beta=beta, share=0.3, rate=0.6, epsilon=0.4, seed=3)
    after = effective(nlsr(model, found, ROWS, config))

    W0, W1, W2 = (
        {n: w.double() for n, w in dense(stack).items()} for stack in (base, aligned, tuned)
    )
    V, T = ({n: W[f"{n}.weight"] - W0[f"{n}.weight"] for n in names} for W in (W1, W2))
    E = {n: (1 + beta) * V[n] for n in names}
    X = inputs_of(tuned, names, {n: E[n] - T[n] for n in names})
    M = {n: slow_neurons(E[n], X[n], 0.3, 3 if way == "double" else min(E[n].shape)) for n in names}
    cosines = {n: cosine(M[n] * T[n], M[n] * E[n]) for n in names}
    expected = dict(W2)
    chosen = drawn(cosines, config, torch.Generator().manual_seed(3))
    assert len(chosen) > 0
    for n in chosen:
        expected[f"{n}.weight"] = W0[f"{n}.weight"] + M[n] * E[n] + (1 - M[n]) * T[n]
    assert_close(after, {n: w.float() for n, w in expected.items()})
    assert any(not torch.allclose(expected[n], W2[n]) for n in W2)


def test_factors_are_those_of_the_slow_calculation(tmp_path):
    """Of one adapter gone on with: each factor has neurons of its own, and the rank stays."""
    tuned, aligned, base = stacks(tmp_path, "single")
    model = load_last_open(tuned)
    found = compare(model, tuned, aligned, base)
    config = NLSRConfig(beta=0.9, share=0.3, rate=0.6, epsilon=0.4, seed=1)
    repaired = nlsr(model, found, ROWS, config)
    assert {layer.r[NEW] for layer in adapted(repaired, NEW).values()} == {3}  # pyright: ignore
    after = effective(repaired)

    V, T = factors_of(aligned), factors_of(tuned)
    names, root = list(T), 1.9**0.5
    E = {n: [root * part for part in V[n]] for n in names}
    X = inputs_of(tuned, names, {n: E[n][0] @ E[n][1] - T[n][0] @ T[n][1] for n in names})
    M = {
        n: (
            slow_neurons(E[n][0], X[n] @ E[n][1].T, 0.3, 3),
            slow_neurons(E[n][1], X[n], 0.3, 3),
        )
        for n in names
    }
    cosines = {
        n: cosine(
            (M[n][0] * T[n][0]) @ (M[n][1] * T[n][1]), (M[n][0] * E[n][0]) @ (M[n][1] * E[n][1])
        )
        for n in names
    }
    chosen = drawn(cosines, config, torch.Generator().manual_seed(1))
    assert 0 < len(chosen) < len(names)
    expected, W0 = dense(tuned), dense(base)
    for n in chosen:
        B, A = (m * e + (1 - m) * t for m, e, t in zip(M[n], E[n], T[n], strict=True))
        expected[f"{n}.weight"] = (W0[f"{n}.weight"].double() + B @ A).float()
    assert_close(after, expected)


def test_the_least_similar_modules_have_the_highest_chance():
    """r = .5 and ε = .2 of three modules: .3, .5 and .7."""
    cosines, counts = {"a": 0.1, "b": 0.9, "c": 0.4}, dict.fromkeys("abc", 0)
    draws = torch.Generator().manual_seed(0)
    for _ in range(4000):
        for name in drawn(cosines, NLSRConfig(), draws):
            counts[name] += 1
    assert [round(counts[name] / 4000, 1) for name in "bca"] == [0.3, 0.5, 0.7]
    one = NLSRConfig(rate=1.0, epsilon=0.0)
    assert sorted(drawn(cosines, one, draws)) == ["a", "b", "c"]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("neutral", [{"rate": 0.0, "epsilon": 0.0}, {"share": 0.0}])
def test_neutral_settings_leave_the_model(tmp_path, way, neutral):
    model, found = opened(tmp_path, way)
    before = state(model)
    assert_same(state(nlsr(model, found, ROWS, NLSRConfig(**neutral))), before)


@pytest.mark.parametrize("way", ["double", "single", "full"])
def test_all_neurons_of_all_modules_are_the_reference(tmp_path, way):
    """At β = 0 that is the aligned model, where both trainings changed the same modules."""
    tuned, aligned, base = stacks(tmp_path, way)
    model = load_last_open(tuned)
    found = compare(model, tuned, aligned, base)
    names = found.both()
    config = NLSRConfig(beta=0.0, share=1.0, rate=1.0, epsilon=0.0)
    after, expected = effective(nlsr(model, found, ROWS, config)), dense(tuned)
    expected |= {f"{n}.weight": dense(aligned)[f"{n}.weight"] for n in names}
    assert_close(after, expected)


def test_random_neurons_read_no_rows_and_follow_from_the_seed(tmp_path):
    ends = []
    for seed in (1, 1, 2):
        model, found = opened(tmp_path / str(len(ends)))
        config = NLSRConfig(neurons="random", rate=1.0, epsilon=0.0, seed=seed)
        ends.append(effective(nlsr(model, found, [], config)))
    assert_same(ends[0], ends[1])
    assert not all(torch.equal(ends[0][n], ends[2][n]) for n in ends[0])


def test_what_cannot_be_done_is_told(tmp_path, monkeypatch):
    model, found = opened(tmp_path)
    with pytest.raises(UserError, match="at least one safe row"):
        nlsr(model, found, [])
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    with pytest.raises(UserError, match='"safety" or "random"'):
        NLSRConfig(neurons="all")  # pyright: ignore
    monkeypatch.setattr("holdfast.repair.nlsr.is_quantized", lambda _: True)
    with pytest.raises(UserError, match="these are quantized"):
        nlsr(model, found, ROWS)
