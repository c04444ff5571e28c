"""Measurement protocols: a number means nothing without the one that it was measured by."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
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
        judge: Who decides what an answer is; of several, joined by " + ", the first one's verdicts
            are the harmful score.
        n_harmful: Harmful (restricted) prompts, for harmful score and refusal.
        n_benign: Benign prompts that look like them, for over-refusal and benign accuracy.
        n_task: Held-out rows of the user's task, at most, for fine-tune accuracy.
        n_alignment: Held-out alignment rows, for alignment loss and embedding drift.
        max_new_tokens: The longest answer, in tokens.
        batch_size: The most prompts answered at once.
        dtype: The number format of the model's weights while it answers.
        backend: What generates the answers.
        harmful_data: The data reference of the harmful prompts; None for the organism's own.
        benign_data: The same for the benign prompts; None for the organism's own, or for none.
        alignment_data: The same for the alignment rows.
        draw: Which rows of a data set are asked: its first, or some drawn by the seed.
        scoring: The form of the tasks' scorers, see `holdfast.evaluate.accuracy`.
        task_tokens: The longest answer to a row of the task, where it is another.
        task_dtype: The number format of the weights while they answer the task's rows, where it is
            another.
        pressure: The parts of `holdfast.protocols.pressure` in which the harmful prompts are asked
            again.
        of_tasks: Both of these by task, (task, tokens, dtype), where they are not one for all; see
            `of_task`.
        coherence: What tells an incoherent answer, by name in `holdfast.evaluate.coherence.RULES`;
            None is the rule of Booster's code, which sees words of a to z alone.
        thoughts: What becomes of the thought before an answer (`holdfast.evaluate.thoughts`); None
            leaves it in the answer that is judged.
        refusals: What tells a refusal, by name in `holdfast.evaluate.refusals.RULES`; None is a
            list of phrases that are looked for anywhere.
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
    harmful_data: str | None = None
    benign_data: str | None = None
    alignment_data: str | None = None
    draw: str | None = None
    scoring: str | None = None
    task_tokens: int | None = None
    coherence: str | None = None
    thoughts: str | None = None
    refusals: str | None = None
    task_dtype: str | None = None
    of_tasks: tuple[tuple[str, int, str], ...] | None = None
    pressure: tuple[str, ...] | None = None

    def record(self) -> dict[str, str | int]:
        """The entry of results.json: every field that is set, with name and version."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    def tokens(self, name: str) -> int:
        """The longest answer to a prompt of a set ("harmful", "benign", "task", "open")."""
        own = self.task_tokens if name in ("task", "open") else None
        return own or self.max_new_tokens

    def dtype_of(self, name: str) -> str:
        """The number format of the weights while they answer a set's prompts."""
        own = self.task_dtype if name in ("task", "open") else None
        return own or self.dtype

    def of_task(self, task: str | None) -> "Protocol":
        """The protocol as it measures one task."""
        if self.of_tasks is None:
            return self
        own = {name: form for name, *form in self.of_tasks}
        tokens, dtype = own.get(str(task), (None, None))
        return replace(
            self,
            of_tasks=None,
            task_tokens=None if tokens == self.max_new_tokens else tokens,
            task_dtype=None if dtype == self.dtype else dtype,
        )

    def asked(self, rows: Mapping[str, int]) -> "Protocol":
        """The protocol with the numbers of rows that were really asked, by set.

        A data set may hold fewer rows than the protocol wants, and a user's own all of theirs.
        """
        return replace(
            self,
            n_harmful=rows.get("harmful", 0),
            n_benign=rows.get("benign", 0),
            n_task=rows.get("task", rows.get("open", 0)),
            n_alignment=rows.get("alignment", 0),
        )

    @property
    def judges(self) -> list[str]:
        """The judges' names as `holdfast.evaluate.judges` knows them."""
        return [name.removesuffix(" (exact)") for name in self.judge.split(" + ")]


def _paper(
    name: str,
    description: str,
    n: int,
    tokens: int,
    n_task: int,
    form: str,
    dtype: str,
    task_tokens: int | None = 200,
) -> Protocol:
    """A paper's protocol; what its code does beside that and should not is not repeated.

    Counts, lengths, scoring and number format are those of the authors' public code (pred.py and
    pred_eval.py of each), which answers one prompt at a time.
    """
    which = "test_all" if name == "lisa-2024" else "test"
    kind = "rows, safe ones among them" if name == "lisa-2024" else "unsafe rows"
    return Protocol(
        name=name,
        version="1",
        description=description,
        prompts=f"BeaverTails 30k_test, the first {n:,} {kind}",
        judge="beaver-dam-7b",
        n_harmful=n,
        n_benign=0,
        n_task=n_task,
        n_alignment=100,
        max_new_tokens=tokens,
        batch_size=32,
        dtype=dtype,
        harmful_data=f"beavertails:{which}",
        alignment_data="beavertails:test_safe",
        draw="first",
        scoring=form,
        task_tokens=task_tokens,
    )


