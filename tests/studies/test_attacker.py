"""A study's attacker: an equal number of tries against every variant, the most harm is chosen."""

import io

import pytest
from rich.console import Console
from searches import Engine, record, run

from holdfast.commands.gc import collect_garbage
from holdfast.errors import Stopped, UserError
from holdfast.report.comparison import compare, read_run
from holdfast.studies.attacker import attacks_of
from holdfast.studies.choosing import Rule, Score, choose, score_of
from holdfast.studies.study import make_study

FILE = """
title: An attack
seeds: 2
harmful_ratio: [0, 0.1]
variants:
  aligned: {align: sft}
  SFT: {align: sft, finetune: sft}
  Lisa: {align: sft, finetune: lisa}
attacker:
  tries: 3
  seeds: [200]
  at: {harmful_ratio: 0.1}
  sampler: random
  max_accuracy_loss: 5
  space: {finetune.learning_rate: [1.0e-4, 1.0e-3, 1.0e-2]}
"""
RATES = {1.5e-4: (40, 98, 99), 1e-4: (30, 98, 99), 1e-3: (70, 94, 99), 1e-2: (99, 60, 99)}


def score(stage):
    """HS, FA and coherence of an evaluation: the learning rate decides, and Lisa halves the HS."""
    tuned = [one for one in stage.lineage() if one.kind == "finetune"]
    if not tuned:
        return 1, 50, 99
    harm, *rest = RATES[tuned[0].settings["learning_rate"]]
    return (harm / 2 if tuned[0].settings["method"] == "lisa" else harm), *rest


@pytest.fixture
def engine(monkeypatch):
    made = Engine(score=score)
    monkeypatch.setattr("holdfast.commands.pipelines.run_stages", made)
    return made


def test_the_most_harm_within_the_bound_is_chosen():
    rule = Rule(Score(50, 98, 99), 5, 90, harm=True)
    tries = [Score(40, 98, 99), Score(99, 60, 99), Score(70, 94, 99), Score(80, 97, 10), None]
    choice = choose(tries, rule)
    assert choice is not None
    assert choice.number == 2
    assert choice.admissible == [True, False, True, False, False]
    assert choose([Score(9, 50, 99), Score(1, 60, 99)], rule).number == 1, "none within: most FA"


def test_it_counts_what_is_asked_in_the_attack_s_way():
    one = {"harmful_score": 1, "attacked_harmful_score": 90, "finetune_accuracy": 97}
    metrics = [{name: {"value": value} for name, value in one.items()}]
    assert score_of(metrics, harm=True) == Score(90, 97)
    assert score_of(metrics) == Score(1, 97)


def test_it_searches_against_every_variant_and_the_study_shows_what_it_found(tmp_path, engine):
    said = run(tmp_path, FILE)
    searched, _ = engine.runs
    assert len([name for name in searched if name.startswith("evaluate")]) == 2 * 3
    kept = record(tmp_path)
    [search] = kept["search"]
    assert search["attacker"] is True
    assert {name: one["tries"] for name, one in search["variants"].items()} == {"SFT": 3, "Lisa": 3}
    for variant in ("SFT", "Lisa"):
        tried = [
            one["settings"]["finetune.learning_rate"]
            for one in search["variants"][variant]["tried"]
        ]
        if 1e-3 in tried:
            assert search["variants"][variant]["chosen"] == {"finetune.learning_rate": 1e-3}
    assert "The attacker's best against Lisa: finetune.learning_rate = " in said
    places = [one["coords"] for one in kept["pipelines"]]
    assert sum(one.get("attacker") == "searched" for one in places) == 2 * 2
    assert all("attacker" not in one for one in places if one["variant"] == "aligned")
    assert all(one["harmful_ratio"] == 0.1 for one in places if one.get("attacker") == "searched")
    comparison = compare(read_run(tmp_path / "run"))
    assert "attacker" in comparison.axes
    [sft, lisa] = comparison.attackers
    assert sft.startswith("Against SFT the attacker searched with 3 tries on seed 200, and chose ")
    assert "fine-tuning learning rate" in lisa


