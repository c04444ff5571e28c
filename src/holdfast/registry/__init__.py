"""Every method by its stage and name: where its code is, and what is to be told of it.

A new method has a row here, in its stage's file, and a file of its own. Nothing is imported: a
command that only names methods starts at once.
"""

from importlib import import_module

from holdfast.plans import Plan
from holdfast.registry.align import ALIGN
from holdfast.registry.entry import Entry
from holdfast.registry.finetune import FINETUNE
from holdfast.registry.repair import REPAIR
from holdfast.registry.screen import SCREEN

__all__ = ["METHODS", "Entry", "entry_of", "named", "plan_of"]

METHODS: dict[str, dict[str, Entry]] = {
    "align": ALIGN,
    "screen": SCREEN,
    "finetune": FINETUNE,
    "repair": REPAIR,
    "evaluate": {},
}


def entry_of(kind: str, method: str) -> Entry | None:
    """A method's row; None for one from outside this package."""
    return METHODS[kind].get(method)


def named(method: str) -> Entry | None:
    """The row of a method whose stage is not said; None for one from outside this package."""
    return next((rows[method] for rows in METHODS.values() if method in rows), None)


def plan_of(kind: str, method: str) -> Plan:
    """What can be told of a method before it runs; of one from outside, as if it were plain."""
    entry = entry_of(kind, method)
    plan = Plan() if entry is None else entry.plan
    if isinstance(plan, str):
        module, name = plan.split(":")
        plan = getattr(import_module(module), name)()
    return plan
