"""What is told of allowed settings before a run, and whose settings are Lisa's numbers."""

import pytest

from holdfast.protocols import papers
from holdfast.stages.doubts import doubts
from holdfast.stages.making import make_stage
from holdfast.stages.pipeline import all_stages
from holdfast.stages.settings import method_fields
from holdfast.studies.grid import expand
from holdfast.studies.study import read_study


def lisa(**settings):
    return make_stage("finetune", {"method": "lisa", **settings})


def test_numbers_that_a_job_never_leaves_are_told_once():
    """A thousand of the organism's rows in batches of ten are 100 of the user's steps."""
    stages = [lisa(alignment_steps=200, user_steps=900, seed=seed) for seed in (0, 1)]
    [told] = doubts([*stages, lisa(), lisa(alignment_steps="auto", user_steps="auto")])
    assert "never comes back" in told
    assert "takes 300 steps for 100 of the user's" in told


def test_rows_are_counted_where_no_number_is_given(tmp_path):
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"instruction": "a", "output": "b"}\n' * 30)
    numbers = {"alignment_steps": 5, "user_steps": 900}
    [told] = doubts([lisa(data=str(rows), rows=None, harmful_ratio=0, **numbers)])
    assert "takes 8 steps for 3" in told


def test_auto_is_the_default_but_of_the_papers_studies():
    fields = method_fields("finetune", "lisa")
    assert fields["alignment_steps"].default == fields["user_steps"].default == "auto"


@pytest.mark.parametrize(
    "reference", ["paper/lisa/table3", "paper/lisa/table11", "paper/antidote/harmful-ratio"]
)
def test_the_papers_studies_keep_their_numbers(reference):
    stages = all_stages(expand(read_study(papers.find(reference)), by_name=True))
    found = [s.settings for s in stages if s.settings.get("method") == "lisa"]
    assert {(s["alignment_steps"], s["user_steps"]) for s in found} == {(100, 900)}
