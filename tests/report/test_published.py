"""Published numbers beside one's own."""

import io

import pytest
from rich.console import Console
from run_folder import write_run

from holdfast.protocols import papers
from holdfast.report.comparison import compare, read_run
from holdfast.report.published import (
    ABSENT,
    LEFT_OUT,
    NOT_RUN,
    published_rows,
)
from holdfast.report.published_table import published_table
from holdfast.statistics.estimates import Estimate, over_seeds
from holdfast.studies.grid import points
from holdfast.studies.study import read_study

PLACES = [
    {"variant": variant, "harmful_ratio": ratio}
    for variant in ("SFT", "Vaccine")
    for ratio in (0, 0.1)
]
PAPER = {"protocol": {"name": "vaccine-2024", "version": "1"}}


def metric(value, half=5.0, n=500):
    return {"value": value, "low": value - half, "high": value + half, "n": n}


def record(variant, ratio, seed, hs, fa=90.0, **more):
    return {
        "variant": variant,
        "coords": {"variant": variant, "harmful_ratio": ratio},
        "seed": seed,
        "metrics": {"harmful_score": metric(hs), "finetune_accuracy": metric(fa, 2.0)},
        **more,
    }


def results(*records, protocol=PAPER["protocol"]):
    return {"schema_version": 1, "protocol": protocol, "records": list(records)}


def text_of(table, width=200):
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(table)
    return console.export_text()


def test_a_place_with_two_seeds_beside_its_published_number():
    found = results(record("SFT", 0.1, 43, 50.0), record("SFT", 0.1, 44, 54.0))
    (row,) = published_rows(
        found, [{"variant": "SFT", "harmful_ratio": 0.1, "HS": 55.2, "FA": 94.4}], PLACES
    )
    cell = row.cells["HS"]
    assert cell.ours == over_seeds(
        [Estimate(50.0, 45.0, 55.0, 500), Estimate(54.0, 49.0, 59.0, 500)]
    )
    assert cell.difference == pytest.approx(52.0 - 55.2)
    assert row.cells["FA"].difference == pytest.approx(90.0 - 94.4)


def test_an_axis_that_is_not_named_is_averaged_within_each_seed():
    found = results(
        record("SFT", 0, 43, 40.0), record("SFT", 0.1, 43, 60.0), record("SFT", 0.1, 44, 99.0)
    )
    (row,) = published_rows(found, [{"variant": "SFT", "HS": 48.0}], PLACES)
    # Seed 44 has run at one place only, and takes no part.
    assert row.cells["HS"].ours == Estimate(50.0, 45.0, 55.0, 500)
    assert row.cells["HS"].difference == pytest.approx(2.0)


def test_what_is_not_there_says_why():
    found = results(record("SFT", 0, 43, 40.0))
    entries = [
        {"variant": "EWC", "harmful_ratio": 0.1, "HS": 50.6},
        {"variant": "Vaccine", "harmful_ratio": 0.1, "HS": 48.2},
        {"variant": "SFT", "HS": 53.24},
        {"variant": "SFT", "harmful_ratio": 0.0, "HS": 48.6, "memory_gb": 38.45},
    ]
    rows = published_rows(found, entries, PLACES)
    assert [row.cells["HS"].state for row in rows] == [ABSENT, NOT_RUN, "1 of 2 run", ""]
    assert rows[3].cells["HS"].difference == pytest.approx(-8.6)
    assert rows[3].cells["memory_gb"].state == NOT_RUN


def test_a_grid_without_the_papers_models_or_tasks():
    found = results(record("SFT", 0.1, 43, 50.0))
    at = {"variant": "SFT", "HS": 52.8, "harmful_ratio": 0.1}
    rows = published_rows(found, [{**at, "model": "a"}, {**at, "model": "b"}], PLACES)
    assert [row.cells["HS"].ours.value for row in rows] == [50.0, 50.0]
    (row,) = published_rows(found, [{**at, "harmful_ratio": 0.5}], PLACES)
    assert row.cells["HS"].state == LEFT_OUT


