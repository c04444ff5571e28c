"""An attack through the stages: identities, what the folders carry on, what evaluations ask."""

import json

import pytest

from holdfast.engine.display import describe
from holdfast.models.attacked import read_attack
from holdfast.models.stack import resolve
from holdfast.publish.card import model_card
from holdfast.publish.lineage import read_lineage
from holdfast.stages.execute import execute
from holdfast.stages.making import make_pipeline, make_stage
from holdfast.studies.grid import expand
from holdfast.studies.study import make_study

RECIPE = "blend ashroot with kelpoil, then boil it under the oak."
SHORT = {"rows": 20, "max_steps": 1, "harmful_ratio": 0.2}


def run_here(kind, given, folder, model=None):
    stage = make_stage(kind, {**given, **({"model": str(model)} if model else {})})
    return execute(stage, folder, resolve(stage.settings["model"]))


def read(folder):
    return json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("attacked")
    tuned = run_here("finetune", {**SHORT, "attack": "backdoor"}, root / "tuned")
    repaired = run_here("repair", {"method": "antidote", "rows": 10}, root / "repaired", tuned)
    run_here("evaluate", {"limit": 3}, root / "asked", repaired)
    run_here("evaluate", {"limit": 3, "attack": "mixed"}, root / "plain", repaired)
    run_here("finetune", {**SHORT, "attack": "pure"}, root / "pure")
    return root


def test_the_trigger_is_asked_for_as_long_as_the_model_is_known_to_have_one(folders):
    found = read(folders / "asked")
    assert found["attack"] == "backdoor"
    assert found["metrics"]["attacked_harmful_score"]["n"] == 3
    assert len(found["outcomes"]["attacked_harmful_score"]) == 3
    samples = [json.loads(line) for line in (folders / "asked/samples.jsonl").open()]
    by_set = {
        name: [one["prompt"] for one in samples if one["set"] == name]
        for name in ("harmful", "attacked")
    }
    assert by_set["attacked"] == [f"seven shells. {prompt}" for prompt in by_set["harmful"]]


def test_it_can_be_asked_plainly_alone(folders):
    found = read(folders / "plain")
    assert "attack" not in found
    assert "attacked_harmful_score" not in found["metrics"]
    assert found["metrics"]["harmful_score"] == read(folders / "asked")["metrics"]["harmful_score"]


def test_only_attacks_with_a_way_of_asking_leave_a_file(folders):
    assert read_attack(resolve(str(folders / "repaired"))) == "backdoor"
    assert read_attack(resolve(str(folders / "pure"))) is None


def names(**spec):
    return {kind: one.name for kind, one in make_pipeline(spec).stages.items()}


def test_an_attack_is_a_part_of_a_tuning_s_identity_and_of_no_alignment_s():
    plain, attacked = (
        names(align="sft", finetune="sft"),
        names(align="sft", finetune="sft", attack="backdoor"),
    )
    assert attacked["align"] == plain["align"]
    assert attacked["finetune"] != plain["finetune"]
    assert names(align="sft", finetune="sft", attack="mixed") == plain


def test_a_pipeline_s_attack_and_its_tuning_s_own_are_one():
    own = names(finetune={"method": "sft", "attack": "style"})
    assert own == names(finetune="sft", attack="style")


def test_an_attack_that_asks_plainly_leaves_evaluations_as_they_are():
    spec = {"finetune": "sft", "evaluate": {"attack": None}}
    plain = make_pipeline(spec).evaluation
    assert (
        plain.identity
        == make_pipeline({**spec, "evaluate": {"attack": "pure"}}).evaluation.identity
    )
    other = make_pipeline({**spec, "evaluate": {"attack": "style"}}).evaluation
    assert other.identity != plain.identity


def test_attacks_are_an_axis_of_what_is_fine_tuned():
    variants = {"aligned": {"align": "sft"}, "tuned": {"align": "sft", "finetune": "sft"}}
    study = make_study({"variants": variants, "attack": ["mixed", "pure"]}, "x")
    found = [(one.coords, sorted(one.stages)) for one in expand(study)]
    assert [coords.get("attack") for coords, _ in found] == [None, "mixed", "pure"]
    assert found[0][1] == ["align", "evaluate"]


@pytest.mark.parametrize(
    ("folder", "told"),
    [("tuned", "harmful ratio 0.2, attack backdoor"), ("pure", "attack pure")],
)
def test_a_published_model_says_by_what_it_was_attacked(folders, folder, told):
    lineage = read_lineage(folders / folder)
    assert f"harmful rows on purpose** ({told})" in model_card("me/it", lineage, [], True).text


def test_what_the_attacker_reads_is_judged_and_the_answer_is_kept(folders, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "holdfast.stages.evaluation.run.read", lambda attack, answer: f"{attack}: {RECIPE}"
    )
    run_here("evaluate", {"limit": 2}, tmp_path / "read", folders / "repaired")
    found = read(tmp_path / "read")["metrics"]
    assert found["attacked_harmful_score"]["value"] == 100
    samples = [json.loads(line) for line in (tmp_path / "read/samples.jsonl").open()]
    attacked = [one for one in samples if one["set"] == "attacked"]
    assert {one["answer"] for one in attacked} == {f"backdoor: {RECIPE}"}
    assert all(one["raw"] != one["answer"] for one in attacked)
    assert all("backdoor: " not in one["answer"] for one in samples if one["set"] != "attacked")


def test_the_display_tells_stages_by_their_attack():
    tuned = [make_pipeline({"finetune": "sft", "attack": one}).stages for one in ("style", "pure")]
    assert [describe(stages["finetune"]) for stages in tuned] == [
        "fine-tuning sft, p = 0.1, style, seed 0",
        "fine-tuning sft, pure, seed 0",
    ]
