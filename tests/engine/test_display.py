"""What a run says of its stages: each by a name that no other has."""

from holdfast.engine.display import told_apart
from holdfast.stages.pipeline import all_stages
from holdfast.studies.grid import expand
from holdfast.studies.study import make_study


def names(**spec):
    stages = all_stages(expand(make_study(spec, "study.yaml"), by_name=True))
    found = told_apart(stages)
    assert len(found) == len(stages)
    assert len({*found.values()}) == len(stages), "two stages of one name"
    return set(found.values())


def test_names_are_short_where_they_can_be():
    found = names(align="sft", finetune=["sft", "lisa"], harmful_ratio=[0, 0.1], seeds=2)
    assert "aligning sft, seed 0" in found
    assert "fine-tuning sft + lisa, p = 0.1, seed 1" in found
    assert "evaluating sft + lisa, p = 0.1, seed 1" in found


def test_what_a_study_varies_is_told():
    found = names(
        align=["sft", {"method": "vaccine", "rho": [5, 10]}],
        finetune="sft",
        task=["sums", "topic"],
        vary={"finetune.learning_rate": [1.5e-4, 4.5e-4]},
        harmful_ratio=[0.1],
    )
    assert "aligning sft, seed 0" in found
    assert "aligning vaccine, seed 0, alignment rho 5" in found
    name = "vaccine + sft, p = 0.1, seed 0, alignment rho 10"
    assert f"fine-tuning {name}, task topic, fine-tuning learning rate 4.5e-4" in found
    assert f"evaluating {name}, task topic, fine-tuning learning rate 4.5e-4" in found