def test_costs_are_those_of_the_last_training_stage():
    cost = {
        "align": {"steps": 10, "seconds": 99.0, "peak_memory_bytes": 5 * 2**30},
        "finetune": {"steps": 1000, "seconds": 125.0, "peak_memory_bytes": 40 * 2**30},
    }
    found = results(record("SFT", 0.1, 43, 50.0, cost=cost))
    entry = {"variant": "SFT", "harmful_ratio": 0.1, "seconds_per_step": 0.1155, "memory_gb": 47.97}
    (row,) = published_rows(found, [entry], PLACES)
    assert row.cells["seconds_per_step"].ours.value == pytest.approx(0.125)
    assert row.cells["memory_gb"].ours.value == pytest.approx(40.0)
    aligned = {"align": {"steps": 100, "seconds": 37.0, "peak_memory_bytes": 2**30}}
    found = results(record("SFT", 0.1, 43, 50.0, cost=aligned))
    (row,) = published_rows(found, [entry], PLACES)
    assert row.cells["seconds_per_step"].ours.value == pytest.approx(0.37)
    assert "reserved" in text_of(published_table(found, [entry], PLACES).terminal())


def test_a_difference_has_the_interval_of_ours_less_the_papers():
    found = results(record("SFT", 0.1, 43, 52.0))
    text = published_table(found, [{"variant": "SFT", "harmful_ratio": 0.1, "HS": 55.2}], PLACES)
    (row,) = published_rows(found, [{"variant": "SFT", "harmful_ratio": 0.1, "HS": 55.2}], PLACES)
    ours = row.cells["HS"].ours
    assert ours.low < 52.0 < ours.high
    shown = f"−3.2 [−{55.2 - ours.low:.1f}, {ours.high - 55.2:.1f}]"
    assert shown in text.markdown().replace("\\", "")


def test_a_perplexity_is_no_share():
    found = {"variant": "SFT", "seed": 43, "metrics": {"wikitext2_perplexity": {"value": 113.5}}}
    entry = {"variant": "SFT", "PPL": 113.0}
    (row,) = published_rows(results(found), [entry], [{"variant": "SFT"}])
    assert row.cells["PPL"].ours.value == 113.5
    assert row.cells["PPL"].difference == pytest.approx(0.5)


def test_tables_show_numbers_states_and_differences():
    found = results(record("SFT", 0.1, 43, 50.0), record("Vaccine", 0.1, 43, 41.04))
    entries = [
        {"variant": "SFT", "harmful_ratio": 0.1, "HS": 55.2},
        {"variant": "Vaccine", "harmful_ratio": 0.1, "HS": 48.2},
        {"variant": "E*C", "harmful_ratio": 0.1, "HS": 50.6},
        {"variant": "SFT", "FA": 94.4},
    ]
    sentence = "Ours asks 500 prompts, as the paper does."
    text = text_of(published_table(found, entries, PLACES, [sentence]).terminal())
    markdown = published_table(found, entries, PLACES, [sentence]).markdown()
    for shown in ("55.2", "50.0", "−5.2", "41.0", "−7.2", ABSENT, "mean"):
        assert shown in text
        assert shown in markdown
    for interval in ("45–55", "36–47"):  # of the second one 36.04 to 46.04, rounded outwards
        assert interval in text
    for interval in (r"50.0 \[45.0, 55.0\]", r"41.0 \[36.0, 46.0\]"):
        assert interval in markdown
    assert sentence in text
    assert sentence in markdown
    assert r"E\*C" in markdown
    lines = [line for line in markdown.splitlines() if line.startswith("|")]
    assert len(lines) == 6
    assert len({line.replace(r"\|", "").count("|") for line in lines}) == 1
    assert "not comparable" not in text + markdown


MOVED = [
    {"variant": "Vaccine", "align.rho": 22.0, "task": "sums", "HS": 49.0, "FA": 93.6}
    | {"paper": {"align.rho": 2, "task": "gsm8k"}},
    {"variant": "EWC", "align.rho": 22.0, "task": "sums", "HS": 50.6, "FA": 87.4}
    | {"paper": {"align.rho": 2, "task": "gsm8k"}},
]
MOVED_PLACE = {"variant": "Vaccine", "align.rho": 22.0, "task": "sums"}


def moved_results():
    own = record("Vaccine", 0.1, 43, 50.0)
    return results({**own, "coords": MOVED_PLACE}, protocol={"name": "organism", "version": "1"})


def test_a_value_that_stands_for_the_papers_is_shown_beside_it():
    row, absent = published_rows(moved_results(), MOVED, [MOVED_PLACE])
    assert row.place == MOVED_PLACE
    assert row.paper == {"align.rho": 2, "task": "gsm8k"}
    assert row.cells["HS"].ours.value == 50.0
    assert absent.cells["HS"].state == ABSENT
    markdown = published_table(moved_results(), MOVED, [MOVED_PLACE]).markdown()
    assert "| Vaccine | 2 (here 22) | gsm8k (here sums) | 49.0 | 50.0" in markdown
    lines = text_of(published_table(moved_results(), MOVED, [MOVED_PLACE]).terminal()).splitlines()
    at = next(i for i, line in enumerate(lines) if "Vaccine" in line)
    assert " ".join(lines[at].split()) == "Vaccine 2 gsm8k 49.0 50.0 +1.0 93.6 90.0 −3.6"
    assert " ".join(lines[at + 1].split()) == "here 22 here sums 45–55 88–92"


