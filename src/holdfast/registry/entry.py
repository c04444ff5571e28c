"""What is to be told of a method."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from holdfast.plans import Plan


@dataclass(frozen=True)
class Entry:
    """A method.

    Args:
        code: "module:Trainer", or of a repair "module:function".
        config: "module:Config", the dataclass of its settings.
        title: what papers call it.
        paper: the paper's title.
        arxiv: its number.
        control: what a reader compares it with beside plain fine-tuning: another method's name, or
            a setting of its own; "" for none.
        control_of: the method whose control it is; "" for a method.
        version: raised when its computation changes, so that stages of the old one are not taken
            for the new one's.
        plan: what can be told before it runs; "module:Class" where that takes code of its own.
        organism: its settings on the organism, as `benchmarks/search_organism.py` chose them.
        adapters: the values of the setting ``adapter`` that it can do, of a repair those of the
            fine-tuning before it; empty for all.
        same_adapter: of an alignment: its protection is of the adapter that it trained, so that
            fine-tuning must go on with that one (``adapter=single``).
        refuses: what it cannot do, as "setting" or "setting=value" ("parallel=fsdp2" and
            "processes" count with several processes alone), each with the reason in half a
            sentence.
        unverified: what of its published settings could not be read at its source.
    """

    code: str
    config: str
    title: str
    paper: str = ""
    arxiv: str = ""
    control: str = ""
    control_of: str = ""
    version: int = 1
    plan: Plan | str = field(default_factory=Plan)
    organism: Mapping[str, Any] = field(default_factory=dict)
    adapters: tuple[str, ...] = ()
    same_adapter: bool = False
    refuses: Mapping[str, str] = field(default_factory=dict)
    unverified: str = ""


SFT = Entry("holdfast.training:SFTTrainer", "holdfast.training:SFTConfig", "SFT")
WHOLE_GRADIENTS = {"parallel=fsdp2": "it takes gradients of whole weights, so use ddp"}
