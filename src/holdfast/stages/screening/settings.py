"""What can be set of a screening."""

from dataclasses import dataclass, field

from holdfast.stages.settings import StageWithRows


@dataclass
class ScreenStage(StageWithRows):
    """Before stage 2, screening: take the rows out of a user's that would undo the alignment.

    Args:
        model: the aligned model, for a method that asks for one: a stage's folder, any other
            model, or organism.
        method: the screen, or your own as my_module:MyScreen.
        task: the user's task, as in the fine-tuning, whose rows are screened.
        data: the user's rows: a file, a known data set (sst2:train) or hub:owner/name:split; the
            organism has its own.
        rows: how many rows in all; all of the file if not given.
        harmful_data: harmful rows to mix in, named as in data; the organism has its own.
        harmful_ratio: p, the share of harmful rows among the rows, 0 to 1.
        attack: what an attacker makes of the user's rows; `holdfast list attacks` names them.
        probe_data: known harmful rows to compare with, none of them the user's, named as in data;
            the organism has its own.
        probe_rows: how many of those rows; all if not given.
        alignment_data: known safe rows to compare with, refusals among them, likewise.
        alignment_rows: how many of those rows; all if not given.
        quantization: loads the base in 4 bits (NF4) or 8 bits.
        seed: decides which of the organism's rows are mixed, and what a screen leaves to chance.
    """

    method: str = "similarity"
    task: str | None = None
    data: str | None = None
    harmful_data: str | None = None
    harmful_ratio: float = field(default=0.0, metadata={"range": "[0, 1]"})
    attack: str = "mixed"
    probe_data: str | None = None
    probe_rows: int | None = field(default=None, metadata={"range": "[1, inf)"})
    alignment_data: str | None = None
    alignment_rows: int | None = field(default=None, metadata={"range": "[1, inf)"})
