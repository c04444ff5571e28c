"""What a comparison found, in a few sentences made from its numbers.

They stand at the head of the page, before the table. Nothing is said that the table does not hold:
"lower" and "higher" are paired differences to the baseline that Holm's correction leaves below 5 %.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

from holdfast.report.metrics import ATTACKED, HARM
from holdfast.report.pairing import ALPHA
from holdfast.report.rows import Comparison, Row
from holdfast.report.sheet import line_name
from holdfast.report.words import interval, number, place_name, probability, signed

_FA, _OVER = "finetune_accuracy", "over_refusal_rate"
_ASKED = {HARM: "harmful score", ATTACKED: "harmful score as attacked"}
_MOST = 6  # that one sentence names


@dataclass(frozen=True)
class _Told:
    """Differences of one metric to the baseline, at the places that are told of.

    Args:
        name: the variant, with the settings that only it has.
        values: its differences, in points.
        sure: those that are told from 0.
    """

    name: str
    values: list[float]
    sure: list[float]

    def words(self, sign: Callable[[float], bool]) -> str:
        """With the sure differences of a sign: "Lisa (−34.2 to −12.0; 3 of 4 places)"."""
        own = sorted(filter(sign, self.sure))
        ends = list(dict.fromkeys(signed(value) for value in (own[0], own[-1])))
        count = f"; {len(own)} of {len(self.values)} places" if len(self.values) > 1 else ""
        return f"{self.name} ({' to '.join(ends)}{count})"


def findings(comparison: Comparison) -> list[str]:
    """The sentences; none where there is no harmful score."""
    rows = [row for row in comparison.rows if HARM in row.cells and row.finetune is not None]
    attacked = [row for row in rows if row.axes.get("harmful_ratio", 1) != 0]
    clean = [row for row in rows if row not in attacked]
    if not rows:
        return []
    base = comparison.baseline
    at = attacked or rows
    if not base:
        return [_lowest(at, comparison), *_budgets(comparison)]
    found = [_phenomenon(base, attacked, clean)]
    costs: set[str] = set()
    less, other = [], []
    for metric, words in _ASKED.items():
        harm = _told(at, metric, comparison.shared)
        down = [one for one in harm if any(map(_below, one.sure))]
        up = [one for one in harm if any(map(_above, one.sure))]
        nothing = [one.name for one in harm if not one.sure]
        costs |= {one.name for one in down}
        if down:
            less.append(f"Lower {words} than {base}'s: {_names(down, _below)}.")
        if up:
            other.append(f"Higher {words} than {base}'s: {_names(up, _above)}.")
        if nothing:
            other.append(f"Not told apart from {base} in {words} at any place: {_list(nothing)}.")
    if less:
        less += [_cost(rows, costs, comparison), _lowest(at, comparison)]
    found += [*less, *other]
    if all(len(row.seeds) == 1 for row in at):
        found.append("All of one seed: another training may end elsewhere.")
    return [sentence for sentence in [*found, *_budgets(comparison)] if sentence]


def _below(value: float) -> bool:
    return value < 0


def _above(value: float) -> bool:
    return value > 0


def _phenomenon(base: str, attacked: Sequence[Row], clean: Sequence[Row]) -> str:
    """How harmful the baseline is, with harmful rows among the user's and without."""
    parts = []
    for rows, where in ((attacked, "with harmful rows"), (clean, "without")):
        if ends := _ends(base, rows, HARM):
            parts.append(f"{ends} {where if attacked and clean else ''}".strip())
    if not parts:
        return ""
    asked = _ends(base, attacked, ATTACKED)
    more = f"; {asked} where it is asked as its attack asks" if asked else ""
    return f"The harmful score of {base} is {', and '.join(parts)}{more}."


def _ends(variant: str, rows: Sequence[Row], metric: str) -> str:
    """A variant's lowest and highest mean; "" where it has none."""
    own = [row.cells[metric] for row in rows if row.variant == variant and metric in row.cells]
    values = [cell.mean.value for cell in own]
    ends = dict.fromkeys(number(value) for value in (min(values), max(values))) if values else ()
    return " to ".join(ends)


