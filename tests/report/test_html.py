"""The HTML page: its numbers and pictures, what failed, and what is wrong with a folder."""

import json
import re

import pytest
from drawn import axis, marks, reader
from html_parts import Element, parse
from html_run import PROBABILITIES, VARIANTS, make_run

from holdfast import UserError
from holdfast.evaluate.agreement import cohens_kappa
from holdfast.report.comparison import compare, read_run
from holdfast.report.html.write import write_html
from holdfast.report.words import number, place_name, probability, short


def table(page: Element, caption: str) -> list[list[str]]:
    """The cells' text of the table with this caption, its header first."""
    (found,) = [t for t in page.all("table") if t.one("caption").text == caption]
    return [[cell.text for cell in row.children if isinstance(cell, Element)]
            for row in found.all("tr")]  # fmt: skip


def test_the_table_holds_the_numbers_of_compare(run, page):
    comparison = compare(read_run(run))
    rows = page.one("table", id="table").one("tbody").all("tr")
    assert len(rows) == len(comparison.rows) == 12
    names = ["harmful_score", "finetune_accuracy", "refusal_rate"]
    looks = set()
    for shown_row, row in zip(rows, comparison.rows, strict=True):
        cells = shown_row.all("td")
        assert shown_row.one("th").attributes["data-value"] == row.variant
        assert [float(c.attributes["data-sort"]) for c in cells[:2]] == [*row.axes.values()]
        assert [float(c.attributes["data-sort"]) for c in cells[3:]] == [
            row.cells[name].mean.value for name in names
        ]
        for cell, name in zip(cells[3:], names, strict=True):
            mean, found = row.cells[name].mean, row.cells[name].difference
            wanted = f"{mean.value:.1f} [{mean.low:.1f}, {mean.high:.1f}]"
            if found is not None and name != "refusal_rate":
                wanted += f" Δ {found.value:+.1f} [{found.low:.1f}, {found.high:.1f}]"
                wanted += f" p {probability(found.p_holm)}"
            text = re.sub(r"^.?(best|not distinguishable from the best): ", "", cell.text)
            # 0.0 has no sign, and a difference that is the same in every prompt no interval.
            wanted = wanted.replace("+0.0", "0.0").replace(" [0.0, 0.0]", "")
            assert text.replace("−", "-") == wanted
            look = {"best", "close"} & {*cell.attributes["class"].split()}
            looks |= look
            best = {"best"} if row.cells[name].best else set()
            assert look == (best or ({"close"} if row.cells[name].close else set()))
            assert ("★" in cell.text) == bool(best)
    assert looks == {"best", "close"}
    assert rows[0].text.count("baseline") == 1


def test_the_other_tables_hold_the_numbers(run, page):
    comparison = compare(read_run(run))
    other = table(page, "Other metrics: mean over seeds and 95 % interval")
    loss = comparison.rows[0].cells["alignment_loss"].mean
    assert other[1][-1].endswith(f"0.5 [0, {loss.high:.3g}]")
    found = table(page, "Paired differences to SFT")
    wanted = sum(c.difference is not None for row in comparison.rows for c in row.cells.values())
    assert len(found) - 1 == wanted == 8 * 4
    over = table(page, "Harmful score and accuracy over harmful ratio")
    assert len(over) == 13
    assert over[1][:3] == ["SFT", "1e-4", "0"]
    assert over[1][3].startswith(f"{comparison.rows[0].cells['harmful_score'].mean.value:.1f} [")
    caption = "What every row was given and took: means over its seeds, without the evaluation"
    ledger = table(page, caption)
    assert ledger[1] == ["SFT", "0", "1e-4", "200", "20", "20", "2,000", "–", "4.0 s", "1.00 GiB"]


