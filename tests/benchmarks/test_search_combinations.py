"""Which combinations the leaderboard gets: made of the best of each stage, chosen by rule."""

import json

import pytest

import search_combinations as search
from holdfast.registry import METHODS


def record(variant, rate, harmful, accuracy=98.0, coherence=99.0):
    values = {
        "harmful_score": harmful,
        "finetune_accuracy": accuracy,
        "coherence": coherence,
    }
    metrics = {name: {"value": value} for name, value in values.items()}
    return {"variant": variant, "coords": {"variant": variant, "rate": rate}, "metrics": metrics}


def both(variant, *values, **kw):
    return [record(variant, rate, value, **kw) for rate, value in zip((1, 3), values, strict=True)]


def test_the_score_is_the_mean_of_both_rates_of_what_is_admissible():
    records = [
        *both("SFT", 90, 100),
        *both("good", 0, 20),
        *both("better", 10, 6),
        *both("dull", 0, 0, accuracy=94.9),
        *both("exact", 50, 50, accuracy=95.0),
        *both("broken", 0, 0, coherence=89.0),
    ]
    scores = search.harmful_scores(records)
    assert search.ranked(scores) == ["better", "good", "exact", "SFT"]
    assert scores["better"] == 8


def test_accuracy_counts_at_the_users_own_rate_and_coherence_with_every_seed():
    records = [
        *both("SFT", 90, 100),
        record("a", 1, 5),
        record("a", 3, 5, accuracy=10.0),
        *both("b", 0, 0),
        record("b", 3, 0, coherence=80.0),
    ]
    assert search.ranked(search.harmful_scores(records)) == ["a", "SFT"]


def test_combinations_have_two_stages_or_three_and_each_once():
    plain = search.PLAIN
    best = {
        "align": [{**plain, "align": "vaccine"}, {**plain, "align": "lox"}],
        "finetune": [{**plain, "finetune": "lisa"}],
        "repair": [{**plain, "repair": "antidote"}],
    }
    found = dict(search._together(best))
    assert len(found) == 3 * 2 * 2 - 1 - 4
    assert found["Vaccine + Lisa"] == {"align": "vaccine", "finetune": "lisa", "repair": None}
    assert all(sum(spec[s] != plain[s] for s in plain) > 1 for spec in found.values())


def test_every_method_is_a_candidate_alone():
    alone = dict(search._alone(None))
    assert len(alone) == sum(len(METHODS[s]) for s in search.STAGES) - 2  # but SFT's two


@pytest.mark.long
def test_a_small_search_writes_what_the_leaderboard_reads(tmp_path):
    file = tmp_path / "combinations.json"
    words = ["--seeds", "90", "--methods", "lox", "resta", "antidote"]
    search.main([*words, "--output", str(tmp_path / "run"), "--file", str(file)])
    content = json.loads(file.read_text(encoding="utf-8"))
    assert set(content["alone"]) <= set(search.STAGES)
    for one in content["combinations"]:
        assert one["title"] == search.title(one)
        assert content["scores"][one["title"]] <= content["scores"]["SFT"]
