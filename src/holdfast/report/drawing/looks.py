"""How a method looks: one colour and one mark, the same in every picture, page and format.

The hue and the kind of mark tell the stage that a method defends in (round in alignment, funnels
and houses in a screen, triangles in fine-tuning, squares and crosses in repair, stars in several
stages); shade and mark tell the
methods of a stage apart, for readers who do not see colours too. A method has its look by its place
in `holdfast.registry`: one that is added at the end of its stage changes no other's.
"""

import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from holdfast.registry import METHODS
from holdfast.report.rows import Comparison
from holdfast.report.sheet import line_name

# Every colour that is drawn, in the light and in the dark. The page has them as variables.
PALETTE = {
    "panel": ("#ffffff", "#1b1f23"),
    "ink": ("#1b1f24", "#e8eaec"),
    "soft": ("#57606a", "#a8b1ba"),
    "line": ("#dcdfe3", "#343a41"),
    "faint": ("#b4bac1", "#4c545d"),
    "accent": ("#0a5cab", "#7db8ff"),
    "align-1": ("#0072b2", "#5fb4ea"),
    "align-2": ("#3b3fa0", "#a9a8ff"),
    "align-3": ("#4596c8", "#2f8fd6"),
    "screen-1": ("#8a6d00", "#e6c34d"),
    "screen-2": ("#574700", "#f2e6a0"),
    "screen-3": ("#a8862a", "#c2a02c"),
    "finetune-1": ("#c84e00", "#ff9a52"),
    "finetune-2": ("#7a3d00", "#e8c08a"),
    "finetune-3": ("#c77d00", "#d9722e"),
    "repair-1": ("#007a58", "#3fcf9f"),
    "repair-2": ("#4a6400", "#b5d96a"),
    "repair-3": ("#2f9e78", "#2fa37c"),
    "several-1": ("#a3357f", "#f08cc8"),
    "several-2": ("#5e1f6b", "#cf9ff0"),
    "several-3": ("#c8649f", "#c9609c"),
    "control-1": ("#6b7280", "#9aa3ad"),
    "control-2": ("#474d57", "#c3cad2"),
    "control-3": ("#8a9099", "#7b8691"),
}
PANEL, INK, SOFT, LINE, FAINT, ACCENT = (
    PALETTE[name][0] for name in ("panel", "ink", "soft", "line", "faint", "accent")
)
FAMILIES = {
    "none": "no defense",
    "align": "alignment",
    "screen": "screening",
    "finetune": "fine-tuning",
    "repair": "repair",
    "several": "several stages",
}
SHADES = 3
_WIDE = ((-1, -0.45), (1, -0.45), (1, 0.45), (-1, 0.45), (-1, -0.45))
_TALL = tuple((y, x) for x, y in _WIDE)
_LEANING = ((-1, -0.7), (0.4, -0.7), (1, 0.7), (-0.4, 0.7), (-1, -0.7))
_LEANING_BACK = tuple((-x, y) for x, y in _LEANING)
_GLASS = ((-0.8, -1), (0.8, -1), (-0.8, 1), (0.8, 1), (-0.8, -1))
_BOW = tuple((y, x) for x, y in _GLASS)
_FUNNEL = ((-1, 1), (1, 1), (0.35, 0), (0.35, -1), (-0.35, -1), (-0.35, 0), (-1, 1))
_HOUSE = ((-0.8, -1), (0.8, -1), (0.8, 0.1), (0, 1), (-0.8, 0.1), (-0.8, -1))
# Marks of matplotlib: (n, 0, angle) has n corners, (n, 1, angle) is a star of n points. The last of
# a stage belongs to methods from outside this package.
_MARKS: dict[str, tuple[Any, ...]] = {
    "none": ("X", "."),  # with a user's fine-tuning, and without
    "align": ("o", "D", "h", "p", "8", "H", (5, 0, 180), (7, 0, 0), (5, 0, 90), (9, 0, 0), "d"),
    "screen": tuple(
        tuple((a * x, a * y) if straight else (a * y, a * x) for x, y in shape)
        for straight in (True, False)
        for a in (1, -1)
        for shape in (_FUNNEL, _HOUSE)
    ),
    "finetune": (
        *("^", "v", "<", ">", (3, 1, 0), (3, 1, 90), (3, 1, 270)),
        *((3, 0, 15), (3, 0, 45), (3, 0, 75), (3, 1, 180)),
    ),
    "repair": (
        *("s", "P", (4, 1, 0), _WIDE, _TALL, _LEANING, _LEANING_BACK, _GLASS, _BOW, (4, 0, 22)),
        (4, 1, 45),
    ),
    "several": ("*", (6, 1, 0), (5, 1, 180), (8, 1, 0)),
}
_SIZES: dict[Any, float] = {"*": 1.4, "D": 0.88, "s": 0.92, "P": 1.1, "d": 1.1, "X": 1.05, ".": 1.4}
FILLS = ("full", "hollow", "pale")


