"""An optimizer or a schedule that cannot be made is told before a run, by the plan as well."""

import json

import pytest
import yaml

from command import holdfast
from holdfast.errors import UserError
from holdfast.stages.optimizing import check_optimizer

RECIPE = {"optim": "adamw_torch", "lr_scheduler_type": "cosine", "learning_rate": 1e-3}
WRONG = [
    ({"lr_scheduler_kwargs": {"nm_cycles": 2}}, "lr_scheduler_kwargs", "'nm_cycles'"),
    ({"lr_scheduler_kwargs": {"num_cycles": "x"}}, "lr_scheduler_kwargs", "'x'"),
    ({"lr_scheduler_kwargs": "no"}, "lr_scheduler_kwargs", "must be a mapping"),
    (
        {"lr_scheduler_type": "constant", "lr_scheduler_kwargs": {"num_cycles": 2}},
        "lr_scheduler_kwargs",
        "constant takes none",
    ),
    (
        {"lr_scheduler_type": "polynomial", "lr_scheduler_kwargs": {"lr_end": 1}},
        "lr_scheduler_kwargs",
        "must be smaller than initial lr",
    ),
    ({"lr_scheduler_type": "cosine_with_min_lr"}, "lr_scheduler_type", "min_lr"),
    ({"lr_scheduler_type": "warmup_stable_decay"}, "lr_scheduler_type", "num_decay_steps"),
    ({"lr_scheduler_type": "reduce_lr_on_plateau"}, "lr_scheduler_type", "no rows to measure"),
    ({"optim": "sgd", "optim_args": "momentumm=0.9"}, "optim_args", "takes no 'momentumm'"),
    ({"optim_args": "beta1=0.9"}, "optim_args", "adamw_torch takes no 'beta1'"),
    ({"optim": "sgd", "optim_args": "momentum"}, "optim_args", "must be name=value"),
    ({"optim": "sgd", "optim_args": "momentum=x"}, "optim_args", "'x'"),
    ({"optim": "sgd", "optim_args": "momentum=-1"}, "optim_args", "-1.0"),
    ({"optim": "adamw_torch_xla"}, "optim", "torch_xla"),
]
RIGHT = [
    {},
    {"lr_scheduler_kwargs": {"num_cycles": 2}},
    {"lr_scheduler_kwargs": '{"num_cycles": 2}'},  # as transformers' own command line has it
    {"lr_scheduler_type": "cosine_with_min_lr", "lr_scheduler_kwargs": {"min_lr": 1e-5}},
    {"lr_scheduler_type": "warmup_stable_decay", "lr_scheduler_kwargs": {"num_decay_steps": 3}},
    {"optim": "sgd", "optim_args": "momentum=0.9, nesterov=true"},
    {"optim": "adafactor", "lr_scheduler_type": "inverse_sqrt"},
]


@pytest.mark.parametrize(("more", "setting", "why"), WRONG)
def test_what_cannot_be_made_is_told_with_its_setting(more, setting, why):
    with pytest.raises(UserError) as told:
        check_optimizer({**RECIPE, **more}, "the command line")
    said = str(told.value)
    assert said.startswith(f"the command line: {setting} is ")
    assert why in said
    assert "\n" not in said


@pytest.mark.parametrize("more", RIGHT)
def test_what_can_be_made_is_left_alone(more, capfd):
    check_optimizer({**RECIPE, **more}, "the command line")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("options", [["--plan"], []])
@pytest.mark.parametrize("kind", ["align", "finetune"])
def test_the_plan_and_the_run_of_a_study_tell_it_with_the_stage(
    kind, options, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    study = {"align": "sft", "finetune": "sft"}
    study[kind] = {"method": "sft", "lr_scheduler_kwargs": {"nm_cycles": 2}}
    if kind == "finetune":
        study[kind]["lr_scheduler_type"] = "cosine"
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(study))
    ended = holdfast("run", "study.yaml", *options, "--output", "out")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.count("\n") == 1
    assert kind in ended.err
    assert "lr_scheduler_kwargs is {'nm_cycles': 2}" in ended.err
    assert not (tmp_path / "out").exists()


def test_a_stage_alone_tells_it_before_it_loads_a_model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    wrong = json.dumps({"nm_cycles": 2})
    ended = holdfast("align", f"lr_scheduler_kwargs={wrong}", "--output", "out")
    assert (ended.code, ended.out) == (2, "")
    assert "lr_scheduler_kwargs is {'nm_cycles': 2}" in ended.err
    assert not (tmp_path / "out").exists()