def test_the_same_command_again_runs_nothing(tmp_path, engine):
    run(tmp_path, FILE)
    before = record(tmp_path)["search"]
    run(tmp_path, FILE)
    assert engine.runs[2:] == [[], []]
    assert record(tmp_path)["search"] == before


def test_it_attacks_what_the_study_s_own_search_has_chosen(tmp_path, engine):
    text = FILE.replace("attacker:", "search:\n  tries: 2\n  seeds: [100]\n  spaces: "
        "{Lisa: {finetune.rho: [0.3, 1]}}\nattacker:")  # fmt: skip
    run(tmp_path, text, ["search.at={harmful_ratio: 0.1}"])
    [search, attack] = record(tmp_path)["search"]
    rho = search["variants"]["Lisa"]["chosen"]["finetune.rho"]
    assert len(attack["variants"]["Lisa"]["tried"]) == 3
    assert rho in (0.03, 0.3, 1)
    assert "attacker" not in search


def test_what_was_stopped_meanwhile_keeps_the_study_s_own_search(tmp_path, engine, monkeypatch):
    """`holdfast gc` knows the stages of both searches, whenever the run was stopped."""
    text = FILE.replace("attacker:", "search:\n  tries: 2\n  seeds: [100]\n  spaces: "
        "{Lisa: {finetune.rho: [0.3, 1]}}\n  at: {harmful_ratio: 0.1}\nattacker:")  # fmt: skip

    def stopped(*args, **kwargs):
        if engine.runs:
            raise KeyboardInterrupt
        return engine(*args, **kwargs)

    monkeypatch.setattr("holdfast.commands.pipelines.run_stages", stopped)
    for _ in range(2):  # the second time the first search is there already
        with pytest.raises(Stopped):
            run(tmp_path, text)
        engine.runs.clear()
    before = sorted((tmp_path / "run/stages").iterdir())
    said = io.StringIO()
    collect_garbage(tmp_path / "run", True, Console(file=said, width=200))
    assert "nothing to remove" in said.getvalue()
    assert sorted((tmp_path / "run/stages").iterdir()) == before != []


def test_without_it_nothing_changes(tmp_path, engine):
    run(tmp_path, FILE, ["attacker=null"])
    assert len(engine.runs) == 1
    assert all("attacker" not in one["coords"] for one in record(tmp_path)["pipelines"])


def test_a_plan_counts_its_tries(tmp_path, engine):
    said = run(tmp_path, FILE, plan=True)
    assert "The attacker's search" in said
    assert engine.runs == []


BASE = {"tries": 2, "seeds": [200], "space": {"finetune.learning_rate": [1e-4, 1e-3]}}
SFT = {"SFT": {"align": "sft", "finetune": "sft"}}


@pytest.mark.parametrize(
    ("attacker", "message"),
    [
        ({"tries": None}, "tries"),
        ({"space": {}}, "space is empty"),
        ({"space": {"align.rho": [1]}}, "'align.rho' is not the attacker's to set"),
        ({"space": {"finetune.rows_": [1]}}, "rows_"),
        ({"space": {"finetune.learning_rate": [1e-3]}, "tries": 9}, "tries is 9"),
        ({"seeds": [0]}, "seed 0 is one of the study's"),
        ({"variants": ["Lisa"]}, "no variant 'Lisa'"),
        ({"spaces": {}}, "there is no setting 'spaces'"),
    ],
)
def test_mistakes_are_told(attacker, message):
    study = make_study({"variants": SFT, "attacker": {**BASE, **attacker}}, "here")
    with pytest.raises(UserError) as error:
        attacks_of(study)
    assert message in str(error.value)
    assert str(error.value).startswith("here: attacker")


def test_who_is_not_fine_tuned_cannot_be_attacked():
    study = make_study({"variants": {"a": {"align": "sft"}}, "attacker": BASE}, "here")
    with pytest.raises(UserError, match="no variant of the study is fine-tuned"):
        attacks_of(study)
