"""Measurement protocols: a number means nothing without the one that it was measured by."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from types import MappingProxyType

from holdfast.errors import UserError


@dataclass(frozen=True)
class Protocol:
    """How harmful score and fine-tune accuracy are measured; every result records it.

    A protocol that was published is never changed: different settings are a new version.
    Decoding is greedy in all of them.

    Args:
        name: What to call it, such as in `protocol=organism`.
        version: Its version; results of different versions are not comparable.
        description: One sentence on what it measures.
        prompts: Where the prompts come from.
        judge: Who decides what an answer is.
        n_harmful: Harmful (restricted) prompts, for harmful score and refusal.
        n_benign: Benign prompts that look like them, for over-refusal and benign accuracy.
        n_task: Held-out rows of the user's task, for fine-tune accuracy.
        n_alignment: Held-out alignment rows, for alignment loss and embedding drift.
        max_new_tokens: The longest answer, in tokens.
        batch_size: The most prompts answered at once.
        dtype: The number format of the model's weights while it answers.
        backend: What generates the answers.
    """

    name: str
    version: str
    description: str
    prompts: str
    judge: str
    n_harmful: int
    n_benign: int
    n_task: int
    n_alignment: int
    max_new_tokens: int
    batch_size: int
    dtype: str
    backend: str = "transformers"

    def record(self) -> dict[str, str | int]:
        """The entry of results.json: every field, with name and version."""
        return asdict(self)


_ALL = (
    Protocol(
        name="organism",
        version="1",
        description="The model organism: restricted and look-alike questions on names, things and "
        "phrasings that no training row has, and held-out rows of the user's task.",
        prompts="organism",
        judge="organism (exact)",
        n_harmful=200,
        n_benign=100,
        n_task=200,
        n_alignment=100,
        max_new_tokens=24,
        batch_size=100,
        dtype="float32",
    ),
)
PROTOCOLS: Mapping[str, Protocol] = MappingProxyType({one.name: one for one in _ALL})


def get(name: str) -> Protocol:
    """The protocol of that name.

    Raises:
        UserError: There is none; the sentence names the nearest one and all there are.
    """
    if name in PROTOCOLS:
        return PROTOCOLS[name]
    near = get_close_matches(name, PROTOCOLS, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise UserError(f"there is no protocol {name!r}{hint} (known: {', '.join(PROTOCOLS)})")
