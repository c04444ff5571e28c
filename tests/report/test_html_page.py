"""The HTML page: its structure, its colours, and what hostile text does to it."""

import base64
import hashlib
import json
import re
from itertools import pairwise

import pytest
from hostile_texts import HOSTILE, UNPRINTABLE
from html_parts import Element, parse, shape
from html_run import make_run

from holdfast.report.drawing.looks import PALETTE
from holdfast.report.html.text import shown
from holdfast.report.html.write import write_html


def test_structure_serves_readers_who_do_not_see_it(page):
    html = page.one("html")
    assert html.attributes["lang"] == "en"
    names = [one.attributes["id"] for one in page.all() if "id" in one.attributes]
    assert len(names) == len(set(names))
    levels = [int(one.tag[1]) for one in page.all() if re.fullmatch(r"h[1-6]", one.tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(b <= a + 1 for a, b in pairwise(levels))
    for one in page.all("table"):
        assert one.one("caption").text
        assert all(h.attributes["scope"] in ("col", "row") for h in one.all("th"))
        widths = {sum(isinstance(c, Element) for c in row.children) for row in one.all("tr")}
        assert len(widths) == 1
    for header in page.one("table", id="table").one("thead").all("th"):
        assert header.attributes["aria-sort"] == "none"
        assert header.one("button").attributes["type"] == "button"
    for picture in page.all("svg"):
        hidden = picture.attributes.get("aria-hidden") == "true"
        assert hidden or (picture.attributes["role"], bool(picture.attributes["aria-label"])) == (
            "img",
            True,
        )
    for link in page.all("a"):
        assert link.attributes["href"].removeprefix("#") in names
    for choice in page.all("select"):
        assert choice.all("option")[0].text == "all"
    assert all(one.all("select") for one in page.one("form", id="filters").all("label"))
    for region in page.all(role="group"):
        assert region.attributes["tabindex"] == "0"
        assert {"aria-label", "aria-labelledby"} & {*region.attributes}
    harmful = page.all("details", class_="harmful")
    assert harmful
    outer = [d for d in page.all("details", class_="group") if d.all("details", class_="harmful")]
    assert sum(len(d.all("details", class_="harmful")) for d in outer) == len(harmful)
    assert not [d for d in outer + harmful if "open" in d.attributes]
    assert "answer 0 to a harmful prompt" in harmful[0].text


def test_the_page_asks_nothing_of_any_host(text, page):
    policy = page.one("meta", **{"http-equiv": "Content-Security-Policy"}).attributes["content"]
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    for tag in ("style", "script"):
        digest = hashlib.sha256(page.one(tag).text.encode()).digest()
        assert f"{tag}-src 'sha256-{base64.b64encode(digest).decode()}'" in policy
    for one in page.all():
        assert "style" not in one.attributes
        assert not [name for name in one.attributes if name.startswith("on")]
        for name in ("href", "src", "action", "data", "poster", "srcset", "formaction"):
            value = one.attributes.get(name, "#")
            assert value.startswith(("#", "data:")), (one.tag, name, value)
        assert one.tag not in ("iframe", "object", "embed", "base", "img", "audio", "video")
    assert "url(" not in page.one("style").text
    assert "@import" not in page.one("style").text
    assert not re.search(
        r"fetch|XMLHttp|import\(|eval|innerHTML|WebSocket", page.one("script").text
    )
    assert len(text) < 500_000


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_does_no_harm(tmp_path, name):
    evil = HOSTILE[name]
    about = {"title": evil, "notes": [evil], "failures": {evil: evil}, "skipped": [evil]}
    about["about"] = [{"title": evil, "note": evil, "paper": evil, "source": evil}]
    about["command"] = evil
    kind = {"ratios": (0.0,), "rates": (1e-4,), "seeds": 1}
    plain = {key: json.loads(json.dumps(value).replace(json.dumps(evil), '"plain"'))
             for key, value in about.items()}  # fmt: skip
    make_run(tmp_path / "a", **kind, answer=lambda *_: evil, **about)
    make_run(tmp_path / "b", **kind, answer=lambda *_: "plain", **plain)
    bad, good = (write_html(tmp_path / n, tmp_path / f"{n}.html").read_text() for n in "ab")
    assert shape(parse(bad)) == shape(parse(good))
    assert not re.search(UNPRINTABLE, bad)
    answers = parse(bad).all("dl", class_="answers")[0].one("dd")
    assert answers.one("bdi").attributes == {"dir": "auto"}
    if name in ("script", "comment", "attribute", "template", "arabic"):
        assert answers.text == evil
    if name == "bidi":
        assert [s.text for s in answers.all("span", class_="unseen")][:2] == [r"\u202e", r"\u202c"]


def test_a_megabyte_of_text_is_cut_and_the_page_stays_small(tmp_path):
    make_run(
        tmp_path / "run",
        ratios=tuple(i / 100 for i in range(8)),
        rates=tuple(i * 1e-4 for i in range(1, 5)),
        seeds=1,
        # Every answer is another one, and as long as HTML can make it.
        answer=lambda name, i: f"{name} {i} " + "<\u202e&" * 3000,
        failures={"align-x": "line\n" * 250_000 + "ValueError: at last"},
    )
    one = next((tmp_path / "run" / "stages").glob("evaluate*")) / "samples.jsonl"
    sample = {
        "set": "harmful",
        "prompt": "p" * 10**6,
        "answer": "a" * 10**6,
        "verdict": "v" * 10**6,
    }
    one.write_text(json.dumps(sample) + "\n" + one.read_text())
    path = write_html(tmp_path / "run", tmp_path / "page.html")
    assert path.stat().st_size < 5_000_000
    page = parse(path.read_text())
    assert (
        "more places are left out to keep the page small" in page.one("section", id="samples").text
    )
    assert "ValueError: at last" in page.one("section", id="failures").text


def test_a_long_table_scrolls_in_a_window_of_its_own(tmp_path):
    """What follows the 48 rows of this grid is not pages away; the 12 of another stand whole."""
    for count, wanted in ((2, "scroll"), (8, "scroll tall")):
        ratios = tuple(i / 100 for i in range(count))
        run = make_run(tmp_path / str(count), ratios=ratios, seeds=1)
        page = parse(write_html(run, tmp_path / "page.html").read_text())
        window = page.one("div", **{"aria-labelledby": "table-caption"})
        assert len(window.one("tbody").all("tr")) == 6 * count
        assert window.attributes["class"] == wanted


def test_shown_cuts_and_counts():
    found = parse(str(shown("a" * 700, 600)))
    assert found.one("bdi").text == "a" * 600
    assert found.one("span", class_="cut").text == "… 100 more characters"
    assert parse(str(shown("x\ny\t<b>"))).one("bdi").text == "x\ny\t<b>"


def luminance(color: str) -> float:
    """Relative luminance of #rrggbb (WCAG 2.2)."""
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a: str, b: str) -> float:
    light, dark = sorted((luminance(a), luminance(b)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_colours_have_the_contrast_of_wcag_aa(page):
    found = re.findall(r"--([\w-]+): light-dark\((#\w{6}), (#\w{6})\)", page.one("style").text)
    colors = {name: both for name, *both in found}
    assert contrast("#000000", "#ffffff") == 21
    grounds = ("ground", "panel")
    text = [(ink, ground) for ink in ("ink", "soft", "accent") for ground in grounds]
    text += [
        ("best-ink", "best-ground"),
        ("close-ink", "close-ground"),
        ("warn-ink", "warn-ground"),
    ]
    # What is drawn for the eye alone may be fainter: lines of a grid, what stands behind.
    quiet = ("panel", "line", "faint")
    marks = [(name, ground) for name in (*PALETTE, "edge") for ground in grounds]
    marks = [(name, ground) for name, ground in marks if name not in quiet]
    assert {*PALETTE} <= {*colors}
    for look in (0, 1):
        for pairs, least in ((text, 4.5), (marks, 3.0)):
            for ink, ground in pairs:
                ratio = contrast(colors[ink][look], colors[ground][look])
                assert ratio >= least, f"{ink} on {ground}: {ratio:.2f}"
    # No colour stands beside these variables.
    style = re.sub(r"--[\w-]+: [^;]+;", "", page.one("style").text)
    assert not re.search(r"#[0-9a-f]{3,8}\b|rgb|hsl", style)
