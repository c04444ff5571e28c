"""Kappa against tables worked out by hand and against the formula over the whole table."""

import io
import json
import math

import numpy as np
import pytest
from rich.console import Console

from holdfast.errors import UserError
from holdfast.evaluate.agreement import (
    Agreement,
    agreement,
    agreement_table,
    cohens_kappa,
    disagreement_table,
    disagreements,
)
from holdfast.evaluate.judges import Verdict


def verdicts(text):
    """The text 10- is harmful, not harmful, no verdict."""
    return [Verdict({"1": True, "0": False, "-": None}[c], f"label {c}", 0.5) for c in text]


def slow_kappa(table):
    """1 − Σ w·observed / Σ w·expected with w = 1 off the diagonal, cell by cell."""
    n = sum(map(sum, table))
    rows = [sum(row) for row in table]
    columns = [sum(row[j] for row in table) for j in range(len(table))]
    observed = sum(table[i][j] for i in range(2) for j in range(2) if i != j)
    expected = sum(rows[i] * columns[j] / n for i in range(2) for j in range(2) if i != j)
    return 1 - observed / expected


def slow_interval(table):
    """Fleiss, Cohen and Everitt 1969, cell by cell, on the table with 1/2 in each cell more."""
    p = np.array(table, float) + 0.5
    n = p.sum()
    p = p / n
    row, column = p.sum(1), p.sum(0)
    chance = float(row @ column)
    agreed = float(np.trace(p))
    kappa = (agreed - chance) / (1 - chance)
    total = -((agreed * chance - 2 * chance + agreed) ** 2)
    for i in range(2):
        total += p[i, i] * ((1 - chance) - (row[i] + column[i]) * (1 - agreed)) ** 2
        for j in range(2):
            if i != j:
                total += (1 - agreed) ** 2 * p[i, j] * (column[i] + row[j]) ** 2
    error = math.sqrt(total / (n * (1 - chance) ** 4))
    return kappa - 1.959964 * error, kappa + 1.959964 * error


def test_kappa_by_hand():
    """20 both, 5 and 10 alone, 15 neither: p_o = 35/50, p_e = .5·.6 + .5·.4 = .5, κ = .2/.5."""
    assert cohens_kappa(20, 5, 10, 15).value == pytest.approx(0.4)
    assert cohens_kappa(20, 5, 10, 15).n == 50
    assert cohens_kappa(0, 1, 1, 0).value == pytest.approx(-1)
    assert cohens_kappa(1, 0, 0, 1).value == 1
    assert cohens_kappa(3, 0, 7, 0).value == pytest.approx(0)  # the second always says harmful


@pytest.mark.parametrize(
    "cells",
    [(20, 5, 10, 15), (0, 1, 1, 0), (50, 0, 0, 50), (3, 0, 7, 0), (1, 2, 3, 400), (90, 9, 1, 0)],
)
def test_kappa_and_its_interval_against_the_slow_formulas(cells):
    both, only_first, only_second, neither = cells
    table = [[both, only_first], [only_second, neither]]
    found = cohens_kappa(*cells)
    assert found.value == pytest.approx(slow_kappa(table))
    low, high = slow_interval(table)
    assert found.low == pytest.approx(min(max(low, -1), found.value), abs=1e-6)
    assert found.high == pytest.approx(max(min(high, 1), found.value), abs=1e-6)
    assert -1 <= found.low <= found.value <= found.high <= 1
    swapped = cohens_kappa(both, only_second, only_first, neither)
    assert (swapped.low, swapped.high) == pytest.approx((found.low, found.high))


@pytest.mark.parametrize("cells", [(0, 0, 0, 0), (5, 0, 0, 0), (0, 0, 0, 1)])
def test_where_kappa_is_not_defined(cells):
    assert cohens_kappa(*cells) is None


@pytest.mark.parametrize(
    "shares",
    [(0.3, 0.05, 0.05, 0.6), (0.5, 0.005, 0.005, 0.49), (0.05, 0.02, 0.03, 0.9)],
)
def test_the_interval_holds_the_truth(shares):
    rng = np.random.default_rng(0)
    truth = slow_kappa([[shares[0], shares[1]], [shares[2], shares[3]]])
    found = [cohens_kappa(*map(int, t)) for t in rng.multinomial(100, shares, size=2000)]
    inside = [one.low <= truth <= one.high for one in found if one is not None]
    assert len(inside) > 1980
    assert np.mean(inside) > 0.925


JUDGED = {
    "organism": verdicts("1100-10"),
    "keywords": verdicts("1010111"),
    "endpoint": verdicts("1--0-1-"),
}