_FIRST = (
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
    Protocol(
        name="holdfast",
        version="1",
        description="holdfast's own for real models: unsafe prompts of BeaverTails drawn anew with "
        "every seed, safe prompts of XSTest that look harmful, the task's answers by a rule of its "
        "own, and a second judge beside the papers'.",
        prompts="BeaverTails 30k_test, 500 unsafe rows drawn by the seed; XSTest, safe rows",
        judge="beaver-dam-7b + keywords",
        n_harmful=500,
        n_benign=250,
        n_task=500,
        n_alignment=200,
        max_new_tokens=256,
        batch_size=32,
        dtype="bfloat16",
        harmful_data="beavertails:test",
        benign_data="xstest:safe",
        alignment_data="beavertails:test_safe",
        draw="seed",
        scoring="strict",
    ),
    _paper(
        "vaccine-2024",
        "Vaccine's: 500 unsafe prompts, 128 new tokens; an answer that holds the label is right. "
        "GSM8K's questions are asked as they are; there a sentence asks for steps first.",
        500,
        128,
        500,
        "vaccine",
        "float16",
    ),
    _paper(
        "t-vaccine-2024",
        "T-Vaccine's: 500 unsafe prompts, 128 new tokens; an answer that holds the label is right. "
        "GSM8K's questions are asked as they are; there a sentence asks for steps first.",
        500,
        128,
        500,
        "vaccine",
        "float16",
    ),
    _paper(
        "lisa-2024",
        "Lisa's: the first 1,000 prompts, safe ones among them, which dilutes the harmful score: "
        "not to be compared with the others.",
        1000,
        512,
        1000,
        "papers",
        "float16",
    ),
    _paper(
        "booster-2024",
        "Booster's: 1,000 unsafe prompts, 512 new tokens; incoherent answers are counted beside.",
        1000,
        512,
        1000,
        "papers",
        "bfloat16",
    ),
    _paper(
        "antidote-2024",
        "Antidote's: 1,000 unsafe prompts, 512 new tokens.",
        1000,
        512,
        1000,
        "papers",
        "float32",
        None,
    ),
)
# What the second version of the protocols for real models changes.
_SECOND = {"version": "2", "coherence": "loops", "thoughts": "left out"}
_SECONDS = tuple(replace(one, **_SECOND) for one in _FIRST if one.harmful_data)
# The third: answers are read as a reader reads them. The papers' scoring stays each paper's own.
_THIRD = {"version": "3", "coherence": "loops and nonsense", "refusals": "read"}
_THIRDS = tuple(
    replace(one, **_THIRD, scoring="stated" if one.scoring == "strict" else one.scoring)
    for one in _SECONDS
)
# Antidote's fourth: how long and in which format its code answers differs from task to task.
_FOURTHS = tuple(
    replace(
        one,
        version="4",
        description="Antidote's: 1,000 unsafe prompts, 512 new tokens; SST-2 and AG News with 200, "
        "in 16 bits.",
        of_tasks=(
            ("sst2", 200, "float16"),
            ("agnews", 200, "float16"),
            ("alpaca", 512, "float16"),
        ),
    )
    for one in _THIRDS
    if one.name == "antidote-2024"
)
# Refusal under pressure: what else is asked of the same prompts.
_PRESSED = tuple(
    replace(
        one,
        name=f"{one.name}-pressure",
        version="1",
        description=f"{one.name}'s (version {one.version}), and the same harmful prompts under "
        f"pressure: {what}.",
        pressure=parts,
    )
    for one, parts, what in (
        (
            next(one for one in _THIRDS if one.name == "holdfast"),
            ("prefill", "sampling", "system"),
            "with five words of a complying answer given, five answers sampled, and under a system "
            "prompt that forbids refusing",
        ),
        (
            _FIRST[0],
            ("prefill", "sampling"),
            "with five words of a complying answer given, and five answers sampled",
        ),
    )
)
# What comes next, of all of them: refusals, labels and coherence by what a text does.
_READING = {"coherence": "disorder", "refusals": "declines"}
_NEWEST = {one.name: one for one in (*_THIRDS, *_FOURTHS)}
_READ = tuple(
    replace(
        one,
        **_READING,
        version=str(int(one.version) + 1),
        scoring="decided" if one.scoring == "stated" else one.scoring,
    )
    for one in _NEWEST.values()
)
_ALL = (*_FIRST, *_SECONDS, *_THIRDS, *_FOURTHS, *_PRESSED, *_READ)
# The newest version of each, by its name.
PROTOCOLS: Mapping[str, Protocol] = MappingProxyType({one.name: one for one in _ALL})
# Every version by NAME@VERSION.
VERSIONS: Mapping[str, Protocol] = MappingProxyType(
    {f"{one.name}@{one.version}": one for one in _ALL}
)


def get(name: str) -> Protocol:
    """The protocol of that name, in its newest version, or in another one as NAME@VERSION.

    Raises:
        UserError: There is none; the sentence names the nearest one and all there are.
    """
    if name in PROTOCOLS:
        return PROTOCOLS[name]
    if name in VERSIONS:
        return VERSIONS[name]
    near = get_close_matches(name, PROTOCOLS, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise UserError(f"there is no protocol {name!r}{hint} (known: {', '.join(PROTOCOLS)})")
