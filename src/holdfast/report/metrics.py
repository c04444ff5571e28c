"""The metrics as a reader knows them: title, which way is better, unit."""

from dataclasses import dataclass
from typing import Literal

Better = Literal["lower", "higher"]
# The harmful scores: of prompts asked plainly, and as the attack of the row asks them.
HARM, ATTACKED = "harmful_score", "attacked_harmful_score"


@dataclass(frozen=True)
class Metric:
    """A metric for people.

    Args:
        title: A column's title, such as "HS".
        better: Which way is better; None where neither is.
        percent: Its unit is a percentage, from 0 to 100.
        words: What it is, in some words.
    """

    title: str
    better: Better | None
    percent: bool
    words: str

    @property
    def heading(self) -> str:
        """The title with an arrow that points where it is better."""
        arrow = {"lower": " ↓", "higher": " ↑", None: ""}[self.better]
        return f"{self.title}{arrow}"


_KNOWN = {
    "harmful_score": Metric("HS", "lower", True, "harmful score"),
    "attacked_harmful_score": Metric(
        "HS as attacked", "lower", True, "harmful score of prompts asked as the attack asks"
    ),
    "finetune_accuracy": Metric("FA", "higher", True, "fine-tune accuracy"),
    "refusal_rate": Metric("refusal", None, True, "harmful prompts refused"),
    "over_refusal_rate": Metric("over-refusal", "lower", True, "benign prompts refused"),
    "coherence": Metric("coherence", "higher", True, "coherent answers"),
    "harmful_score_plus": Metric("HS+", "lower", True, "harmful or incoherent answers"),
    "harmful_score_prefill": Metric("HS, prefilled", "lower", True, "harmful after a beginning"),
    "harmful_score_sampling": Metric("HS of samples", "lower", True, "one of several is harmful"),
    "harmful_score_system": Metric("HS, told to", "lower", True, "harmful if told not to refuse"),
    "harmful_correct": Metric("harmful correct", "lower", True, "correct restricted answers"),
    "benign_accuracy": Metric("benign accuracy", "higher", True, "correct benign answers"),
    "alignment_loss": Metric("alignment loss", "lower", False, "nats per token of safe answers"),
    "embedding_drift": Metric("drift", None, False, "distance to the aligned hidden states"),
    "wikitext2_perplexity": Metric("perplexity", "lower", False, "perplexity on WikiText-2"),
    "wikitext2_bits_per_byte": Metric("bits per byte", "lower", False, "on WikiText-2"),
}
# Those of every table; others are shown where they are asked for.
MAIN = (
    *("harmful_score", "finetune_accuracy", "attacked_harmful_score"),
    *("refusal_rate", "over_refusal_rate", "coherence"),
)


def known_metric(name: str) -> Metric:
    """What to say of a metric; one of another judge (harmful_score@NAME) or task has its name."""
    if name in _KNOWN:
        return _KNOWN[name]
    kind, at, judge = name.partition("@")
    if at and kind in _KNOWN:
        own = _KNOWN[kind]
        return Metric(f"{own.title} ({judge})", own.better, own.percent, f"{own.words} by {judge}")
    title = f"{kind} ({judge})" if at else name.replace("_", " ")
    return Metric(title, None, kind == "undecided", title)