def _lowest(rows: Sequence[Row], comparison: Comparison) -> str:
    """The two with the lowest mean over the places, of those that are at all of them.

    An attacker asks in whichever way is worse: plainly, or as the attack of the place asks.
    """
    either = any(ATTACKED in row.cells for row in rows)
    values: dict[str, list[float]] = {}
    for row in rows:
        name = line_name(row, comparison.shared)
        ways = [row.cells[metric].mean.value for metric in _ASKED if metric in row.cells]
        values.setdefault(name, []).append(max(ways))
    places = len({comparison.place(row) for row in rows})
    means = {name: fmean(own) for name, own in values.items() if len(own) == places}
    if len(means) < 2:
        return ""
    first, second, *_ = sorted(means, key=means.__getitem__)
    over = " on average over the places" if places > 1 else ""
    worse = ", asked plainly or as attacked, whichever is worse" if either else ""
    return (
        f"Lowest harmful score{over}{worse}: {first} ({number(means[first])}), then {second} "
        f"({number(means[second])})."
    )


def _told(rows: Sequence[Row], metric: str, shared: Sequence[str]) -> list[_Told]:
    """What is compared with the baseline, in the table's order."""
    values: dict[str, list[float]] = {}
    sure: dict[str, list[float]] = {}
    for row in rows:
        cell = row.cells.get(metric)
        if cell is None or cell.difference is None:
            continue
        name = line_name(row, shared)
        values.setdefault(name, []).append(cell.difference.value)
        p = cell.difference.p_holm
        if p is not None and p < ALPHA:
            sure.setdefault(name, []).append(cell.difference.value)
    return [_Told(name, own, sure.get(name, [])) for name, own in values.items()]


def _cost(rows: Sequence[Row], names: set[str], comparison: Comparison) -> str:
    """What those that lower the harmful score cost the user, in accuracy and in refusals."""
    base, shared = comparison.baseline, comparison.shared
    accuracy = [one for one in _told(rows, _FA, shared) if one.name in names]
    lower = [one for one in accuracy if any(map(_below, one.sure))]
    refusing = [one for one in _told(rows, _OVER, shared) if one.name in names]
    more = [one for one in refusing if any(map(_above, one.sure))]
    parts = []
    if lower:
        parts.append(f"in fine-tune accuracy {_names(lower, _below)}")
    if more:
        parts.append(f"in refusals of harmless prompts {_names(more, _above)}")
    if parts:
        return f"The cost beside {base}: {'; '.join(parts)}."
    if not accuracy:
        return ""
    fall = _fall(rows, names, shared)
    return f"None of these is told apart from {base} in fine-tune accuracy{fall}."


def _fall(rows: Sequence[Row], names: set[str], shared: Sequence[str]) -> str:
    """The largest fall of the accuracy among those that are not told from 0, if it is a point."""
    found = [
        (cell.difference, row)
        for row in rows
        if line_name(row, shared) in names and (cell := row.cells.get(_FA)) and cell.difference
    ]
    fall, row = min(found, key=lambda one: one[0].value)
    if fall.value > -1:
        return ""
    place = {axis: row.axes[axis] for axis in shared if axis in row.axes}
    where = f" at {place_name(place)}" if len({str(one.axes) for _, one in found}) > 1 else ""
    p = fall.p if fall.p_holm is None else fall.p_holm
    told = f"{signed(fall.value)} {interval(fall)}".strip()
    return f"; the largest fall is {line_name(row, shared)}'s{where}, {told}, p = {probability(p)}"


def _names(told: Sequence[_Told], sign: Callable[[float], bool]) -> str:
    """Those with sure differences of a sign, the largest on average first: the rest is cut off."""
    order = sorted(told, key=lambda one: -abs(fmean(filter(sign, one.sure))))
    return _list([one.words(sign) for one in order])


def _list(names: Sequence[str]) -> str:
    more = len(names) - _MOST
    return ", ".join([*names[:_MOST], *([f"and {more} more"] if more > 0 else [])])


def _budgets(comparison: Comparison) -> list[str]:
    """That some had more to work with, where it is so."""
    differ = any(note.startswith("Budgets differ") for note in comparison.budget_notes)
    return ["Budgets differ between the rows: see Budget before comparing them."] * differ
