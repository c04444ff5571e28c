"""read_run and compare on made-up folders of runs: what is read, paired, marked and told."""

from dataclasses import replace
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
from demo_results import demo_results
from run_folder import add_run, write_json, write_run

from holdfast.errors import UserError
from holdfast.report.budgets import Budget, budget_notes, zeroed_note
from holdfast.report.comparison import compare, read_run, run_of
from holdfast.report.sheet import budget_sheet
from holdfast.statistics.estimates import LEVEL, Estimate, holm, over_seeds
from holdfast.statistics.intervals import difference_interval
from holdfast.statistics.worst import is_attack, worst_cases

RATES = {"SFT": 0.8, "Vaccine": 0.4, "Lisa": 0.1, "Antidote": 0.12}


def rate(variant: str, place: Any, seed: int) -> dict[str, float]:
    wave = 0.02 * (seed % 3)
    return {
        "harmful_score": RATES[variant] * place.get("harmful_ratio", 0.1) / 0.1 + wave,
        "finetune_accuracy": 0.9 - wave,
        "over_refusal_rate": 0.05,
        "alignment_loss": 1.0,
    }


def test_a_run_is_read(tmp_path: Path):
    write_run(tmp_path, rate)
    run = read_run(tmp_path)
    assert (run.title, run.command) == ("A study", "holdfast run study.yaml")
    assert len(run.results) == 9
    first = run.results[0]
    assert (first.variant, first.axes, first.seed) == ("SFT", {"harmful_ratio": 0.1}, 0)
    assert (first.align, first.finetune, first.repair) == ("sft", "sft", None)
    assert first.is_plain_sft
    found = first.outcomes["harmful_score"]
    assert 100 * found.mean() == pytest.approx(first.metrics["harmful_score"].value)
    assert first.prompts["harmful_score"] == "harmful seed 0"
    assert first.budget == Budget(100, 50, 5000, 50, None, 3.0, 2**30)
    assert run.unfinished == []


def test_results_without_a_study_and_without_stages():
    run = run_of(demo_results(3), Path("gone"))
    found = compare(run)
    assert [row.variant for row in found.rows[:3]] == ["SFT", "SFT", "Vaccine"]
    assert [row.axes["harmful_ratio"] for row in found.rows[:3]] == [0.0, 0.1, 0.1]
    assert found.rows[7].variant == "Vaccine + Lisa + Antidote"
    assert found.baseline == "SFT"
    seeds = [
        Estimate(**record["metrics"]["harmful_score"]) for record in demo_results(3)["records"][3:6]
    ]
    assert found.rows[1].cells["harmful_score"].mean == over_seeds(seeds)
    assert found.rows[0].cells["harmful_score"].difference is None  # nothing else at p = 0
    assert found.worst == []  # its level needs the outcomes
    assert found.rows[1].budget.seconds == pytest.approx(11.2)


def test_bare_numbers_have_no_interval_of_their_own():
    results = demo_results(2)
    for number, record in enumerate(results["records"]):
        record["metrics"] = {"harmful_score": 40.0 + number % 2, "alignment_loss": 130.0 + number}
    row = compare(run_of(results)).rows[0]
    assert row.cells["harmful_score"].mean.value == 40.5
    assert row.cells["alignment_loss"].mean.value == 130.5  # no percentage: not cut at 100


def test_a_metric_that_not_all_seeds_have_is_left_out(tmp_path: Path):
    write_run(tmp_path, lambda v, p, s: rate(v, p, s) if s else {"harmful_score": 0.5})
    row = compare(read_run(tmp_path)).rows[0]
    assert list(row.cells) == ["harmful_score"]


def test_rows_are_paired_with_plain_sft_at_their_own_place(tmp_path: Path):
    axes = [{"harmful_ratio": p} for p in (0.05, 0.1)]
    write_run(tmp_path, rate, axes=axes)
    run = read_run(tmp_path)
    found = compare(run)
    assert (found.baseline, found.axes) == ("SFT", ["harmful_ratio"])
    assert [row.is_baseline for row in found.rows] == [True, True, False, False, False, False]
    row = next(r for r in found.rows if r.variant == "Lisa" and r.axes["harmful_ratio"] == 0.05)
    pairs = [
        (a, b)
        for a in run.results
        for b in run.results
        if (a.variant, b.variant) == ("Lisa", "SFT")
        and a.axes == b.axes == {"harmful_ratio": 0.05}
        and a.seed == b.seed
    ]
    d = [a.outcomes["harmful_score"] - b.outcomes["harmful_score"] for a, b in pairs]
    expected = difference_interval([100 * x.mean() for x in d], d, False, percent=True)
    difference = row.cells["harmful_score"].difference
    assert difference is not None
    assert replace(difference, p_holm=None) == expected
    assert difference.seeds == 3


