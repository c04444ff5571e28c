"""A picture as a reader reads it: positions from the labels of the axes, colours as they stand."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from html_parts import Element, parse

from holdfast.report.comparison import Comparison, compare, run_of
from holdfast.statistics.estimates import wilson

ALIGN = ("vaccine", "t_vaccine", "random_perturbation", *(f"shield {i}" for i in range(6)))
FINETUNE = ("lisa", *(f"anchor {i}" for i in range(7)))
REPAIR = ("antidote", "random_mask", *(f"mend {i}" for i in range(6)))
PIPELINES = [
    ("sft", "sft", None),
    *((name, "sft", None) for name in ALIGN),
    *(("sft", name, None) for name in FINETUNE),
    *(("sft", "sft", name) for name in REPAIR),
]
# Two of each: no defense and alignment, fine-tuning, repair.
FEW = PIPELINES[:2] + PIPELINES[10:12] + PIPELINES[18:20]


@dataclass(frozen=True)
class Mark:
    x: float
    y: float
    told: str
    shape: str
    fill: str


def tree(svg: object) -> Element:
    return parse(str(svg)).one("svg")


def number(text: str) -> float | None:
    text = text.replace("−", "-")
    return float(text) if re.fullmatch(r"-?[\d.]+(e-?\d+)?", text) else None


def place(element: Element) -> tuple[float, float]:
    found = re.findall(r"-?[\d.]+", element.attributes["transform"])
    return float(found[0]), float(found[1])


def marks(svg: Element) -> list[Mark]:
    """What a pointer is told of, in the order of drawing."""
    found = []
    for group in svg.all("g"):
        path = group.one("path")
        if "transform" in path.attributes:
            told, fill = group.one("title").text, path.attributes["fill"]
            found.append(Mark(*place(path), told, path.attributes["d"], fill))
    return found


def axis(svg: Element, along: str) -> dict[float, float]:
    """The pixel of every number of an axis of a picture with one panel; "x" or "y"."""
    texts = [
        (value, float(one.attributes["x"]), float(one.attributes["y"]))
        for one in svg.all("text")
        if (value := number(one.text)) is not None
    ]
    lowest = max(y for *_, y in texts)
    if along == "x":
        return {value: x for value, x, y in texts if y > lowest - 1}
    return {value: y for value, _, y in texts if y < lowest - 1}


def reader(pixels: dict[float, float]):
    """From a pixel to the value that a reader takes it for: between two labels of the axis."""
    (a, at_a), *_, (b, at_b) = sorted(pixels.items())
    return lambda pixel: a + (pixel - at_a) / (at_b - at_a) * (b - a)


def results(
    pipelines: Iterable[tuple[str, str, str | None]] = PIPELINES,
    ratios: Iterable[float] = (0.1,),
    metrics: Iterable[str] = ("harmful_score", "finetune_accuracy"),
) -> dict:
    """Made-up results; harmful scores crowd at the upper end, accuracies between 85 and 99."""
    records = []
    for number, (align, finetune, repair) in enumerate(pipelines):
        for ratio in ratios:
            harmful = round(min(200, (60 + 37 * number % 140) * (0.5 + 5 * ratio)))
            of = {"harmful_score": harmful, "finetune_accuracy": 170 + 11 * number % 28}
            records.append(
                {
                    "align": align,
                    "finetune": finetune,
                    "repair": repair,
                    "harmful_ratio": ratio,
                    "coords": {"harmful_ratio": ratio},
                    "seed": 0,
                    "metrics": {name: wilson(of[name], 200).record() for name in metrics},
                }
            )
    protocol = {"name": "organism", "version": "1"}
    return {"schema_version": 1, "protocol": protocol, "records": records}


def compared(*args, **kwargs) -> Comparison:
    return compare(run_of(results(*args, **kwargs)))


def undefended(count: int, ratios: Iterable[float]) -> Comparison:
    """So many variants that are all plain SFT."""
    found = results(PIPELINES[:1] * count, ratios)
    for number, record in enumerate(found["records"]):
        record["variant"] = record["coords"]["variant"] = f"SFT {number // len([*ratios])}"
    return compare(run_of(found))
