"""Attacks × defenses: what stands in the map, in the worst case, and on the page."""

import pytest
from drawn import tree
from html_parts import parse
from run_folder import write_run

from holdfast.report.comparison import compare, read_run
from holdfast.report.drawing.attacks import attack_map, attack_picture
from holdfast.report.figures import write_figures
from holdfast.report.html.write import write_html
from holdfast.report.sheet import worst_sheet
from holdfast.report.words import number

ATTACKS = ("mixed", "backdoor", "style")
PLAIN = {"mixed": 0.8, "backdoor": 0.05, "style": 0.3}
ASKED = {"backdoor": 0.9, "style": 0.6}


def rate(variant, place, seed):
    lower = {"SFT": 1.0, "Lisa": 0.5}[variant]
    attack = place["attack"]
    found = {"harmful_score": PLAIN[attack] * lower, "finetune_accuracy": 0.9}
    if attack in ASKED:
        found["attacked_harmful_score"] = ASKED[attack] * lower
    return found


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    root = tmp_path_factory.mktemp("attacked")
    places = [{"harmful_ratio": p, "attack": one} for p in (0.05, 0.1) for one in ATTACKS]
    write_run(root, rate, variants=("SFT", "Lisa"), axes=places)
    return read_run(root)


def cell(comparison, variant, metric, **axes):
    values = [
        row.cells[metric].mean.value
        for row in comparison.rows
        if row.variant == variant and axes.items() <= row.axes.items() and metric in row.cells
    ]
    return max(values)


def test_a_cell_is_the_most_that_an_attack_gets_however_it_asks(run):
    comparison = compare(run)
    shown = attack_map(comparison)
    assert (shown.attacks, shown.defenses) == (list(ATTACKS), ["SFT", "Lisa"])
    for attack, row in zip(shown.attacks, shown.values, strict=True):
        metric = "attacked_harmful_score" if attack in ASKED else "harmful_score"
        for variant, value in zip(shown.defenses, row, strict=True):
            assert value == cell(comparison, variant, metric, attack=attack)


def test_the_picture_names_all_attacks_and_defenses_and_has_the_numbers(run):
    shown = attack_map(compare(run))
    texts = [one.text for one in tree(attack_picture(shown).svg()).all("text")]
    assert {*ATTACKS, "SFT", "Lisa"} <= {*texts}
    written = sorted(text for text in texts if text.replace(".", "").isdecimal())
    assert written == sorted(number(value) for row in shown.values for value in row)  # the table's


def test_it_is_drawn_and_on_the_page_where_there_are_attacks(run, tmp_path):
    files = [path.name for path in write_figures(run, compare(run), tmp_path)]
    assert "attacks.png" in files
    page = parse(write_html(run.root, tmp_path / "page.html").read_text(encoding="utf-8"))
    section = page.one("section", id="attacks")
    assert len(section.all("svg")) == 1
    assert {*ATTACKS} <= {one.text for one in section.all("th")}


def test_the_worst_case_is_asked_in_the_attack_s_way(run):
    comparison = compare(run)
    [sft, _] = comparison.worst
    assert sft.setting["attack"] == "backdoor"
    assert sft.setting["asked"] == "as attacked"
    assert sft.settings == 2 * (len(ATTACKS) + len(ASKED))
    assert sft.estimate.value == cell(comparison, "SFT", "attacked_harmful_score")
    titles = [column.title for column in worst_sheet(comparison).columns]
    assert "at asked" in titles
    assert any(note.startswith("HS as attacked: ") for note in comparison.notes)


def test_one_attack_is_no_map(tmp_path):
    write_run(tmp_path, rate, variants=("SFT", "Lisa"), axes=[{"attack": "mixed"}])
    assert attack_map(compare(read_run(tmp_path))) is None