def test_p_values_are_corrected_within_a_metric(tmp_path: Path):
    write_run(tmp_path, rate, variants=["SFT", "Vaccine", "Lisa", "Antidote"], seeds=range(5))
    rows = compare(read_run(tmp_path)).rows
    for metric in ("harmful_score", "finetune_accuracy"):
        found = [row.cells[metric].difference for row in rows[1:]]
        assert all(found)
        assert [d.p_holm for d in found if d] == pytest.approx(holm([d.p for d in found if d]))
    assert rows[0].cells["harmful_score"].difference is None


def test_the_best_of_a_place_and_what_is_not_told_from_it(tmp_path: Path):
    write_run(tmp_path, rate, variants=["SFT", "Vaccine", "Lisa", "Antidote"], seeds=range(5))
    rows = {row.variant: row for row in compare(read_run(tmp_path)).rows}
    marks = {name: row.cells["harmful_score"] for name, row in rows.items()}
    assert [name for name, cell in marks.items() if cell.best] == ["Lisa"]
    assert [name for name, cell in marks.items() if cell.close] == ["Antidote"]
    # All alike in over-refusal: a mark on every row would say nothing.
    assert not any(row.cells["over_refusal_rate"].best for row in rows.values())


def test_an_axis_of_one_variant_belongs_to_the_same_place(tmp_path: Path):
    write_run(tmp_path, rate, variants=["SFT"], axes=[{"harmful_ratio": 0.1}])
    axes = [{"harmful_ratio": 0.1, "align.rho": rho} for rho in (1, 2)]
    add_run(tmp_path, rate, variants=["Vaccine"], axes=axes)
    found = compare(read_run(tmp_path))
    assert (found.axes, found.shared) == (["harmful_ratio", "align.rho"], ["harmful_ratio"])
    assert [row.cells["harmful_score"].difference is not None for row in found.rows] == [
        False,
        True,
        True,
    ]
    assert found.place(found.rows[0]) == found.place(found.rows[2])
    best = [row.cells["harmful_score"].best for row in found.rows]
    assert best == [False, True, True]  # the two have the same rate, and so the same answers


def test_another_baseline(tmp_path: Path):
    axes = [{"harmful_ratio": p} for p in (0.05, 0.1)]
    write_run(tmp_path, rate, axes=axes)
    run = read_run(tmp_path)
    found = compare(run, baseline="Lisa")
    assert found.baseline == "Lisa"
    assert [row.is_baseline for row in found.rows] == [False] * 4 + [True, True]
    fixed = compare(run, baseline={"variant": "SFT", "harmful_ratio": 0.05})
    assert [row.is_baseline for row in fixed.rows] == [True] + [False] * 5
    assert fixed.rows[1].cells["harmful_score"].difference is not None
    with pytest.raises(UserError, match=r"no variant 'Lissa' .* it has SFT, Vaccine, Lisa"):
        compare(run, baseline="Lissa")
    with pytest.raises(UserError, match="'SFT' was not run at harmful_ratio = 7"):
        compare(run, baseline={"variant": "SFT", "harmful_ratio": 7})


def test_metrics_may_be_chosen(tmp_path: Path):
    write_run(tmp_path, rate)
    run = read_run(tmp_path)
    assert compare(run).metrics == [
        *("harmful_score", "finetune_accuracy", "over_refusal_rate", "alignment_loss")
    ]
    assert compare(run, metrics=["alignment_loss"]).metrics == ["alignment_loss"]
    with pytest.raises(UserError, match="no metric 'FA'; it has harmful_score"):
        compare(run, metrics=["FA"])


def test_shared_prompts_are_seen_by_their_fingerprints(tmp_path: Path):
    widths = []
    for same in (False, True):
        root = tmp_path / str(same)
        write_run(root, rate, same_prompts=same, seeds=range(10))
        mean = compare(read_run(root)).rows[1].cells["harmful_score"].mean
        widths.append(mean.high - mean.low)
    assert widths[1] > 1.5 * widths[0]  # the luck of the prompts does not average out


def test_seeds_that_only_one_of_two_has_are_left_out_of_the_difference(tmp_path: Path):
    write_run(tmp_path, rate, finished=lambda v, p, seed: (v, seed) != ("Lisa", 1))
    rows = compare(read_run(tmp_path)).rows
    assert rows[2].seeds == (0, 2)
    difference = rows[2].cells["harmful_score"].difference
    assert difference is not None
    assert difference.seeds == 2