def test_the_worst_case_and_budgets_are_those_of_compare(run, page):
    comparison = compare(read_run(run))
    rows = table(page, "The largest harmful score of each variant over the attacker's settings")
    assert len(rows) == 1 + len(VARIANTS)
    worst = comparison.worst[0]
    assert rows[1] == [
        "SFT",
        f"{worst.estimate.value:.1f}",
        f"[{worst.estimate.low:.1f}, {worst.estimate.high:.1f}]",
        "harmful ratio 0.1, fine-tuning learning rate 3e-4",
        *("4", "2"),
    ]
    warnings = page.one("section", id="budget").one("ul", class_="warning").all("li")
    assert [one.text for one in warnings] == comparison.budget_notes
    assert "Antidote had 1.50 × the rows" in warnings[0].text


PUBLISHED = [
    {"variant": "SFT", "harmful_ratio": 0.1, "finetune.learning_rate": 3e-4, "HS": 60.2}
    | {"paper": {"finetune.learning_rate": 1e-5}},
    {"variant": "EWC", "harmful_ratio": 0.1, "HS": 50.6},
    {"variant": "SFT", "FA": 94.4},
    {"variant": "SFT", "harmful_ratio": 0.1, "finetune.learning_rate": 1e-4, "memory_gb": 2.5},
]


def test_published_numbers_stand_beside_the_runs(run, page, tmp_path):
    """Harmful scores of seeds 0 and 1 at p = 0.1 and 3e-4: 11 and 12 of 20; accuracy 18 of 20."""
    assert not page.all("section", id="published")
    about = [{"title": "A made-up study", "note": "Nothing was trained."}]
    root = make_run(tmp_path, published=PUBLISHED, notes=["The data are made up."], about=about)
    found = parse(write_html(root, tmp_path / "page.html").read_text())
    section = found.one("section", id="published")
    header, hs, absent, fa, memory = table(
        found, "Every number that is published of this study, and yours with its 95 % interval"
    )
    wanted = ["variant", "harmful ratio", "fine-tuning learning rate"]
    wanted += ["HS ↓ paper", "yours", "difference", "FA ↑ paper", "yours", "difference"]
    assert header == [*wanted, "GiB paper", "yours", "difference"]
    assert hs[:4] == ["SFT", "0.1", "1e-05 (here 0.0003)", "60.2"]
    (row,) = [
        row
        for row in compare(read_run(root)).rows
        if row.variant == "SFT" and [*row.axes.values()] == [0.1, 3e-4]
    ]
    mean = row.cells["harmful_score"].mean
    assert hs[4] == f"57.5 [{mean.low:.1f}, {mean.high:.1f}]"
    bounds = f"[{mean.low - 60.2:.1f}, {mean.high - 60.2:.1f}]".replace("-", "−")
    assert hs[5:] == [f"−2.7 {bounds}", "–", "–", "–", "–", "–", "–"]
    assert absent[3:6] == ["50.6", "not in this study", "–"]
    assert fa[:3] == ["SFT", "mean", "mean"]
    assert fa[7].startswith("90.0")
    assert fa[8].startswith("−4.4 [−")
    assert memory[9:] == ["2.50", "1.00", "−1.50"]
    warning = section.one("p", class_="warning").text
    assert warning == "Organism, reduced: not comparable in value, only in direction."
    told = [one.text for one in section.all("li")]
    for words in ("Measured by organism (version 1): made up", "The data are made up."):
        assert words in told
    assert "Nothing was trained." in told
    assert any(one.text == "Published numbers" for one in found.one("nav").all("a"))
    assert not found.all("section", id="notes"), "the notes stand there already"


def test_pictures_stand_where_the_numbers_are(run, page):
    comparison = compare(read_run(run))
    pictures = page.one("section", id="tradeoff").all("svg", role="img")
    # Twelve rows are one picture: for a page, and for a telephone.
    assert [one.attributes["class"] for one in pictures] == ["wide", "narrow"]
    for picture in pictures:
        to_x = reader(axis(picture, "x"))
        drawn = {mark.told: mark for mark in marks(picture)}
        assert len(drawn) == len(comparison.rows) == 12
        for row in comparison.rows:
            mean = row.cells["harmful_score"].mean
            told = f"{row.variant} ({place_name(row.axes)}): HS {number(mean.value)} ["
            (mark,) = [mark for words, mark in drawn.items() if words.startswith(told)]
            assert to_x(mark.x) == pytest.approx(mean.value, abs=0.5)
    legend = page.one("section", id="tradeoff").one("ul", class_="legend").all("li")
    assert [one.text.strip() for one in legend] == [*VARIANTS]
    # Two axes, at both values of the other, in harmful score and accuracy.
    assert len(page.one("section", id="curves").all("svg", role="img")) == 2 * 2 * 2