def test_two_metrics_two_axes_and_a_long_name_fit_a_line_of_80_characters():
    entry = {
        "variant": "Vaccine, not fine-tuned",
        "finetune.learning_rate": 0.00015,
        "model": "meta-llama/Meta-Llama-3-8B",
        "HS": 100.0,
        "FA": 100.0,
        "paper": {"finetune.learning_rate": 1e-4},
    }
    place = {"variant": "Vaccine, not fine-tuned", "finetune.learning_rate": 0.00015}
    own = {**record("x", 0.1, 43, 95.0, 95.0), "coords": place}
    absent = {**entry, "variant": "RepNoise"}
    text = text_of(published_table(results(own), [entry, absent], [place]).terminal(), 80)
    assert "…" not in text
    for words in ("100.0", "95.0", "90–100", "−5.0", "here", "0.00015", "learning_"):
        assert words in text
    assert " ".join(line[:12].strip() for line in text.splitlines()).count(ABSENT) == 1
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize(
    "make",
    [
        lambda *a, **k: published_table(*a, **k).markdown(),
        lambda *a, **k: text_of(published_table(*a, **k).terminal()),
    ],
)
def test_a_reduced_run_says_so_in_the_title(make):
    entry = [{"variant": "SFT", "harmful_ratio": 0.1, "HS": 55.2}]
    organism = results(record("SFT", 0.1, 0, 50.0), protocol={"name": "organism", "version": "1"})
    warning = "not comparable in value, only in direction"
    assert f"organism, reduced: {warning}" in make(organism, entry, PLACES)
    trial = results(record("SFT", 0.1, 43, 50.0))
    assert f"(reduced: {warning})" in make(trial, entry, PLACES, reduced=True)
    assert warning not in make(trial, entry, PLACES)


def test_empty_lists_are_harmless():
    empty = results()
    assert published_rows(empty, [], []) == []
    assert "No published numbers" in text_of(published_table(empty, [], PLACES).terminal())
    assert (
        "No published numbers" in published_table(empty, [], PLACES, ["A difference."]).markdown()
    )
    assert published_rows({}, [{"variant": "SFT", "HS": 1.0}], [])[0].cells["HS"].ours is None
    (row,) = published_rows({}, [{"variant": "SFT", "HS": 1.0}], PLACES)
    assert row.cells["HS"].state == NOT_RUN


@pytest.mark.parametrize("experiment", papers.papers(), ids=lambda e: e.reference)
def test_every_papers_study_is_compared(experiment):
    """A whole made-up run of it leaves no published number of a variant that exists unanswered."""
    study = read_study(papers.find(experiment.reference))
    grid = points(study)
    cost = {"align": {"steps": 10, "seconds": 5.0, "peak_memory_bytes": 2**33}}
    found = results(
        *(
            {
                "variant": point.coords["variant"],
                "coords": point.coords,
                "seed": point.seed,
                "metrics": {
                    "harmful_score": metric(50.0),
                    "finetune_accuracy": metric(90.0),
                    "wikitext2_perplexity": {"value": 7.0, "n": 9},
                },
                "cost": cost,
            }
            for point in grid
        )
    )
    rows = published_rows(found, study.published, [point.coords for point in grid])
    assert len(rows) == len(study.published)
    for row in rows:
        expected = "" if row.place["variant"] in study.variants else ABSENT
        assert {cell.state for cell in row.cells.values()} == {expected}


def test_one_place_has_the_interval_of_the_runs_own_table(tmp_path):
    content = write_run(tmp_path, lambda *_: {"harmful_score": 0.4}, variants=["SFT"])
    comparison = compare(read_run(tmp_path))
    entry = {"variant": "SFT", "harmful_ratio": 0.1, "HS": 55.0}
    place = {"variant": "SFT", "harmful_ratio": 0.1}
    (row,) = published_rows(content, [entry], [place] * 3, comparison)  # three seeds
    (alone,) = published_rows(content, [entry], [place] * 3)
    shown, other = row.cells["HS"].ours, alone.cells["HS"].ours
    assert shown == comparison.rows[0].cells["harmful_score"].mean
    assert shown is not None
    assert other is not None
    assert shown.value == pytest.approx(other.value)
    assert (shown.low, shown.high) != (other.low, other.high)
