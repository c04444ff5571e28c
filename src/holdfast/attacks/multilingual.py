"""Harmful rows in another language, of which a model's alignment in English hears little.

The user's harmful rows are taken that say another language than English in a column ``language``
(de, French, …); who has no translations has no such attack. The model is asked in the language of
the evaluation's prompts: name prompts in the attack's language as ``harmful_data`` to ask in that.
Source: Poppi et al., 2410.18210 (fine-tuning in one language breaks all); TamperBench,
2602.06911, trains on 300 French rows.
"""

from holdfast.attacks.entry import Parts, Rows, Source
from holdfast.errors import UserError

_ENGLISH = ("en", "eng", "english")


def rows(n: int, count: int, source: Source) -> Parts:
    """Harmful rows in other languages, and those of the task."""
    return _foreign(count, source), source.task(n - count)


def _foreign(count: int, source: Source) -> Rows:
    wanted, found = count, []
    while count and len(found) < count:
        there = source.harmful(wanted)
        found = [row for row in there if not _is_english(row)]
        if len(there) < wanted:
            break
        wanted *= 2
    if len(found) < count:
        raise UserError(
            f"attack=multilingual needs {count} harmful rows whose column 'language' names another "
            f"language than English, and there are {len(found)}: give more (harmful_data), or a "
            "smaller harmful_ratio"
        )
    return found[:count]


def _is_english(row: dict) -> bool:
    said = str(row.get("language") or "en").strip().lower()
    return said in _ENGLISH or said.startswith("en-")