def test_a_run_under_way_is_read_as_far_as_it_is(tmp_path: Path):
    names = {"failures": {"align-Lisa-0.1-0": "Traceback\nValueError: no"}, "skipped": []}
    write_run(
        tmp_path, rate, finished=lambda v, p, seed: v == "SFT" and seed < 2, study=dict(names)
    )
    (tmp_path / "results.json").unlink()  # written at a run's end
    write_json(tmp_path / "stages/finetune-SFT-0.1-0/config.yaml", {"harmful_ratio": 0.1})
    run = read_run(tmp_path)
    assert [r.seed for r in run.results] == [0, 1]
    assert run.results[0].align == "sft"
    states = [(one.variant, one.seed, one.state) for one in run.unfinished]
    assert states[0] == ("SFT", 2, "not finished")
    assert ("Lisa", 0, "failed") in states
    assert ("Lisa", 1, "not finished") in states
    assert compare(run).rows[0].seeds == (0, 1)


def neither_record(root: Path) -> None:
    (root / "study.json").unlink()
    (root / "results.json").unlink()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (neither_record, "no folder of a run"),
        (lambda root: (root / "results.json").write_text("{"), r"results.json is broken"),
        (lambda root: write_json(root / "results.json", {"schema_version": 9}), "schema_version 9"),
        (lambda root: (root / "study.json").write_text("[]"), r"study.json is broken"),
        (lambda root: write_json(root / "study.json", {"pipelines": 1}), "no 'pipelines'"),
        (
            lambda root: write_json(root / "study.json", {"pipelines": [{}], "stages": {}}),
            "pipeline 1 is broken",
        ),
        (
            lambda root: (root / "stages/evaluate-SFT-0.1-1/evaluation.json").write_text("\0"),
            r"evaluate-SFT-0.1-1/evaluation.json is broken",
        ),
        (
            lambda root: write_json(root / "stages/evaluate-SFT-0.1-1/evaluation.json", {}),
            r"evaluate-SFT-0.1-1/evaluation.json is broken: it has no 'metrics'",
        ),
    ],
)
def test_a_broken_folder_is_named(tmp_path: Path, spoil, message: str):
    write_run(tmp_path, rate)
    spoil(tmp_path)
    with pytest.raises(UserError, match=message):
        read_run(tmp_path)


def test_no_folder_and_nothing_finished(tmp_path: Path):
    with pytest.raises(UserError, match="is no folder; name the folder of a run"):
        read_run(tmp_path / "none")
    write_run(tmp_path, rate, finished=lambda *_: False)
    with pytest.raises(UserError, match="has no finished pipeline yet"):
        read_run(tmp_path)


def test_what_the_seeds_allow_is_said(tmp_path: Path):
    def notes(seeds: int) -> str:
        write_run(tmp_path / str(seeds), rate, seeds=range(seeds))
        return " ".join(compare(read_run(tmp_path / str(seeds))).notes)

    assert "cover the choice of prompts only, not the training" in notes(1)
    assert "Two seeds are too few" in notes(2)
    assert "Mean of 3 seeds; the 95 % intervals cover seeds and prompts." in notes(3)
    assert "too few" not in notes(3)
    assert "the interval is a little too wide" in notes(3)  # over-refusal: 1.5 of 30 prompts
    write_run(tmp_path / "even", lambda *_: {"harmful_score": 0.5, "coherence": 1.0})
    assert "too wide" not in " ".join(compare(read_run(tmp_path / "even")).notes)


def test_budgets_are_told_only_where_they_differ(tmp_path: Path):
    write_run(tmp_path / "a", rate)
    assert compare(read_run(tmp_path / "a")).budget_notes == []
    budgets = {"Vaccine": {"passes": 100}, "Lisa": {"steps": 60, "tokens": 5010}}
    write_run(tmp_path / "b", rate, budgets=budgets)
    assert compare(read_run(tmp_path / "b")).budget_notes == [
        "Budgets differ: Vaccine had 2.00 × the forward-backward passes (100 to 50) of SFT.",
        "Budgets differ: Lisa had 1.20 × the training steps (60 to 50) of SFT.",
    ]


def test_the_share_that_a_repair_really_zeroed_is_told(tmp_path: Path):
    """A dense ratio of 0.05 is 1 of 16 weights in a row of a LoRA factor of that rank."""
    write_run(tmp_path, rate, variants=("SFT", "Antidote"), seeds=(0, 1))
    assert compare(read_run(tmp_path)).budget_notes == []
    for folder, zeroed in zip(sorted(tmp_path.glob("stages/repair-*")), (6, 7), strict=True):
        write_json(folder / "repair_report.json", {"zeroed": zeroed, "total": 100})
    found = compare(read_run(tmp_path))
    assert found.budget_notes == ["Weights that the repair set to zero: Antidote 6.5 %."]
    sheet = budget_sheet(found)
    column = [one.title for one in sheet.columns].index("zeroed")
    assert [row[column].text for row in sheet.rows] == ["–", "6.5 %"]