@dataclass(frozen=True)
class Look:
    """A method's colour and mark.

    Args:
        family: the stage it defends in, a key of `FAMILIES`.
        color: a key of `PALETTE`.
        mark: the shape, as matplotlib takes it.
        fill: one of `FILLS`; it tells variants of one method apart.
    """

    family: str
    color: str
    mark: Any
    fill: str = "full"

    @property
    def ink(self) -> str:
        """The colour as it is drawn: that of the light."""
        return PALETTE[self.color][0]

    @property
    def size(self) -> float:
        """The mark's size beside others, so that all seem equally large."""
        return _SIZES.get(self.mark, 1.35 if isinstance(self.mark, tuple) else 1.0)

    def marker(self, size: float) -> dict[str, Any]:
        """The mark as `Axes.plot` takes it."""
        filled = self.fill == "full"
        return {
            "marker": self.mark,
            "markersize": size * self.size,
            "color": self.ink,
            "markerfacecolor": {"full": self.ink, "hollow": PANEL, "pale": LINE}[self.fill],
            "markeredgecolor": PANEL if filled else self.ink,
            "markeredgewidth": 0.9 if filled else 1.4,
        }


def look_of(
    align: str | None, finetune: str | None, repair: str | None, screen: str | None = None
) -> Look:
    """The look of a pipeline of these methods."""
    stages = {"align": align, "screen": screen, "finetune": finetune, "repair": repair}
    used = {stage: m for stage, m in stages.items() if m not in ("sft", None)}
    if not used:
        return Look("none", "ink", _MARKS["none"][finetune is None])
    if len(used) > 1:
        # The mark tells which stages, the shade which methods.
        which = {("align", "finetune", "repair"): 0, ("align", "finetune"): 1}
        mark = which.get(tuple(used), 2 if "repair" in used and "align" in used else 3)
        shade = _number("+".join(used.values())) % SHADES + 1
        return Look("several", f"several-{shade}", _MARKS["several"][mark])
    ((stage, method),) = used.items()
    known = [name for name in METHODS[stage] if name != "sft"]
    marks = _MARKS[stage]
    if method not in known:
        return Look(stage, f"{stage}-{_number(method) % SHADES + 1}", marks[-1])
    rank = known.index(method)
    mark = marks[rank % (len(marks) - 1)]
    shade = rank % SHADES + 1  # ten marks and three shades: thirty methods before one comes again
    color = "control" if METHODS[stage][method].control_of else stage
    return Look(stage, f"{color}-{shade}", mark)


def family_looks(found: Iterable[Look]) -> dict[str, Look]:
    """What a key of families shows: its name and first look, of those that are there."""
    found = [*found]
    own = [look.family for look in found if not look.color.startswith("control")]
    key = {
        words: Look(family, "ink" if family == "none" else f"{family}-1", _MARKS[family][0])
        for family, words in FAMILIES.items()
        if family in own
    }
    return key | ({"control": Look("align", "control-1", "o")} if len(own) < len(found) else {})


def looks(comparison: Comparison) -> dict[str, Look]:
    """The look of every kind of point of a comparison, by its `line_name`, in the table's order.

    Variants of one method have its mark and differ in how it is filled; beyond three in the shade.
    """
    found: dict[str, Look] = {}
    seen: dict[Look, int] = {}
    for row in comparison.rows:
        name = line_name(row, comparison.shared)
        if name not in found:
            look = look_of(row.align, row.finetune, row.repair, row.screen)
            turn = seen[look] = seen.get(look, -1) + 1
            found[name] = replace(
                look, color=_shade(look.color, turn // len(FILLS)), fill=FILLS[turn % len(FILLS)]
            )
    return found


def by_family(chosen: Mapping[str, Look]) -> dict[str, list[str]]:
    """The names of each family that defends, in the order of the stages."""
    found = {
        family: [name for name, look in chosen.items() if look.family == family]
        for family in FAMILIES
        if family != "none"
    }
    return {family: names for family, names in found.items() if names}


def _shade(color: str, further: int) -> str:
    """A colour of the same family, some shades further."""
    family, dash, shade = color.partition("-")
    return f"{family}-{(int(shade) - 1 + further) % SHADES + 1}" if dash else color


def _number(text: str) -> int:
    return zlib.crc32(text.encode("utf-8", "surrogatepass"))
