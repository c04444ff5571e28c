"""The sampler tpe: what it draws, what it is told, and that an interruption changes nothing."""

import math
import subprocess
import sys

import pytest
from searches import FILE, Engine, record, run

from holdfast.errors import FailedStagesError, Stopped, UserError
from holdfast.report.comparison import compare, read_run
from holdfast.report.document import document, markdown_document
from holdfast.studies.choosing import Rule, Score, choose
from holdfast.studies.search import tries_of
from holdfast.studies.search_spaces import Range, Space, draw
from holdfast.studies.study import make_study
from holdfast.studies.tpe import FILE as ANSWERS
from holdfast.studies.tpe import ROUND, next_tries


def searched(space, tries, loss):
    """All tries of a search in rounds, as a run makes them; the loss is what they rank by."""
    found = draw(space, min(ROUND, tries))
    while len(found) < tries:
        order = sorted(range(len(found)), key=lambda number: loss(found[number]))
        found += next_tries(space, found, order, min(ROUND, tries - len(found)))
    return found


MIXED = Space(
    {
        "finetune.rho": Range(0.003, 0.3),
        "align.layers": Range(1, 30, whole=True),
        "align.rho": [40.0, 5.0, 10.0],
        "align.targets": [["q"], ["q", "v"], "all"],
        "align.fixed": [True],
    },
    {"finetune.rho": 1.0, "align.rho": 22.0},  # neither is in the space, and others are left out
    {"align": "vaccine", "finetune": "lisa"},
    "here",
)


def test_what_is_asked_for_is_in_the_space_and_different():
    found = searched(MIXED, 30, lambda one: one.get("finetune.rho"))
    assert found[0] == MIXED.first
    assert all(one not in found[:number] for number, one in enumerate(found))
    for one in found[1:]:
        assert list(one) == list(MIXED.values)
        assert 0.003 <= one["finetune.rho"] <= 0.3
        assert one["finetune.rho"] == float(f"{one['finetune.rho']:.3g}")
        assert one["align.layers"] in range(1, 31)
        assert type(one["align.layers"]) is int
        assert all(one[name] in MIXED.values[name] for name in list(MIXED.values)[2:])


def test_a_space_is_used_up_to_its_last_setting():
    space = Space({"align.rho": [1.0, 2.0, 3.0, 5.0, 8.0, 13.0]}, {}, {"align": "vaccine"}, "here")
    found = searched(space, 7, lambda one: one.get("align.rho", 0))
    assert sorted(one["align.rho"] for one in found[1:]) == space.values["align.rho"]


def test_it_is_the_same_each_time_and_fewer_are_the_first_ones_of_more():
    def loss(one):
        return one["finetune.rho"]

    all_of = searched(MIXED, 14, loss)
    assert searched(MIXED, 14, loss) == all_of
    assert searched(MIXED, 6, loss) == all_of[:6]
    assert draw(MIXED, 4) == all_of[:4]
    assert searched(MIXED, 14, lambda one: -one["finetune.rho"])[4:] != all_of[4:]


def test_random_draws_are_even_on_a_logarithmic_scale():
    """Kolmogorov and Smirnov: the largest gap to the even distribution, below its 1 % bound."""
    space = Space({"align.rho": Range(0.01, 100)}, {}, {"align": "vaccine"}, "here")
    drawn = [one["align.rho"] for one in draw(space, 401)[1:]]
    shares = sorted(math.log(value / 0.01) / math.log(1e4) for value in drawn)
    n = len(shares)
    gap = max(max((k + 1) / n - share, share - k / n) for k, share in enumerate(shares))
    assert gap < 1.63 / math.sqrt(n)