def test_shares_zeroed_at_several_places_are_told_as_a_range():
    row = compare(run_of(demo_results())).rows[1]
    rows = [replace(row, variant="Antidote", budget=Budget(zeroed=s)) for s in (0.0675, 0.25)]
    assert zeroed_note([row, *rows]) == [
        "Weights that the repair set to zero: Antidote 6.75 % to 25 %."
    ]


def test_budgets_of_several_places_are_one_sentence(tmp_path: Path):
    rows = compare(run_of(demo_results())).rows
    sft = replace(rows[1], budget=Budget(steps=100))
    two = [replace(rows[2], budget=Budget(steps=n)) for n in (150, 200)]
    alike = replace(rows[3], budget=Budget(steps=150))
    notes = budget_notes([(two[0], sft), (two[1], sft), (alike, sft), (sft, sft)])
    assert notes == [
        "Budgets differ: Vaccine had 1.50 to 2.00 × the training steps of SFT.",
        "Budgets differ: T-Vaccine had 1.50 × the training steps (150 to 100) of SFT.",
    ]


@pytest.mark.parametrize(
    ("axis", "attack"),
    [
        ("harmful_ratio", True),
        ("finetune.learning_rate", True),
        ("finetune.num_train_epochs", True),
        ("align.learning_rate", False),
        ("align.rho", False),
        ("task", False),
    ],
)
def test_what_an_attacker_chooses(axis: str, attack: bool):
    assert is_attack(axis) == attack


def test_the_worst_case_names_its_setting(tmp_path: Path):
    axes = [
        {"harmful_ratio": p, "finetune.learning_rate": lr, "task": task}
        for task in ("sums", "topic")
        for p in (0.05, 0.1)
        for lr in (1e-4, 3e-4)
    ]

    def harder(variant: str, place: Any, seed: int) -> dict[str, float]:
        more = 0.15 if place["finetune.learning_rate"] == 3e-4 else 0.0
        return {"harmful_score": RATES[variant] * place["harmful_ratio"] / 0.1 + more}

    write_run(tmp_path, harder, variants=["Vaccine", "Lisa"], axes=axes)
    found = compare(read_run(tmp_path))
    assert [(w.variant, w.axes) for w in found.worst] == [
        ("Vaccine", {"task": "sums"}),
        ("Vaccine", {"task": "topic"}),
        ("Lisa", {"task": "sums"}),
        ("Lisa", {"task": "topic"}),
    ]
    worst = found.worst[0]
    assert worst.setting == {"harmful_ratio": 0.1, "finetune.learning_rate": 3e-4}
    assert (worst.settings, worst.seeds) == (4, 3)
    rows = [r for r in found.rows if (r.variant, r.axes["task"]) == ("Vaccine", "sums")]
    means = [row.cells["harmful_score"].mean for row in rows]
    assert worst.estimate.value == max(mean.value for mean in means)
    assert worst.estimate.high == max(mean.high for mean in means)
    own = max(means, key=lambda mean: mean.value)
    assert worst.estimate.low < own.low  # corrected for four settings


def test_the_worst_case_has_every_variant_where_one_has_several_settings():
    shares = {("a", 0.1): 20.0, ("a", 0.2): 40.0, ("aligned", None): 5.0}
    places = [(v, {} if p is None else {"harmful_ratio": p}, 3) for v, p in shares]
    values = [*shares.values()]

    def interval(i: int, level: float) -> Estimate:
        return Estimate(values[i], values[i] - 100 * (1 - level), values[i] + 5, 60)

    first, second = worst_cases(places, interval)
    assert (first.variant, first.setting, first.settings) == ("a", {"harmful_ratio": 0.2}, 2)
    assert (second.variant, second.setting, second.settings) == ("aligned", {}, 1)
    assert second.estimate == interval(2, LEVEL)
    assert worst_cases(places[1:], lambda i, level: interval(i + 1, level)) == []


def test_the_interval_of_a_maximum_holds_it():
    # Four settings, three of them equally bad; means are normal with a known standard error.
    generator, z = np.random.default_rng(0), {}
    truth, hits = np.array([50.0, 50.0, 50.0, 30.0]), 0
    places = [("V", {"harmful_ratio": p}, 5) for p in (1, 2, 3, 4)]
    for _ in range(1000):
        means = generator.normal(truth, 4.0)

        def interval(i: int, level: float, means: np.ndarray = means) -> Estimate:
            z.setdefault(level, NormalDist().inv_cdf((1 + level) / 2))
            half = z[level] * 4.0
            return Estimate(means[i], means[i] - half, means[i] + half, 100)

        (worst,) = worst_cases(places, interval)
        hits += worst.estimate.low <= 50 <= worst.estimate.high
    assert sorted(z) == pytest.approx([0.95, 1 - 0.05 / 4])
    # 95 % or more; three standard errors of 1000 studies are 2.1 %.
    assert hits / 1000 >= 0.95 - 0.021