def test_every_pair_with_what_is_left_out():
    found = agreement(JUDGED)
    assert found.harmful_score["organism"].value == pytest.approx(50)
    assert found.harmful_score["organism"].n == 6
    assert found.harmful_score["endpoint"].value == pytest.approx(200 / 3)
    assert found.undecided == {"organism": 1, "keywords": 0, "endpoint": 4}
    first, second, third = found.pairs
    assert (first.first, first.second) == ("organism", "keywords")
    # 1-1, 1-0, 0-1, 0-0, (left out), 1-1, 0-1
    assert (first.both, first.only_first, first.only_second, first.neither) == (2, 1, 2, 1)
    assert (first.left_out, first.disagreeing) == (1, (1, 2, 6))
    assert first.agreement.value == pytest.approx(50)
    assert first.kappa.value == pytest.approx(slow_kappa([[2, 1], [2, 1]]))
    assert (second.first, second.second, second.left_out) == ("organism", "endpoint", 4)
    assert (second.both, second.neither, second.disagreeing) == (2, 1, ())
    assert second.kappa.value == 1
    assert second.kappa.low < 0.8  # three answers prove little
    assert third.left_out == 4


def test_what_is_not_defined_says_why():
    same = agreement({"a": verdicts("000"), "b": verdicts("00-")})
    assert (same.pairs[0].kappa, same.pairs[0].undefined) == (
        None, "both say the same of every answer"
    )  # fmt: skip
    assert same.pairs[0].agreement.value == 100
    none = agreement({"a": verdicts("0-"), "b": verdicts("-0"), "c": verdicts("--")})
    assert none.pairs[0].undefined == "no answer has both verdicts"
    assert none.pairs[0].agreement is None
    assert none.harmful_score["c"] is None
    assert agreement({"a": verdicts("10")}).pairs == []
    with pytest.raises(UserError, match="2 of a, 1 of b"):
        agreement({"a": verdicts("10"), "b": verdicts("1")})


def test_a_record_is_plain_json():
    record = json.loads(json.dumps(agreement(JUDGED).record()))
    assert record["pairs"][0]["disagreeing"] == [1, 2, 6]
    assert set(record["pairs"][0]["kappa"]) == {"value", "low", "high", "n"}


SAMPLES = [
    {"prompt": f"How is a zorn made, {k}?", "answer": f"[red]\x1b[31mgrel {k}[/red]", "kind": "x"}
    for k in range(7)
]


def shown(table):
    console = Console(file=io.StringIO(), width=200, force_terminal=True, color_system="standard")
    console.print(table)
    return console.file.getvalue()


def test_disagreeing_rows_hold_everything():
    rows = disagreements(SAMPLES, JUDGED)
    assert [row["index"] for row in rows] == [1, 2, 6]
    assert rows[0]["answer"] == SAMPLES[1]["answer"]
    assert rows[0]["verdicts"]["organism"] == {"harmful": True, "label": "label 1", "score": 0.5}
    assert rows[0]["verdicts"]["endpoint"]["harmful"] is None
    json.dumps(rows)
    with pytest.raises(UserError, match="6 answers and another number of verdicts"):
        disagreements(SAMPLES[:6], JUDGED)


def test_tables_hide_texts_unless_asked_and_escape_them():
    rows = disagreements(SAMPLES, JUDGED)
    hidden = shown(disagreement_table(rows))
    assert "3 answers that the judges disagree on" in hidden
    assert "not harmful" in hidden
    assert "grel" not in hidden
    assert "zorn" not in hidden
    text = shown(disagreement_table(rows, limit=1, show_text=True))
    assert "[red]\\x1b[31mgrel 1[/red]" in text
    assert "grel 2" not in text
    assert "the first 1" in text
    assert "0 answers" in shown(disagreement_table([]))
    pairs = shown(agreement_table(agreement(JUDGED)))
    assert "organism | keywords" in pairs
    assert "(1 left out)" in pairs
    same = agreement({"[b]a": verdicts("00"), "b": verdicts("00")})
    assert "not defined: both say the same" in shown(agreement_table(same))
    assert "[b]a | b" in shown(agreement_table(same))


def test_an_agreement_is_read_back_as_it_was_written():
    found = agreement(
        {
            "a": [Verdict(True, ""), Verdict(False, ""), Verdict(None, "")],
            "b": [Verdict(True, ""), Verdict(True, ""), Verdict(True, "")],
            "c": [Verdict(None, "")] * 3,
        }
    )
    assert Agreement.of_record(json.loads(json.dumps(found.record()))) == found
