"""Stages, identities and pipelines: what is the same, what differs, what is refused."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from holdfast.errors import UserError
from holdfast.models.hub import Repository
from holdfast.models.stack import Stack
from holdfast.stages.making import make_pipeline, make_stage
from holdfast.stages.pipeline import all_stages
from holdfast.stages.resolve import resolve
from holdfast.studies.demo import demo_pipelines
from holdfast.studies.grid import expand
from holdfast.studies.study import read_study, with_words

PLAIN = {"align": "sft", "finetune": "sft", "harmful_ratio": 0.1}
ORGANISM = Stack("organism")


def identities(spec):
    return {kind: stage.identity for kind, stage in make_pipeline(spec).stages.items()}


def test_identity_depends_on_what_decides_the_result_and_on_nothing_else():
    base = identities(PLAIN)
    assert identities(PLAIN) == base
    assert identities({**PLAIN, "finetune": {"method": "sft", "logging_steps": 5}}) == base
    stronger = identities({**PLAIN, "finetune": {"method": "sft", "learning_rate": 0.01}})
    assert stronger["align"] == base["align"]
    assert stronger["finetune"] != base["finetune"]
    assert stronger["evaluate"] != base["evaluate"], "the evaluation is of another model"
    other_seed = identities({**PLAIN, "seed": 1})
    assert all(other_seed[kind] != base[kind] for kind in base)
    other_rows = identities({**PLAIN, "sample_seed": 1})
    assert other_rows["align"] != base["align"]
    assert other_rows["align"] != other_seed["align"]


def test_identity_is_the_same_in_another_process():
    code = (
        "import json; from holdfast.stages.making import make_pipeline\n"
        f"stages = make_pipeline({PLAIN!r}).stages\n"
        "print(json.dumps({kind: stage.identity for kind, stage in stages.items()}))"
    )
    environment = {"PYTHONHASHSEED": "77", "PATH": ""}
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    assert json.loads(found.stdout) == identities(PLAIN)


def test_a_files_content_counts_and_not_its_name(tmp_path):
    rows = [{"instruction": f"ask {i}", "output": "answer"} for i in range(3)]
    for name in ("a", "b", "c"):
        content = rows if name != "c" else rows[:2]
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    a, b, c = (
        make_stage("align", {"data": str(tmp_path / f"{name}.json")}).identity for name in "abc"
    )
    assert a == b != c


def test_pipelines_share_their_stages():
    pipelines = list(demo_pipelines(2))
    stages = all_stages(pipelines)
    kinds = [stage.kind for stage in stages]
    # A seed: 3 alignments, 6 fine-tunings, 3 repairs, 8 evaluations.
    assert {kind: kinds.count(kind) for kind in kinds} == {
        "align": 6,
        "finetune": 12,
        "repair": 6,
        "evaluate": 16,
    }
    position = {stage.identity: number for number, stage in enumerate(stages)}
    for stage in stages:
        needs = [s for s in (stage.parent, stage.reference) if s]
        assert all(position[need.identity] < position[stage.identity] for need in needs)


def test_planning_imports_no_torch():
    code = (
        "import sys; from holdfast.studies.demo import demo_pipelines\n"
        "list(demo_pipelines(1)); print([m for m in ('torch', 'transformers') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_resolved_settings_put_the_given_over_the_recipe_over_the_fields():
    settings = resolve("align", {"method": "vaccine", "rho": 3, "lora": {"r": 4}}, ORGANISM)
    assert settings["rho"] == 3.0
    assert settings["lora"]["r"] == 4
    assert settings["lora"]["target_modules"] == ["q_proj", "k_proj", "v_proj"]
    assert settings["learning_rate"] == 1e-3
    assert settings["max_grad_norm"] == 1.0
    elsewhere = resolve("align", {"method": "vaccine"}, Stack("owner/model"))
    assert elsewhere["rho"] == 2.0, "the paper's"


@pytest.mark.parametrize(
    ("kind", "given", "message"),
    [
        ("align", {"methd": "sft"}, r"no setting 'methd'; did you mean 'method'\?"),
        ("align", {"method": "vacine"}, r"no alignment method 'vacine'; did you mean 'vaccine'\?"),
        ("align", {"rho": 1}, "'rho' is no setting of method=sft; it is one of vaccine"),
        ("align", {"learning_rte": 1}, "did you mean 'learning_rate'"),
        ("align", {"learning_rate": "fast"}, "learning_rate must be a number"),
        ("align", {"adapter": "double"}, "adapter must be one of 'lora', 'full'"),
        ("align", {"rows": 0}, "rows is 0; it must be 1 or more"),
        ("align", {"rows": None}, "rows is null"),
        ("align", {"seed": -1}, "seed is -1; it must be from 0 to 4294967295"),
        ("align", {"lora": {"r": 0}}, r"lora\.r is 0"),
        ("align", {"lora": {"dropout": 1.5}}, r"lora\.dropout is 1\.5"),
        ("align", {"per_device_train_batch_size": 0}, "per_device_train_batch_size is 0"),
        ("evaluate", {"protocol": "organsm"}, "did you mean 'organism'"),
        ("evaluate", {"task": "chess"}, "chess"),
        (
            "evaluate",
            {"model": "owner/model", "protocol": "organism"},
            "asks the organism's own questions",
        ),
        ("finetune", {"harmful_ratio": 1.5}, "harmful_ratio is 1.5; it must be from 0 to 1"),
        ("finetune", {"harmful_ratio": -0.1}, "harmful_ratio is -0.1"),
        ("finetune", {"task": "chess"}, "chess"),
        ("repair", {"method": "magic"}, "no repair method 'magic'.*antidote, random_mask"),
        ("align", {"model": "vaccine"}, r"write method=vaccine"),
        ("align", {"model": "./nowhere"}, "there is no model './nowhere'"),
        ("align", {"data": "nowhere.jsonl"}, "there is no such file"),
        ("align", {"model": "owner/model"}, "data is not set.*data=rows.jsonl"),
    ],
)
def test_mistakes_are_told(kind, given, message, monkeypatch):
    there = Repository("owner/model", "0" * 40, is_adapter=False)
    monkeypatch.setattr("holdfast.models.hub.look_up", lambda name, revision: there)
    with pytest.raises(UserError, match=message):
        make_stage(kind, given)


def test_mistakes_in_a_pipeline_file_name_the_file_and_the_stage(tmp_path):
    path = tmp_path / "p.yaml"
    path.write_text("align: {method: vaccine, roh: 2}\n")
    with pytest.raises(UserError, match=r"p\.yaml, line 1: align: there is no setting 'roh'"):
        expand(read_study(path))
    path.write_text("aligne: vaccine\n")
    with pytest.raises(UserError, match=r"no setting 'aligne'; did you mean 'align'\?"):
        read_study(path)
    path.write_text("align: 3\n")
    with pytest.raises(
        UserError, match=r"p\.yaml, line 1: align: there is no alignment method '3'"
    ):
        expand(read_study(path))
    path.write_text("align: vaccine\nfinetune: null\nseed: 3\n")
    [pipeline] = expand(with_words(read_study(path), {"align": {"rho": 7}}, "here"))
    assert list(pipeline.stages) == ["align", "evaluate"]
    settings = pipeline.stages["align"].settings
    assert (settings["method"], settings["rho"], settings["seed"]) == ("vaccine", 7.0, 3)
    path.write_text("evaluate: null\n")
    with pytest.raises(UserError, match="evaluate is null"):
        expand(read_study(path))


def test_user_files_with_the_wrong_columns_are_refused(tmp_path):
    path = Path(tmp_path / "rows.jsonl")
    path.write_text('{"instruction": "a", "answer": "b"}\n')
    with pytest.raises(UserError, match=r"rows\.jsonl.*output"):
        make_stage("align", {"data": str(path)})
    path.write_text('{"instruction": "a", "output": "b"}\n{"instruction": \n')
    with pytest.raises(UserError, match=r"rows\.jsonl.*line 2"):
        make_stage("align", {"data": str(path)})
    path.write_text("")
    with pytest.raises(UserError, match=r"rows\.jsonl"):
        make_stage("align", {"data": str(path)})
