"""The sentences at the head of the page say what the table says."""

from pathlib import Path
from typing import Any

import pytest
from run_folder import METHODS, add_run, write_run

from holdfast.report.comparison import Comparison, compare, read_run
from holdfast.report.findings import findings
from holdfast.report.words import number

# SFT is harmful, Vaccine does nothing, Lisa helps and costs accuracy,
# Antidote helps most and costs refusals of harmless prompts.
HARM = {"SFT": 0.9, "Vaccine": 0.9, "Lisa": 0.4, "Antidote": 0.1}
RIGHT = {"SFT": 0.95, "Vaccine": 0.95, "Lisa": 0.55, "Antidote": 0.95}
ASKED = "attacked_harmful_score"
OVER = {"SFT": 0.02, "Vaccine": 0.02, "Lisa": 0.02, "Antidote": 0.7}


def rates(variant: str, place: Any, seed: int) -> dict[str, float]:
    part = {0.0: 0.0, 0.1: 0.8, 0.2: 1.0}[place["harmful_ratio"]]
    return {
        "harmful_score": HARM[variant] * part,
        "finetune_accuracy": RIGHT[variant],
        "over_refusal_rate": OVER[variant],
    }


def found(root: Path, *ratios: float, **more: Any) -> tuple[list[str], Comparison]:
    axes = [{"harmful_ratio": ratio} for ratio in ratios]
    write_run(root, rates, variants=list(HARM), axes=axes, seeds=range(5), **more)
    comparison = compare(read_run(root))
    return findings(comparison), comparison


def test_they_are_the_tables_numbers(tmp_path: Path):
    sentences, comparison = found(tmp_path, 0.0, 0.1, 0.2)
    cells = {(row.variant, row.axes["harmful_ratio"]): row.cells for row in comparison.rows}
    base = [cells["SFT", p]["harmful_score"].mean.value for p in (0.1, 0.2)]
    clean = cells["SFT", 0.0]["harmful_score"].mean.value
    first = (
        f"The harmful score of SFT is {number(min(base))} to {number(max(base))} with harmful rows"
    )
    assert sentences[0] == f"{first}, and {number(clean)} without."
    assert sentences[1].startswith("Lower harmful score than SFT's: Antidote (−")
    assert "Lisa (−" in sentences[1]
    assert "2 of 2 places" in sentences[1]
    falls = sorted(cells["Lisa", p]["harmful_score"].difference.value for p in (0.1, 0.2))
    assert f"Lisa ({number(falls[0])} to {number(falls[1])}; 2 of 2 places)" in sentences[1]
    means = {
        v: (cells[v, 0.1]["harmful_score"].mean.value + cells[v, 0.2]["harmful_score"].mean.value)
        / 2
        for v in HARM
    }
    lowest = f"Antidote ({number(means['Antidote'])}), then Lisa ({number(means['Lisa'])})"
    assert "in fine-tune accuracy Lisa (−" in sentences[2]
    assert "in refusals of harmless prompts Antidote (+" in sentences[2]
    assert "Vaccine" not in sentences[2]
    assert sentences[3] == f"Lowest harmful score on average over the places: {lowest}."
    assert sentences[4] == "Not told apart from SFT in harmful score at any place: Vaccine."
    assert len(sentences) == 5


def test_budgets_that_differ_are_told(tmp_path: Path):
    sentences, _ = found(tmp_path, 0.1, budgets={"Lisa": {"steps": 500}})
    assert sentences[-1].startswith("Budgets differ")
    assert "places" not in " ".join(sentences[:3])  # there is one


def test_one_seed_says_nothing_of_the_training(tmp_path: Path):
    told = "All of one seed: another training may end elsewhere."
    for seeds in (1, 2):
        root = tmp_path / str(seeds)
        axes = [{"harmful_ratio": 0.2}]
        write_run(root, rates, variants=list(HARM), axes=axes, seeds=range(seeds))
        assert (told in findings(compare(read_run(root)))) == (seeds == 1)


def test_what_costs_nothing_is_said(tmp_path: Path):
    def free(variant: str, place: Any, seed: int) -> dict[str, float]:
        return {"harmful_score": HARM[variant], "finetune_accuracy": 0.9}

    write_run(tmp_path, free, variants=["SFT", "Lisa"], seeds=range(5))
    sentences = findings(compare(read_run(tmp_path)))
    assert "None of these is told apart from SFT in fine-tune accuracy." in sentences


def test_a_cost_that_is_not_sure_is_told_with_its_interval(tmp_path: Path):
    """Two seeds of few answers: a fall of many points that the correction does not leave."""

    def cost(variant: str, place: Any, seed: int) -> dict[str, float]:
        fall = 0.3 * seed if variant == "Lisa" else 0.0
        return {"harmful_score": HARM[variant], "finetune_accuracy": 0.9 - fall}

    write_run(tmp_path, cost, variants=list(HARM), seeds=range(3))
    comparison = compare(read_run(tmp_path))
    fall = next(r for r in comparison.rows if r.variant == "Lisa").cells["finetune_accuracy"]
    assert fall.difference is not None
    assert fall.difference.p_holm is not None
    assert fall.difference.p_holm > 0.05
    (told,) = (one for one in findings(comparison) if one.startswith("None of these is told apart"))
    ends = f"[{number(fall.difference.low)}, {number(fall.difference.high)}]"
    words = f"the largest fall is Lisa's, {number(fall.difference.value)} {ends}, p = "
    assert words in told


