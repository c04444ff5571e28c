"""The page on the study of all methods says what its report says."""

import re
from itertools import product
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "examples" / "defenses"
REPORT = (FOLDER / "report.md").read_text(encoding="utf-8")
PAGE = (FOLDER / "README.md").read_text(encoding="utf-8")


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|\n").split("|")]


def results() -> dict[tuple[str, ...], dict[str, str]]:
    """The report's results by variant, task, p and learning rate: the columns' texts."""
    header, _, *rows = [cells(line) for line in REPORT.split("\n\n")[5].splitlines()]
    return {tuple(row[:4]): dict(zip(header, row, strict=True)) for row in rows}


RESULTS = results()


def value(text: str) -> float:
    """The mean of a cell such as "≈ 21.0 [10.0, 38.9]" or "**0.1** [0.0, 1.0]"."""
    return float(re.sub(r"[*≈]", "", text).split()[0])


def test_the_report_has_every_place():
    variants = {variant for variant, *_ in RESULTS}
    places = product(("sums", "topic"), ("0", "0.05", "0.1", "0.2"), ("1.5e-4", "4.5e-4"))
    assert len(variants) == 9
    assert set(RESULTS) == {(v, *place) for v, place in product(variants, places)}
    assert "Mean of 5 seeds" in REPORT


def test_the_pictures_are_there():
    pictures = re.findall(r"\]\(<?(figures/[^>)]+)>?\)", REPORT + PAGE)
    assert len(pictures) > 10
    for picture in pictures:
        assert (FOLDER / picture).read_bytes().startswith(b"\x89PNG")


def test_the_table_is_the_reports():
    header, _, *rows = map(cells, PAGE.split("<!-- table -->\n")[1].split("\n<!--")[0].splitlines())
    assert len(rows) == 16
    for where, ratio, *values in rows:
        task, rate = where.split(", ")
        for variant, told in zip(header[2:], values, strict=True):
            assert told == f"{value(RESULTS[variant, task, ratio, rate]['HS ↓']):.1f}"


ALL = "Vaccine + Lisa + Antidote"


@pytest.mark.parametrize(
    ("sentence", "column", "rows"),
    [
        ("HS 42.8 on `sums` and 70.7 on `topic`", "HS ↓", [("SFT", "sums", "0.05", "1.5e-4"),
                                                            ("SFT", "topic", "0.05", "1.5e-4")]),
        ("it is 94.3, no better than SFT's 98.5", "HS ↓", [("Vaccine", "topic", "0.1", "1.5e-4"),
                                                            ("SFT", "topic", "0.1", "1.5e-4")]),
        ("from 54.6 to 72.1", "HS ↓", [("Antidote", "sums", "0.1", "1.5e-4"),
                                        ("Antidote", "topic", "0.1", "1.5e-4")]),
        ("40.3 to 82.9 on `sums`", "HS ↓", [("Lisa", "sums", "0.05", "4.5e-4"),
                                             ("Lisa", "sums", "0.2", "4.5e-4")]),
        ("97.6 with p = 0.1 and 98.5 with", "FA ↑", [("SFT", "sums", "0.1", "1.5e-4"),
                                                     ("SFT", "sums", "0", "1.5e-4")]),
        ("95.8 % accuracy in the place of 84.6", "FA ↑", [("SFT", "topic", "0", "4.5e-4"),
                                                           ("SFT", "topic", "0", "1.5e-4")]),
        ("17.0 on the other task, 3.4 at three", "HS ↓", [(ALL, "topic", "0.1", "1.5e-4"),
                                                           (ALL, "sums", "0.1", "4.5e-4")]),
        ("(98.4 and 98.5)", "FA ↑", [(ALL, "sums", "0.1", "4.5e-4"),
                                       ("SFT", "sums", "0.1", "4.5e-4")]),
        ("higher learning rate: 7.6 after plain", "HS ↓", [("SFT", "topic", "0", "4.5e-4")]),
        ("refuses 8.2 % of harmless", "over-refusal ↓", [("SFT", "topic", "0", "4.5e-4")]),
    ],
)  # fmt: skip
def test_what_is_said_is_in_the_report(sentence, column, rows):
    assert sentence in PAGE
    said = [float(n) for n in re.findall(r"\d+\.\d", sentence.replace("p = 0.1", ""))]
    assert said == [value(RESULTS[row][column]) for row in rows]


def test_the_combination_is_the_lowest_wherever_rows_are_harmful():
    for (_, *place), _ in RESULTS.items():
        if place[1] != "0":
            scores = {v: value(RESULTS[v, *place]["HS ↓"]) for v, *own in RESULTS if own == place}
            assert min(scores, key=scores.__getitem__) == ALL


def test_harmless_rows_do_little_harm():
    for (variant, task, ratio, rate), row in RESULTS.items():
        if ratio == "0" and (task, rate) != ("topic", "4.5e-4"):
            assert value(row["HS ↓"]) <= 3.2
        elif ratio == "0" and variant in ("Vaccine", "T-Vaccine"):
            assert value(row["HS ↓"]) < 1


def test_at_the_higher_rate_only_lisa_holds_something_by_itself():
    for (variant, _, ratio, rate), row in RESULTS.items():
        if ratio != "0" and rate == "4.5e-4" and "Lisa" not in variant:
            assert value(row["HS ↓"]) > 96
