"""What happened layer by layer: T-Vaccine's probabilities, what a repair zeroed, the drift."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from markupsafe import Markup

from holdfast.report.comparison import Result, Run
from holdfast.report.drawing.grids import map_picture, shades_picture
from holdfast.report.stage_files import ALIGNMENT, read_json, read_lines
from holdfast.report.words import named, place_name

# A result, and what its evaluation kept of the alignment.
_State = tuple[Result, dict[str, Any]]
# Pictures of one kind; a study of many settings has more, and the page says how many.
MOST = 12
# Rows of one picture of probabilities: of more measurements some are left out, evenly.
_MEASUREMENTS = 24


@dataclass(frozen=True)
class Picture:
    """A picture of layers, and its numbers as a table."""

    title: str
    note: str
    svg: Markup
    header: list[str]
    rows: list[list[str]]


@dataclass(frozen=True)
class Pictures:
    """Pictures of one kind and how many there would be beside them."""

    title: str
    words: str
    pictures: list[Picture]
    left_out: int


def layer_pictures(run: Run, shared: Sequence[str]) -> list[Pictures]:
    """All that the stages' folders tell of layers; ``shared`` are the axes of all variants."""
    aligned = _groups(run, "align", ("align.", "model", "dtype"))
    repaired = _groups(run, "repair", ("repair.", "model", "dtype"))
    aligned_states = [
        (result, read_json(run.root / result.stages["evaluate"] / ALIGNMENT, missing={}))
        for result in run.results
        if "evaluate" in result.stages
    ]
    maps, others = _maps(aligned_states)
    kinds = [
        (
            "T-Vaccine's probabilities",
            "With which probability each attention block was drawn, at every measurement on the "
            "harmful probe rows: the stronger the shade, the larger.",
            [_probabilities(*group) for group in aligned],
            0,
        ),
        (
            "What a repair zeroed",
            "The share of every matrix's weights that the repair set to zero and that were not "
            "zero before: the stronger the shade, the larger.",
            [_zeroed(*group) for group in repaired],
            0,
        ),
        (
            "Drift by block",
            "How far the hidden states at the end of an alignment row's prompt moved from the "
            "aligned model's, behind every decoder block: the stronger the shade, the farther.",
            _drift(aligned_states, shared),
            0,
        ),
        (
            "Map of the drift",
            "The hidden states at the end of every alignment row's prompt, behind the last decoder "
            "block, on the two axes along which they vary most: circles are the aligned model's, "
            "squares the fine-tuned one's. Of each variant where its rows moved the farthest, of "
            "the first seed; every picture has axes of its own.",
            maps,
            others,
        ),
    ]
    found = []
    for title, words, drawn, not_drawn in kinds:
        pictures = [picture for picture in drawn if picture is not None]
        if pictures:
            left_out = max(0, len(pictures) - MOST) + not_drawn
            found.append(Pictures(title, words, pictures[:MOST], left_out))
    return found


def _groups(run: Run, kind: str, axes: Sequence[str]) -> list[tuple[str, list[Path]]]:
    """The folders of a kind of stage, by variant and those axes that the stage depends on.

    Variants that share their stages are named together.
    """
    folders: dict[str, list[str]] = {}
    for result in run.results:
        if kind in result.stages:
            own = folders.setdefault(_name(result, axes), [])
            if result.stages[kind] not in own:
                own.append(result.stages[kind])
    shared: dict[tuple[str, ...], list[str]] = {}
    for name, own in folders.items():
        shared.setdefault(tuple(own), []).append(name)
    return [("; ".join(names), [run.root / f for f in own]) for own, names in shared.items()]


def _name(result: Result, axes: Sequence[str]) -> str:
    return named(
        result.variant, {k: v for k, v in result.axes.items() if k.startswith(tuple(axes))}
    )


