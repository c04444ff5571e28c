"""The studies of examples/: each plans, and the one of all methods has what it says."""

from pathlib import Path

import pytest

from holdfast.registry import METHODS
from holdfast.studies.grid import expand, points
from holdfast.studies.study import read_study

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.yaml"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_every_example_can_be_planned(path):
    study = read_study(path)
    pipelines = expand(study, by_name=True)
    assert len(pipelines) == len(points(study)) > 0
    assert study.about["note"]


def test_the_study_of_defenses_has_methods_of_the_registry():
    study = read_study(EXAMPLES[0].with_name("defenses.yaml"))
    named = {
        value if isinstance(value, str) else value["method"]
        for stages in study.variants.values()
        for value in stages.values()
    }
    assert named <= {name for kind in ("align", "finetune", "repair") for name in METHODS[kind]}
