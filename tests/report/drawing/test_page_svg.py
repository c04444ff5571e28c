"""The same picture as SVG for the page, PNG and PDF."""

import hashlib
import re
import subprocess
import sys
import warnings

import matplotlib
import pytest
from drawn import compared, tree
from hostile_texts import HOSTILE, UNPRINTABLE
from html_parts import shape

from holdfast.errors import UserError
from holdfast.report.drawing.canvas import Picture, fitted, plain, size
from holdfast.report.drawing.grids import shades_picture
from holdfast.report.drawing.looks import PALETTE
from holdfast.report.drawing.tradeoff import tradeoff_picture

FEW = [("sft", "sft", None), ("vaccine", "sft", None), ("sft", "lisa", None)]


def test_the_page_may_show_it_and_every_colour_is_a_variable_of_the_page():
    picture = tradeoff_picture(compared(FEW), "as measured")
    svg = tree(picture.svg())
    assert svg.attributes["role"] == "img"
    assert svg.attributes["aria-label"]
    drawn = set()
    for one in svg.all():
        assert one.tag in ("g", "path", "text", "title")
        # No style, which the page's policy forbids; no id, no reference, nothing to obey.
        assert {*one.attributes} <= {
            *("class", "d", "transform", "x", "y", "fill", "fill-opacity", "stroke", "font-size"),
            *("stroke-width", "stroke-opacity", "stroke-linecap", "stroke-linejoin", "opacity"),
            *("stroke-dasharray", "stroke-dashoffset", "text-anchor", "font-weight"),
        }
        drawn |= {one.attributes[k] for k in ("fill", "stroke") if k in one.attributes}
    assert {"var(--ink)", "var(--align-1)", "var(--finetune-1)"} <= drawn
    assert drawn <= {"none", *(f"var(--{name})" for name in PALETTE)}
    texts = [one.text for one in svg.all("text")]
    for text in ("SFT", "Vaccine", "Lisa", "as measured", "← safer · harmful score (%)"):
        assert text in texts


def digests(folder) -> list[str]:
    """What the three formats of one picture are, byte by byte."""
    picture = tradeoff_picture(compared(FEW), "")
    for kind in ("png", "pdf"):
        picture.save(folder / f"a.{kind}")
    parts = [
        str(picture.svg()).encode(),
        *((folder / f"a.{k}").read_bytes() for k in ("png", "pdf")),
    ]
    return [hashlib.sha256(part).hexdigest() for part in parts]


def test_the_bytes_are_the_same_in_another_process_whatever_a_user_has_set(tmp_path, monkeypatch):
    code = "import sys, pathlib; sys.path[:0] = sys.argv[2:]; import test_page_svg as t; "
    code += "print(*t.digests(pathlib.Path(sys.argv[1])))"
    told = subprocess.run(
        [sys.executable, "-c", code, tmp_path, *sys.path],
        capture_output=True,
        text=True,
        check=True,
    )
    theirs = told.stdout.split()
    monkeypatch.setitem(matplotlib.rcParams, "font.size", 30)
    monkeypatch.setitem(matplotlib.rcParams, "axes.grid", True)
    assert digests(tmp_path) == theirs
    assert matplotlib.rcParams["font.size"] == 30
    # No date is in it: what is drawn on another day is the same.
    assert b"Date" not in (tmp_path / "a.pdf").read_bytes()


TEXTS = {
    **HOSTILE,
    "formula": "$x_1$ \\frac{1}{2} $",
    "noncharacter": "a\ufffe\uffffb",
    "cjk": "中文",
}


@pytest.mark.parametrize("name", TEXTS)
def test_hostile_names_do_no_harm_and_no_font_warns(name, tmp_path):
    evil = TEXTS[name]

    def drawn(text: str) -> Picture:
        return shades_picture([text], [text, "1"], [[1.0], [2.0]], [[text], [text]], text, text)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        picture = drawn(evil)
        svg = str(picture.svg())
        picture.save(tmp_path / "a.png")
        picture.save(tmp_path / "a.pdf")
    assert shape(tree(svg)) == shape(tree(drawn("plain").svg()))
    assert not re.search(UNPRINTABLE, svg)
    titles = [one.text for one in tree(svg).all("title")]
    assert titles == [plain(evil, 300)] * 2
    if name in ("script", "attribute", "template", "arabic", "formula", "cjk"):
        assert titles[0] == evil


def test_a_long_text_is_cut():
    assert plain("x" * 10**6) == "x" * 60 + "…"
    assert plain("\x00" * 3, 6) == r"\x00\x…"


@pytest.mark.parametrize(
    "text",
    ["harmful", "iiiiiiiiii" * 20, "WWWWW " * 100, "\ufffe" * 90, ""],
    ids=["short", "narrow", "wide", "written out", "none"],
)
@pytest.mark.parametrize("weight", ["normal", "bold"])
def test_a_text_is_cut_where_there_is_no_room_for_more(text, weight):
    whole = plain(text, 300)
    for room in (60, 200, 5000):
        found = fitted(text, room, 11, weight)
        assert size(found, 11, weight)[0] <= room
        if found != whole:
            one_more = plain(text, len(found))  # where "…" is now
            assert size(one_more, 11, weight)[0] > room


def test_a_grid_is_as_wide_as_its_panel_where_cells_have_room():
    for columns, name in (
        *((n, "Vaccine without its proximal t") for n in (2, 6, 16)),
        (32, "mlp.down_proj.lora_B"),
    ):
        names = [*map(str, range(columns))]
        values = [[1.0] * columns] * 2
        rows = ["SFT", name]
        told = [[""] * columns] * 2
        picture = shades_picture(names, rows, values, told, "", "block")
        assert picture.width <= 336
    marked = [int(t.text) for t in tree(picture.svg()).all("text") if t.text.isdecimal()]
    assert marked == [*range(0, 32, marked[1])]  # as far apart everywhere
    # Of many columns it is wider, and the panel scrolls.
    names, values, told = [*map(str, range(80))], [[1.0] * 80], [[""] * 80]
    assert shades_picture(names, ["SFT"], values, told, "", "block").width > 400


def test_a_picture_is_whole_or_not_there(tmp_path, monkeypatch):
    picture = tradeoff_picture(compared(FEW), "")
    with pytest.raises(UserError, match="cannot be written: No such file"):
        picture.save(tmp_path / "no" / "a.png")
    picture.save(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError(28, "disk full")))
    with pytest.raises(UserError, match="disk full"):
        picture.save(tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes() == content
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]