def _probabilities(name: str, folders: Sequence[Path]) -> Picture | None:
    measured: dict[int, list[list[float]]] = {}
    drawn: list[list[int]] = []
    runs = 0
    for folder in folders:
        # A draw after an interruption may be there twice, with equal values.
        own = {e["step"]: e for e in read_lines(folder / "metrics.jsonl") if "drawn_blocks" in e}
        runs += bool(own)
        for step, entry in own.items():
            measured.setdefault(step, []).append(entry["block_probabilities"])
            drawn.append(entry["drawn_blocks"])
    if not measured:
        return None
    means = {step: _mean(found) for step, found in sorted(measured.items())}
    # Between two measurements the probabilities stay.
    steps = [s for i, s in enumerate(means) if not i or means[s] != list(means.values())[i - 1]]
    every = -(-len(steps) // _MEASUREMENTS)
    steps = steps[::every]
    blocks = range(len(means[steps[0]]))
    share = [fmean(block in draw for draw in drawn) for block in blocks]
    columns = [str(block) for block in blocks]
    names = [f"step {step}" for step in steps]
    values = [means[step] for step in steps]
    told = [
        [f"block {b}, {one}: P = {row[b]:.3f}" for b in blocks]
        for one, row in zip(names, values, strict=True)
    ]
    label = f"Probabilities of {name}, in the table below"
    svg = shades_picture(columns, names, values, told, label, "block").svg("fixed")
    note = f"Mean of {runs} seeds. " if runs > 1 else ""
    note += f"The strongest is P = {max(map(max, values)):.3f}."
    rows = [[one, *(f"{v:.3f}" for v in row)] for one, row in zip(names, values, strict=True)]
    rows.append(["share of draws", *(f"{v:.3f}" for v in share)])
    return Picture(name, note, svg, ["P by block", *columns], rows)


def _zeroed(name: str, folders: Sequence[Path]) -> Picture | None:
    counts: dict[str, dict[str, list[int]]] = {}
    layers: set[int] = set()
    methods = set()
    for folder in folders:
        report = read_json(folder / "repair_report.json", missing={})
        methods.add(report.get("method"))
        for matrix in report.get("matrices", []):
            layer, kind = _place(matrix["name"], matrix["layer"])
            layers.add(-1 if matrix["layer"] is None else matrix["layer"])
            own = counts.setdefault(kind, {}).setdefault(layer, [0, 0, 0])
            for i, key in enumerate(("zeroed", "were_zero", "total")):
                own[i] += matrix[key]
    if not counts:
        return None
    columns = ["–" if layer < 0 else str(layer) for layer in sorted(layers)]
    kinds = list(counts)
    values = [[_changed(counts[kind].get(c)) for c in columns] for kind in kinds]
    told = [
        [f"layer {c}, {kind}: {_share(counts[kind].get(c))}" for c in columns] for kind in kinds
    ]
    label = f"What {name} zeroed, in the table below"
    svg = shades_picture(columns, kinds, values, told, label, "layer").svg("fixed")
    sums = [sum(own[i] for by in counts.values() for own in by.values()) for i in range(3)]
    note = f"In all {sums[0]:,} of {sums[2]:,} weights ({100 * sums[0] / sums[2]:.2f} %) zeroed"
    note += f", of which {sums[1]:,} were zero before." if sums[1] else "."
    note += f" The strongest is {100 * max(v or 0 for row in values for v in row):.2f} %."
    if len(folders) > 1:
        note += f" {len(folders)} repaired models together."
    rows = [[kind, *(_share(counts[kind].get(c)) for c in columns)] for kind in kinds]
    return Picture(name, note, svg, ["zeroed by layer", *columns], rows)


def _place(name: str, layer: int | None) -> tuple[str, str]:
    """A matrix's column and row: its layer, and what it is within the layer."""
    kind = re.sub(r"^.*\.\d+\.", "", name).removesuffix(".weight")
    return ("–" if layer is None else str(layer)), kind.replace("self_attn.", "")


def _changed(counts: list[int] | None) -> float | None:
    return None if counts is None else (counts[0] - counts[1]) / counts[2]


def _share(counts: list[int] | None) -> str:
    if counts is None:
        return "–"
    text = f"{100 * counts[0] / counts[2]:.2f} %"
    return text + (f" ({100 * counts[1] / counts[2]:.2f} % were)" if counts[1] else "")


def _drift(states: Sequence[_State], shared: Sequence[str]) -> list[Picture]:
    """A picture for each place of the shared axes, a row for each variant; one scale for all."""
    places: dict[str, dict[str, list[list[float]]]] = {}
    for result, content in states:
        if found := content.get("drift_by_block"):
            place = place_name({a: result.axes[a] for a in shared if a in result.axes})
            name = named(result.variant, {a: v for a, v in result.axes.items() if a not in shared})
            places.setdefault(place, {}).setdefault(name, []).append(found)
    means = {
        place: {name: _mean(found) for name, found in variants.items()}
        for place, variants in places.items()
    }
    top = max((max(m) for variants in means.values() for m in variants.values()), default=0.0)
    return [_drift_picture(place, variants, top) for place, variants in means.items()]


def _drift_picture(place: str, variants: Mapping[str, list[float]], top: float) -> Picture:
    columns = [str(block) for block in range(max(map(len, variants.values())))]
    rows = {name: [*mean, *[None] * (len(columns) - len(mean))] for name, mean in variants.items()}
    words = {name: ["–" if v is None else f"{v:.3g}" for v in row] for name, row in rows.items()}
    told = [
        [f"{name}, block {c}: {word}" for c, word in zip(columns, own, strict=True)]
        for name, own in words.items()
    ]
    label = f"Drift by block{', ' if place else ''}{place}: the numbers are in the table below"
    picture = shades_picture(columns, [*rows], [*rows.values()], told, label, "block", top)
    table = [[name, *own] for name, own in words.items()]
    note = f"The strongest of all places is {top:.3g}."
    return Picture(
        place or "all variants", note, picture.svg("fixed"), ["drift by block", *columns], table
    )


def _mean(lists: Sequence[Sequence[float]]) -> list[float]:
    return [fmean(values) for values in zip(*lists, strict=True)]


def _maps(states: Sequence[_State]) -> tuple[list[Picture], int]:
    """A picture for each variant, and how many places beside have none."""
    first: dict[str, tuple[str, dict[str, list]]] = {}
    for result, content in states:
        if found := content.get("drift_map"):
            first.setdefault(named(result.variant, result.axes), (result.variant, found))
    chosen: dict[str, tuple[str, dict[str, list]]] = {}
    for name, (variant, found) in first.items():
        if variant not in chosen or _moved(found) > _moved(chosen[variant][1]):
            chosen[variant] = (name, found)
    drawn = [_map(*one) for one in [*chosen.values()][:MOST]]
    return drawn, len(first) - len(drawn)


def _moved(found: Mapping[str, list]) -> float:
    """How far a row moved on a map, on average."""
    return fmean(math.dist(a, b) for a, b in zip(found["aligned"], found["tuned"], strict=True))


def _map(name: str, found: Mapping[str, list]) -> Picture:
    axes = [
        f"axis {i} ({100 * share:.0f} % of the variance)"
        for i, share in enumerate(found["shares"], 1)
    ]
    models = {"aligned": found["aligned"], "fine-tuned": found["tuned"]}
    svg = map_picture(models, axes, f"Map of the drift: {name}").svg()
    note = f"On this map a row moved by {_moved(found):.3g} on average."
    rows = [
        [str(row), *(f"{value:.4g}" for value in (*a, *b))]
        for row, (a, b) in enumerate(zip(found["aligned"], found["tuned"], strict=True))
    ]
    header = ["row", "aligned, axis 1", "axis 2", "fine-tuned, axis 1", "axis 2"]
    return Picture(name, note, svg, header, rows)