def test_layers_are_the_means_of_the_stages(page):
    (found,) = [t for t in page.all("table") if "T-Vaccine's prob" in t.one("caption").text]
    rows = [[c.text for c in r.children if isinstance(c, Element)] for r in found.all("tr")]
    assert rows[1:3] == [
        [f"step {step}", *(f"{p:.3f}" for p in values)] for step, values in PROBABILITIES.items()
    ]
    # Drawn [0, 2] and [1, 2]; the draw that is there twice counts once.
    assert rows[3] == ["share of draws", "0.500", "0.500", "1.000"]
    heat = [
        path
        for path in page.one("section", id="layers").all("path", fill="var(--accent)")
        if "transform" not in path.attributes  # a mark of a map
    ]
    shades = [float(one.attributes.get("opacity", 1)) for one in heat[:6]]
    assert shades.index(max(shades)) == 4
    assert max(shades) == 1
    zeroed = table(page, "What a repair zeroed: Antidote")
    assert zeroed[1:] == [
        ["q_proj.lora_A", "5.00 %", "10.00 %"],
        ["q_proj.lora_B", "5.00 % (3.00 % were)", "10.00 % (3.00 % were)"],
    ]

    # Harmful answers of seeds 0 and 1 are the drift behind block 0, and twice as many behind 1.
    drift = table(page, "Drift by block: harmful ratio 0.1, fine-tuning learning rate 3e-4")
    assert drift[1:] == [
        ["SFT", "11.5", "23"],
        ["T-Vaccine", "10.5", "21"],
        ["Antidote", "9.5", "19"],
    ]
    last = [float(one.attributes.get("opacity", 1)) for one in heat[-6:]]
    wanted = [0.05 + 0.95 * v / 23 for v in (11.5, 23, 10.5, 21, 9.5, 19)]
    assert last == pytest.approx(wanted, abs=0.001)


def test_a_variants_map_is_where_its_rows_moved_farthest_of_the_first_seed(page):
    maps = [c.text for c in page.all("caption") if c.text.startswith("Map of the drift: ")]
    place = "harmful ratio 0.1, fine-tuning learning rate 3e-4"
    assert maps == [f"Map of the drift: {v} ({place})" for v in ("SFT", "T-Vaccine", "Antidote")]
    assert "9 more" in page.one("section", id="layers").text  # three variants at four places
    name = "SFT (harmful ratio 0.1, fine-tuning learning rate 3e-4)"
    assert table(page, f"Map of the drift: {name}")[1:] == [
        ["0", "-3", "-6", "0", "-2"],
        ["1", "1", "2", "1", "11"],
    ]
    (picture,) = [f for f in page.all("figure") if [c.text for c in f.all("figcaption")] == [name]]
    assert "axis 1 (60 % of the variance)" in picture.text
    found = {mark.told: mark for mark in marks(picture.one("svg"))}
    across, up = (axis(picture.one("svg"), along) for along in "xy")
    assert min(across) < 0 < max(across)
    assert min(up) < 0 < max(up)
    to_x, to_y = reader(across), reader(up)
    wanted = {"aligned, row 0": (-3, -6), "aligned, row 1": (1, 2)}
    wanted |= {"fine-tuned, row 0": (0, -2), "fine-tuned, row 1": (1, 11)}
    for words, (x, y) in wanted.items():
        assert to_x(found[words].x) == pytest.approx(x, abs=0.05)
        assert to_y(found[words].y + 4) == pytest.approx(y, abs=0.1)
    assert {found[words].fill for words in [*wanted][:2]} == {"var(--ink)"}
    assert "moved by 7 on average" in picture.text  # by 5 and by 9


