"""What the tests of stages in several processes compare, and their settings."""

import json

import pytest
import torch
from safetensors.torch import load_file


def assert_same_result(folder, other, tolerance):
    """The same files; adapters and logged losses that differ by rounding only."""
    for place in ("stack/0", "stack/1", "."):  # the aligned model's adapter, its own, both as one
        found, expected = (
            load_file(at / place / "adapter_model.safetensors") for at in (folder, other)
        )
        assert found.keys() == expected.keys()
        for key, weight in expected.items():
            assert torch.linalg.norm(found[key] - weight) <= tolerance * torch.linalg.norm(weight)
    for line, wanted in zip(_metrics(folder), _metrics(other), strict=True):
        assert line.keys() == wanted.keys()
        for key in line.keys() & {"step", "loss", "grad_norm", "squared_drift"}:
            assert line[key] == pytest.approx(wanted[key], rel=1e-3)


def _metrics(folder):
    """The lines of a stage's metrics without those that end a run, also one that was stopped."""
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [line for line in map(json.loads, lines) if "train_loss" not in line]


def several_settings(stages, **settings):
    return {**stages.settings, "per_device_train_batch_size": 4, "processes": 2, **settings}
