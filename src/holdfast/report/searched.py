"""The tries of a study's search as a table: what was tried, what it scored, what was chosen."""

from collections.abc import Mapping, Sequence
from typing import Any

from holdfast.report.run import Run
from holdfast.report.sheet import Column, Entry, Sheet
from holdfast.report.words import axis_name, number, short

_SCORES = {"harmful_score": "HS", "finetune_accuracy": "FA", "coherence": "lowest coherence"}


def search_sheet(run: Run) -> Sheet | None:
    """One line for each try, the baseline's first; None where nothing was searched.

    Its scores are means over the search's seeds, the coherence is the lowest of them. They are no
    results: the best of several is too good on the seeds that it was chosen on.
    """
    if not run.search:
        return None
    columns = [Column("variant", False), Column("settings", False)]
    columns += [
        *map(Column, _SCORES.values()),
        Column("admissible", False),
        Column("chosen", False),
    ]
    rows = []
    for search in run.search:
        base = search["baseline"]
        rows.append([Entry(base["variant"]), Entry("–"), *_scores(base), Entry("–"), Entry("")])
        for variant, found in search["variants"].items():
            for one in found.get("tried", ()):
                words = [f"{axis_name(k)} = {short(v)}" for k, v in one["settings"].items()]
                state = "failed" if one.get("failed") else "yes" if one["admissible"] else "no"
                chosen = "yes" if one["settings"] == found["chosen"] else ""
                whose = f"attacker of {variant}" if search.get("attacker") else variant
                line = [Entry(whose), Entry(", ".join(words) or "as without a search")]
                rows.append([*line, *_scores(one), Entry(state), Entry(chosen)])
    note = "Scores on the search's own seeds, which choosing makes too good: no results."
    return Sheet("Search of settings", columns, rows, [note])


def attacker_notes(searches: Sequence[Mapping[str, Any]]) -> list[str]:
    """What attackers have chosen against each variant, with how many tries and on which seeds."""
    notes = []
    for search in searches:
        for variant, found in search["variants"].items() if search.get("attacker") else ():
            if "chosen" not in found:
                continue
            best = next(one for one in found["tried"] if one["settings"] == found["chosen"])
            words = [f"{axis_name(k)} {short(v)}" for k, v in found["chosen"].items()]
            seeds = ", ".join(map(str, search["seeds"]))
            several = "s" if len(search["seeds"]) > 1 else ""
            notes.append(
                f"Against {variant} the attacker searched with {found['tries']} tries on "
                f"seed{several} {seeds}, and chose {', '.join(words) or 'what was given'} (HS "
                f"{number(best['harmful_score'])}, FA {number(best['finetune_accuracy'])} there)."
            )
    return notes


def _scores(one: Mapping[str, Any]) -> list[Entry]:
    return [Entry("–" if one.get(k) is None else number(one[k], True)) for k in _SCORES]