def test_it_finds_a_known_minimum_where_chance_does_not():
    """The least of a parabola in two logarithms, at 10^(-0.7), with 24 tries of each kind."""

    def loss(one):
        return sum((math.log10(value) + 0.7) ** 2 for value in one.values())

    values = {"align.rho": Range(0.01, 1), "finetune.rho": Range(0.01, 1)}
    first = {"align.rho": 0.01, "finetune.rho": 1.0}
    by_chance, by_tpe = [], []
    for number in range(12):
        space = Space(values, first, {"align": f"method{number}"}, "here")
        by_chance.append(min(map(loss, draw(space, 24))))
        by_tpe.append(min(map(loss, searched(space, 24, loss))))
    assert sum(by_tpe) < 0.6 * sum(by_chance)
    assert sum(a < b for a, b in zip(by_tpe, by_chance, strict=True)) >= 8


def test_it_is_told_the_rules_own_order():
    rule = Rule(Score(86.8, 98.1, 98.0), 3, 90)
    scores = [
        None,  # it failed: the last
        Score(5, 98, 89.9),  # not coherent: after all that may be chosen, with the highest FA
        Score(20, 95.1, 90),
        Score(10, 95.0, 99),  # too low an FA
        Score(20, 97, 99),
        Score(20, 97, 99),
    ]
    assert rule.ranking(scores) == [4, 5, 2, 1, 3, 0]
    choice = choose(scores, rule)
    assert choice is not None
    assert choice.number == 4


def test_optuna_is_loaded_where_it_is_asked_alone_and_says_nothing(capfd):
    code = "import sys, holdfast.cli, holdfast.studies.search; assert 'optuna' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
    next_tries(MIXED, [MIXED.first], [0], 2)
    assert capfd.readouterr() == ("", "")


RANGE = FILE.replace("[5, 10, 40]", "{low: 2, high: 60}").replace("tries: 3", "tries: 10")
TPE = RANGE.replace("search:", "search:\n  sampler: tpe")


def score(stage):
    """A harmful score that is least at ρ = 12, an accuracy that falls with it."""
    rho = stage.lineage()[0].settings.get("rho")
    if rho is None:
        return 90, 98, 99
    return round(20 + 40 * math.log(rho / 12) ** 2, 3), 98 - rho / 10, 99


@pytest.fixture
def engine(monkeypatch):
    engine = Engine(score=score)
    monkeypatch.setattr("holdfast.commands.pipelines.run_stages", engine)
    return engine


def tried(folder):
    [search] = record(folder)["search"]
    return search["variants"]["Vaccine"]["tried"]


def settings(folder):
    return [one["settings"]["align.rho"] for one in tried(folder)]


def test_a_run_asks_round_after_round_and_tells_what_it_found(tmp_path, engine):
    said = run(tmp_path, TPE)
    evaluations = [
        sum(name.startswith("evaluate") for name in names) for names in engine.runs
    ]  # of the baseline and four tries, of four, of two, of the study
    assert evaluations == [2 * 5, 2 * 4, 2 * 2, 2 * 3 * 2]
    values = settings(tmp_path)
    assert len({*values}) == 10
    assert values[0] == 22
    assert all(2 <= value <= 60 for value in values)
    assert "Settings were searched by TPE with 10 tries a variant on seeds 100, 101" in said
    [search] = record(tmp_path)["search"]
    assert search["sampler"] == "tpe"
    best = min(values, key=lambda rho: abs(math.log(rho / 12)))
    assert search["variants"]["Vaccine"]["chosen"] == {"align.rho": best}
    found = read_run(tmp_path / "run")
    assert {row.budget.tries for row in compare(found).rows if row.variant == "Vaccine"} == {10}
    text = markdown_document(document(found, compare(found)))
    assert text.count("| Vaccine | alignment rho = ") == 10


def test_a_finished_search_is_read_whatever_optuna_would_answer(tmp_path, engine, monkeypatch):
    run(tmp_path, TPE)
    before = (tmp_path / "run" / "study.json").read_text()
    with monkeypatch.context() as patch:
        patch.setattr("holdfast.studies.tpe._ask", lambda *_: pytest.fail("it was asked"))
        said = run(tmp_path, TPE)
    assert engine.runs[4:] == [[]] * 4
    assert 0 not in engine.recorded[5:]  # it can be reported at any moment of the second run
    assert (tmp_path / "run" / "study.json").read_text() == before
    assert "Chosen for Vaccine" in said
    for torn in (
        "",
        "[]",
        '{"a": 3}',
        (tmp_path / "run" / ANSWERS).read_text().replace("rho", "r"),
    ):
        (tmp_path / "run" / ANSWERS).write_text(torn)
        run(tmp_path, TPE)
        assert not any(engine.runs[4:])
        assert (tmp_path / "run" / "study.json").read_text() == before


