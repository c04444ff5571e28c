"""The page's table is what the registry says, and its prose names methods that there are."""

import re

from holdfast.commands.list import needs
from holdfast.registry import METHODS
from method_costs import PAGE, page


def test_the_table_is_what_the_script_writes():
    text = PAGE.read_text(encoding="utf-8")
    assert page(text) == text, "run python benchmarks/method_costs.py"


def test_every_method_is_told_of_in_the_prose_by_what_it_needs():
    text = PAGE.read_text(encoding="utf-8")
    prose = text[text.index("## By what you have") : text.index("## What they need")]
    known = {name for rows in METHODS.values() for name in rows}
    named = set(re.findall(r"`([a-z][a-z_0-9]*)`", prose))
    assert named <= known
    controls = {n for rows in METHODS.values() for n, e in rows.items() if e.control_of}
    assert known - named - controls - {"sft"} == set()


def test_needs_are_in_words():
    assert needs("align", "sft") == ""
    assert needs("align", "t_vaccine") == "harmful rows"
    assert needs("finetune", "lisa") == "alignment rows"
    assert needs("repair", "antidote") == "harmful rows"
    assert needs("repair", "safe_lora") == "the base and the aligned model"
    assert needs("finetune", "asft") == "the base and the aligned model"
