"""The page of the papers' experiments on the organism: what it says of an order, and a tiny run."""

import pytest

import papers_on_organism
from holdfast.report.published import Cell, Row
from holdfast.statistics.estimates import Estimate


def row(variant, paper, ours, half=1.0, metric="HS", **place):
    estimate = None if ours is None else Estimate(ours, ours - half, ours + half, 200)
    cell = Cell(paper, estimate, "not in this study" if ours is None else "")
    return Row({"variant": variant, **place}, {metric: cell})


def test_variants_are_ranked_by_their_means_over_common_places():
    rows = [
        row("SFT", 50.0, 80.0, p=0.1),
        row("SFT", 60.0, 90.0, p=0.2),
        row("Vaccine", 42.0, 40.0, p=0.1),
        row("Vaccine", 48.0, 50.0, p=0.2),
        row("EWC", 10.0, None, p=0.1),
        row("Lisa", 40.0, 60.0, p=0.1),
        row("Lisa", 44.0, 60.0, p=0.2),
        row("BSO", 41.0, 79.0, p=0.1),  # at p = 0.1 alone: SFT 50 and 80 there, Lisa 40 and 60
    ]
    # By hand: Lisa 42 / 60 and Vaccine 45 / 45; at p = 0.1 BSO 41 / 79, Vaccine 42 / 40.
    assert papers_on_organism.verdict(rows) == (
        "**HS: of the pairs of variants that the paper ranks, 3 as in the paper "
        "(Vaccine < SFT, Lisa < SFT, Lisa < BSO); 2 the other way round "
        "(Lisa < Vaccine, BSO < Vaccine); 1 too close to tell (BSO < SFT).**"
    )


def test_values_of_an_axis_are_ranked_and_equals_say_nothing():
    rows = [
        row("Vaccine", 54.4, 90.0, **{"align.rho": 0.11}),
        row("Vaccine", 54.4, 10.0, **{"align.rho": 11.0}),
        row("Vaccine", 44.2, 89.5, **{"align.rho": 110.0}),
    ]
    rows = [
        Row(one.place, one.cells, {"align.rho": theirs})
        for one, theirs in zip(rows, (0.01, 1, 10), strict=True)
    ]
    assert papers_on_organism.verdict(rows) == (
        "**HS: of the pairs of values that the paper ranks, 0 as in the paper; 1 the other "
        "way round (10 < 1); 1 too close to tell (10 < 0.01).**"
    )


def test_time_is_ranked_where_no_harmful_score_is_reported():
    rows = [
        row("SFT", 0.37, 0.01, half=0.0, metric="seconds_per_step"),
        row("Vaccine", 0.73, 0.02, half=0.0, metric="seconds_per_step"),
    ]
    assert papers_on_organism.verdict(rows) == (
        "**s a step: of the pairs of variants that the paper ranks, 1 as in the paper "
        "(SFT < Vaccine); 0 the other way round; 0 too close to tell.**"
    )
    assert papers_on_organism.verdict([]).startswith("Nothing to rank")
    assert papers_on_organism.verdict([row("EWC", 1.0, None)]).startswith("Nothing to rank")


@pytest.mark.long
def test_a_tiny_run_writes_the_page(tmp_path, capsys):
    small = ["align.rows=20", "finetune.rows=20", "evaluate.limit=4"]
    where = ["--root", str(tmp_path / "run"), "--output", str(tmp_path / "page.md")]
    papers_on_organism.main(["paper/vaccine/table6", "paper/vaccine/table3", *small, *where])
    page = (tmp_path / "page.md").read_text(encoding="utf-8")
    first, second = page.split("\n## ")[1:]
    assert first.startswith("paper/vaccine/table6: Strength of the perturbation (Table 6)\n")
    assert "HS: of the pairs of values that the paper ranks" in first
    assert "| Vaccine | 0.01 (here 0.11) | 54.4 | " in first
    assert second.startswith("paper/vaccine/table3: Models (Table 3)\n")
    assert "HS: of the pairs of variants that the paper ranks" in second
    assert "not in this study" not in second  # all that the paper compares runs
    capsys.readouterr()
