"""One colour and mark for each method, everywhere."""

import re
import subprocess
import sys
from itertools import combinations

import pytest
from drawn import PIPELINES, compared, marks, tree

from holdfast.registry import METHODS, Entry
from holdfast.report.drawing.curves import curves, metric_pictures
from holdfast.report.drawing.grids import key_picture
from holdfast.report.drawing.looks import PALETTE, Look, look_of, looks
from holdfast.report.drawing.tradeoff import group_picture, groups

STAGES = ("align", "finetune", "repair")


def alone(stage: str, method: str) -> Look:
    return look_of(**({"align": "sft", "finetune": "sft", "repair": None} | {stage: method}))


def test_every_method_has_a_look_of_its_own_and_its_stages_family():
    found = {}
    for stage in (*STAGES, "screen"):
        for method in METHODS[stage]:
            if method != "sft":
                found[method] = look = alone(stage, method)
                assert look.family == stage
                assert look.color.rpartition("-")[0] in (stage, "control")
    assert len({(look.color, look.mark) for look in found.values()}) == len(found)
    # For those who see no colour, the mark alone tells ten of a stage.
    for stage in (*STAGES, "screen"):
        own = [found[name].mark for name in METHODS[stage] if name != "sft"][:10]
        assert len({*own}) == len(own)
    vaccine, t_vaccine = found["vaccine"], found["t_vaccine"]
    assert vaccine.color != t_vaccine.color
    assert vaccine.mark != t_vaccine.mark
    controls = {m for rows in METHODS.values() for m, entry in rows.items() if entry.control_of}
    assert {"random_mask", "random_perturbation"} <= controls
    assert controls == {m for m, look in found.items() if look.color.startswith("control")}


def test_fifteen_methods_of_a_stage_can_be_told_apart(monkeypatch):
    before = {name: alone("align", name) for name in METHODS["align"] if name != "sft"}
    for i in range(15 - len(before)):
        monkeypatch.setitem(METHODS["align"], f"new {i}", Entry("", "", ""))
    found = [alone("align", name) for name in METHODS["align"] if name != "sft"]
    assert len({(look.color[-1], look.mark) for look in found}) == 15
    # New ones change no look of before.
    assert found[: len(before)] == list(before.values())


def test_a_method_that_is_not_known_has_one_look_in_every_process():
    code = "from holdfast.report.drawing.looks import look_of as f; print(f('m:Mine', 'sft', None))"
    mine = look_of("m:Mine", "sft", None)
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == str(mine)
    assert mine.family == "align"
    known = {alone("align", name).mark for name in METHODS["align"] if name != "sft"}
    assert mine.mark not in known


def test_combinations_are_a_family_and_tell_their_stages():
    pairs = [("vaccine", "lisa", "antidote"), ("vaccine", "lisa", None)]
    pairs += [("vaccine", "sft", "antidote"), ("sft", "lisa", "antidote")]
    found = [look_of(*methods) for methods in pairs]
    assert {look.family for look in found} == {"several"}
    assert len({look.mark for look in found}) == 4


def test_variants_of_one_method_keep_its_mark_and_differ_in_fill_and_shade():
    comparison = compared([("sft", "lisa", None)], ratios=[i / 10 for i in range(9)])
    for row in comparison.rows:  # as variants with settings of their own
        row.axes["finetune.rho"] = row.axes.pop("harmful_ratio")
    comparison.shared.clear()
    found = [*looks(comparison).values()]
    assert len({*found}) == 9
    assert {look.mark for look in found} == {alone("finetune", "lisa").mark}
    assert {look.color for look in found[:3]} == {alone("finetune", "lisa").color}


@pytest.fixture
def many(monkeypatch):
    """All made-up methods as if holdfast knew them."""
    for methods in PIPELINES:
        for stage, method in zip(STAGES, methods, strict=True):
            if method not in METHODS[stage] and method is not None:
                monkeypatch.setitem(METHODS[stage], method, Entry("", "", method))


def test_the_look_is_the_same_in_every_picture(many):
    comparison = compared(ratios=(0.05, 0.1))
    pictures = [
        *(group_picture(comparison, group, 920, must=True) for group in groups(comparison)),
        *(p for one in curves(comparison) for p in metric_pictures(comparison, one, 400)),
    ]
    keys = {name: only_mark(key_picture(look).svg("key"))
            for name, look in looks(comparison).items()}  # fmt: skip
    seen = set()
    for picture in pictures:
        for mark in marks(tree(picture.svg())):
            name = mark.told.partition(" (")[0]
            fill, shape = keys[name]
            assert mark.fill == fill
            if len(mark.shape.split()) == len(shape.split()):  # else the dot of a first value
                assert scaled(mark.shape) == pytest.approx(scaled(shape), abs=0.05), name
                seen.add(name)
    assert seen == {*keys}
    assert len({(fill, tuple(scaled(shape))) for fill, shape in keys.values()}) == len(PIPELINES)


def only_mark(svg) -> tuple[str, str]:
    path = tree(svg).one("path").attributes
    return path["fill"], path["d"]


def scaled(shape: str) -> list[float]:
    """A path without its size: its places as shares of its extent."""
    values = [float(v) for v in re.findall(r"-?[\d.]+", shape)]
    return [v / max(map(abs, values)) for v in values]


def test_no_two_colours_are_drawn_alike():
    assert len({light for light, _ in PALETTE.values()}) == len(PALETTE)
    for (a, first), (b, second) in combinations(PALETTE.items(), 2):
        assert first[1] != second[1], (a, b)
