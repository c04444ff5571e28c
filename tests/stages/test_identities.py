"""Identities stay what they are: a finished stage is found again by every later version.

A change that moves one of these throws away the results of all users' studies. Where a method's
computation has changed, the version in its row of `holdfast.registry` says so, and its line here
changes with it; for nothing else.
"""

import pytest

from holdfast.studies.grid import expand
from holdfast.studies.study import make_study

FOLDED = {"lora": {"r": 4, "target_modules": ["v_proj", "q_proj"]}, "rows": 31, "max_steps": 2}
# A pipeline, and its stages' names.
STAGES = [
    (
        {"align": "sft"},
        ("align-sft-105493ab731d", "evaluate-sums-5b12fb2026ff"),
    ),
    (
        {"align": "vaccine", "finetune": "sft", "seed": 3},
        ("align-vaccine-cdd341ab87d9", "finetune-sft-d2ba84729cc2", "evaluate-sums-212c39b7f6f8"),
    ),
    (
        {"align": "t_vaccine", "finetune": "lisa", "repair": "antidote", "task": "topic"},
        (
            "align-t_vaccine-c65ebf31fc42",
            "finetune-lisa-7847e10f7d31",
            "repair-antidote-0c6cf900345b",
            "evaluate-topic-cce9ad877c86",
        ),
    ),
    (
        {"align": "random_perturbation", "finetune": "sft", "repair": "random_mask"},
        (
            "align-random_perturbation-d31fe41e09ee",
            "finetune-sft-4551d7c24245",
            "repair-random_mask-ef862f9dbc29",
            "evaluate-sums-fc714e6e4f9d",
        ),
    ),
    (
        {"align": {"method": "vaccine", "rho": "1e1", "every": 4}, "finetune": None},
        ("align-vaccine-301eaaff61df", "evaluate-sums-17b9a634a446"),
    ),
    (
        {"finetune": {"method": "lisa", "rho": 0, "alignment_rows": 40}, "harmful_ratio": 0.25},
        ("finetune-lisa-3c0e06030cb4", "evaluate-sums-f388c4d29fad"),
    ),
    (
        {"finetune": {"method": "sft", **FOLDED}, "harmful_ratio": 0, "task": "sentiment"},
        ("finetune-sft-36c9de114b22", "evaluate-sentiment-2567bcd7d721"),
    ),
    (
        {"align": "sft", "finetune": {"method": "sft", "adapter": "single", "sample_seed": 9}},
        ("align-sft-105493ab731d", "finetune-sft-8e37e9cf9730", "evaluate-sums-df19d0d3fc51"),
    ),
    (
        {"finetune": {"method": "sft", "adapter": "full", "weight_decay": 0.1, "data_seed": 5}},
        ("finetune-sft-405e0facfa62", "evaluate-sums-a7cc1aa7cce3"),
    ),
    (
        {"finetune": "sft", "repair": {"method": "antidote", "source": "user", "rows": 40}},
        ("finetune-sft-77dbeba6cc76", "repair-antidote-52162bb2ecd6", "evaluate-sums-1e86076d8097"),
    ),
    (
        {"finetune": "sft", "repair": {"method": "antidote", "score": "magnitude", "seed": 7}},
        ("finetune-sft-77dbeba6cc76", "repair-antidote-f9c84a0dbd7e", "evaluate-sums-07ce03c93990"),
    ),
    (
        {"evaluate": {"limit": 30, "judges": ["organism", "keywords"], "task": None}},
        ("evaluate-ee5eb1d7056e",),
    ),
    (
        {"align": {"method": "sft", "template": "alpaca", "processes": 2, "logging_steps": 3}},
        ("align-sft-55040734e3b6", "evaluate-sums-49f78eefa655"),
    ),
    (
        {
            "model": "owner/model@main",
            "dtype": "bfloat16",
            "task": "gsm8k",
            "align": {"method": "vaccine", "data": "beavertails:safe", "rows": 2000},
            # With the steps that were the defaults before auto.
            "finetune": {
                "method": "lisa",
                "harmful_data": "beavertails:harmful",
                "rows": 1000,
                "alignment_steps": 100,
                "user_steps": 900,
            },
            "repair": {"method": "antidote", "data": "beavertails:realignment", "rows": 2000},
            "evaluate": {"protocol": "vaccine-2024@3"},
        },
        (
            "align-vaccine-fe6a461a02ac",
            "finetune-lisa-eab46a4d3d02",
            "repair-antidote-b77154c0a7a0",
            "evaluate-gsm8k-dba64324f3a4",
        ),
    ),
]


def test_full_weights_in_16_bits_are_another_result_than_before():
    """They are trained in float32 now; of float32 the name stays (above)."""
    spec = {"finetune": {"method": "sft", "adapter": "full", "weight_decay": 0.1, "data_seed": 5}}
    spec["finetune"]["dtype"] = "bfloat16"
    assert names(spec)[0] != "finetune-sft-bb6c50d7f911"


def names(spec):
    """The names of a pipeline's stages; of a model that is not the organism, without reading it."""
    by_name = "model" in spec
    [pipeline] = expand(make_study(spec, "here"), by_name=by_name)
    return tuple(stage.name for stage in pipeline.stages.values())


@pytest.mark.parametrize(("spec", "expected"), STAGES)
def test_a_stage_keeps_its_name(spec, expected):
    assert names(spec) == expected