@pytest.mark.parametrize("call", [1, 2, 3])
def test_an_interrupted_search_ends_as_an_unbroken_one(tmp_path, monkeypatch, call):
    class Stopping(Engine):
        def __call__(self, stages, root, watcher, launch=None):
            if len(self.runs) + 1 < call:
                return super().__call__(stages, root, watcher, launch)
            super().__call__(stages[: len(stages) // 2], root, watcher, launch)
            raise KeyboardInterrupt

    def go(folder, engine):
        folder.mkdir(exist_ok=True)
        monkeypatch.setattr("holdfast.commands.pipelines.run_stages", engine)
        run(folder, TPE)
        return engine

    whole = go(tmp_path / "whole", Engine(score=score))
    with pytest.raises(Stopped):
        go(tmp_path / "broken", Stopping(score=score))
    rest = go(tmp_path / "broken", Engine(score=score))
    assert tried(tmp_path / "broken") == tried(tmp_path / "whole")
    assert 0 < sum(map(len, rest.runs)) < sum(map(len, whole.runs))


def test_what_was_tried_at_random_before_is_not_run_again(tmp_path, engine):
    run(tmp_path, RANGE.replace("tries: 10", "tries: 4"))
    before = settings(tmp_path)
    done = len(engine.runs)
    run(tmp_path, TPE)
    assert settings(tmp_path)[:4] == before
    first, second, third, _study = (
        sum(name.startswith("evaluate") for name in names) for names in engine.runs[done:]
    )
    assert (first, second, third) == (0, 2 * 4, 2 * 2)


def test_a_try_that_fails_counts_and_the_search_goes_on(tmp_path, monkeypatch):
    engine = Engine(lambda stage: (stage.settings.get("rho") or 0) > 20, score)
    monkeypatch.setattr("holdfast.commands.pipelines.run_stages", engine)
    with pytest.raises(FailedStagesError):
        run(tmp_path, TPE)
    states = [
        (one["settings"]["align.rho"] > 20, bool(one.get("failed"))) for one in tried(tmp_path)
    ]
    assert len(states) == 10
    assert all(large == failed for large, failed in states)
    assert 1 <= sum(failed for _, failed in states) < 10


def test_where_the_baseline_fails_nothing_more_is_asked(tmp_path, monkeypatch):
    engine = Engine(lambda stage: stage.kind == "align" and "rho" not in stage.settings, score)
    monkeypatch.setattr("holdfast.commands.pipelines.run_stages", engine)
    with pytest.raises(FailedStagesError):
        run(tmp_path, TPE)
    assert len(engine.runs) == 1


def test_a_plan_counts_tries_that_are_not_known_yet(tmp_path, engine):
    said = run(tmp_path, TPE, plan=True)
    assert "The search, with tries at random where TPE's are not known yet" in said
    assert "alignment vaccine 20 0 1 200" in said
    assert not (tmp_path / "run").exists()
    run(tmp_path, TPE.replace("tries: 10", "tries: 8"))
    said = run(tmp_path, TPE, plan=True)
    assert "alignment vaccine 20 16 1 200" in said, "the first two rounds are known and there"
    run(tmp_path, TPE)
    assert "alignment vaccine 20 20 1 200" in run(tmp_path, TPE, plan=True)


def test_an_unknown_sampler_is_told():
    spec = {"variants": {"SFT": {"align": "sft", "finetune": "sft"}}, "harmful_ratio": 0.1}
    search = {"tries": 2, "seeds": [9], "sampler": "tpee", "spaces": {"SFT": {"align.rows": [1]}}}
    with pytest.raises(UserError, match=r"search: sampler .*random.*tpe"):
        tries_of(make_study({**spec, "search": search}, "study.yaml"))