def test_the_judges_agreement_is_that_of_the_evaluation(page):
    rows = table(page, "Agreement of the judges")
    assert rows[1][0] == "all"
    both, neither = int(rows[1][3]), int(rows[1][6])
    assert int(rows[1][2]) == 24 * 20
    kappa = cohens_kappa(both, 0, 48, neither)
    assert kappa is not None
    assert rows[1][-1] == f"{kappa.value:.2f}"
    assert rows[1][-2] == f"{100 * (both + neither) / 480:.1f} %"
    assert rows[1][-3] == "24"


def test_what_was_run_is_told(page):
    facts = page.one("dl", class_="facts").text
    for word in ("24 finished (12 places × 2 seeds)", "organism, version 1", "2026-01-31", "cpu"):
        assert word in facts
    commands = [code.text for code in page.one("section", id="run").all("code")]
    assert commands[0] == "pip install holdfast==0.1.0 torch==2.15.0"
    assert commands[1].startswith("holdfast run study.yaml --output ")
    assert ["description", "made up"] in table(page, "Protocol")
    assert ["count", "13"] in table(page, "Judge keywords")


def test_another_baseline(run, tmp_path):
    page = parse(write_html(run, tmp_path / "page.html", "Antidote").read_text())
    assert table(page, "Paired differences to Antidote")
    with pytest.raises(UserError, match="no variant 'Antidotes'"):
        write_html(run, tmp_path / "page.html", "Antidotes")


def test_failures_and_missing_parts_are_told(tmp_path):
    root = make_run(
        tmp_path / "run",
        failures={"align-t_vaccine-T-Vaccine-1": "ValueError: <no> number"},
        skipped=["finetune-sft-x"],
    )
    for folder in (root / "stages").glob("evaluate-T-Vaccine-*-1"):
        (folder / "evaluation.json").unlink()
    page = parse(write_html(root, tmp_path / "page.html").read_text())
    text = page.one("section", id="failures").text
    assert "ValueError: <no> number" in text
    rows = table(page, "Pipelines without results")
    assert len(rows) == 5
    assert rows[1] == ["T-Vaccine", "0", "1e-4", "1", "failed"]
    assert "Not everything finished." in page.one("header").text
    assert "finetune-sft-x" in text
    assert text.strip().startswith("Failures")
    study = json.loads((root / "study.json").read_text()) | {"failures": {}, "skipped": []}
    (root / "study.json").write_text(json.dumps(study))
    page = parse(write_html(root, tmp_path / "page.html").read_text())
    assert page.one("section", id="failures").one("h2").text == "Not finished"


def test_a_run_of_results_alone_has_a_page(tmp_path):
    from demo_results import demo_results

    (tmp_path / "results.json").write_text(json.dumps(demo_results(2)))
    page = parse(write_html(tmp_path, tmp_path / "page.html").read_text())
    assert len(page.one("table", id="table").one("tbody").all("tr")) == 8
    sections = [one.attributes["id"] for one in page.all("section")]
    assert "samples" not in sections
    assert "layers" not in sections


def test_what_is_wrong_is_said_and_nothing_is_half_written(tmp_path):
    root = make_run(tmp_path / "run", ratios=(0.0,), rates=(1e-4,), seeds=1)
    with pytest.raises(UserError, match="cannot be written"):
        write_html(root, tmp_path / "no" / "page.html")
    samples = next((root / "stages").glob("evaluate-SFT*")) / "samples.jsonl"
    samples.write_text('{"set": "harmful"\n')
    with pytest.raises(UserError, match=r"samples.jsonl, line 1 is broken"):
        write_html(root, tmp_path / "page.html")
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


def test_numbers_as_a_person_writes_them():
    assert [short(v) for v in (1.5e-4, 0.1, 0.05, 1, 1e-3, None, True, 2e7)] == [
        *("1.5e-4", "0.1", "0.05", "1", "0.001", "–", "True", "2e7")
    ]
    assert [number(-1.25), number(-1.25, False), number(0.04)] == ["−1.2", "−1.25", "0.0"]
    assert [probability(p) for p in (None, 0.0004, 0.0312)] == ["–", "< 0.001", "0.031"]