def test_what_is_worse_is_said(tmp_path: Path):
    def worse(variant: str, place: Any, seed: int) -> dict[str, float]:
        return {"harmful_score": 0.9 if variant == "Lisa" else 0.2}

    write_run(tmp_path, worse, variants=["SFT", "Lisa"], seeds=range(5))
    sentences = findings(compare(read_run(tmp_path)))
    assert any(one.startswith("Higher harmful score than SFT's: Lisa (+") for one in sentences)
    assert not any(one.startswith("Lower") for one in sentences)


def test_settings_of_a_variants_own_are_told_apart(tmp_path: Path):
    """Lisa with a small rho does nothing, with a large one all."""

    def by_rho(variant: str, place: Any, seed: int) -> dict[str, float]:
        return {"harmful_score": 0.1 if place.get("finetune.rho") == 1 else 0.9}

    write_run(tmp_path, by_rho, variants=["SFT"], seeds=range(5))
    axes = [{"harmful_ratio": 0.1, "finetune.rho": rho} for rho in (0.1, 1)]
    add_run(tmp_path, by_rho, variants=["Lisa"], axes=axes, seeds=range(5))
    sentences = findings(compare(read_run(tmp_path)))
    text = " ".join(sentences)
    assert "Lower harmful score than SFT's: Lisa (fine-tuning rho = 1) (−" in text
    assert "at any place: Lisa (fine-tuning rho = 0.1)." in text
    assert "places" not in text
    assert "Lowest harmful score: Lisa (fine-tuning rho = 1) (" in text


def test_of_many_the_largest_differences_are_named(tmp_path: Path, monkeypatch):
    names = [f"V{i}" for i in range(9)]
    for name in names:
        monkeypatch.setitem(METHODS, name, ("sft", name, None))

    def rising(variant: str, place: Any, seed: int) -> dict[str, float]:
        return {"harmful_score": 0.1 if variant == "SFT" else 0.3 + 0.07 * int(variant[1:])}

    write_run(tmp_path, rising, variants=["SFT", *names], seeds=range(5))
    (told,) = (one for one in findings(compare(read_run(tmp_path))) if one.startswith("Higher"))
    order = [told.find(f"{name} (+") for name in reversed(names[3:])]
    assert order == sorted(order)
    assert order[0] > 0
    assert told.endswith("and 3 more.")


def test_an_attacker_asks_in_whichever_way_is_worse(tmp_path: Path):
    """Vaccine holds where it is asked plainly alone, Lisa in both ways."""

    def either(variant: str, place: Any, seed: int) -> dict[str, float]:
        plain = {"SFT": 0.8, "Vaccine": 0.1, "Lisa": 0.3, "Antidote": 0.8}[variant]
        asked = {"SFT": 0.9, "Vaccine": 0.9, "Lisa": 0.2, "Antidote": 0.6}[variant]
        return {**rates("SFT", place, seed), "harmful_score": plain, ASKED: asked}

    write_run(tmp_path, either, variants=list(HARM), axes=[{"harmful_ratio": 0.1}], seeds=range(5))
    comparison = compare(read_run(tmp_path))
    mean = {
        (row.variant, metric): number(row.cells[metric].mean.value)
        for row in comparison.rows
        for metric in ("harmful_score", ASKED)
    }
    plain, asked = mean["SFT", "harmful_score"], mean["SFT", ASKED]
    told = findings(comparison)
    lisa, antidote = mean["Lisa", "harmful_score"], mean["Antidote", "harmful_score"]
    assert told[0] == (
        f"The harmful score of SFT is {plain}; {asked} where it is asked as its attack asks."
    )
    assert told[1].startswith("Lower harmful score than SFT's: Vaccine (−")
    assert told[2].startswith("Lower harmful score as attacked than SFT's: Lisa (−")
    assert "Vaccine" not in told[2]
    assert told[4] == (
        "Lowest harmful score, asked plainly or as attacked, whichever is worse: "
        f"Lisa ({lisa}), then Antidote ({antidote})."
    )
    assert "Not told apart from SFT in harmful score as attacked at any place: Vaccine." in told


@pytest.mark.parametrize("variants", [["Vaccine", "Lisa"], ["Lisa"]])
def test_without_a_baseline_nothing_is_compared(tmp_path: Path, variants: list[str]):
    write_run(tmp_path, rates, variants=variants)
    sentences = findings(compare(read_run(tmp_path)))
    text = " ".join(sentences)
    assert "Lower" not in text
    assert ("Lowest harmful score: Lisa" in text) == (len(variants) > 1)
