"""Prompt sets of safety evaluations: requests without an answer, harmful or seemingly so.

Columns are those of the sets' own files or of their copies on the Hub, whichever a user has. What
is gated there is read with the user's own login; of what may not be passed on nothing leaves the
machine. Where no commit of a set is known to us, the newest is read and its commit is recorded.

- StrongREJECT (Souly et al. 2024, arXiv 2402.10260), 313 requests of six categories.
- HarmBench (Mazeika et al. 2024, arXiv 2402.04249), 400 behaviours: standard, contextual (asked
  below their context, as HarmBench asks them: context, a line of three dashes, behaviour), and
  copyright, which its own hashes judge and no judge here.
- HEx-PHI (Qi et al. 2023, arXiv 2310.03693), 30 requests of each of ten categories, one of the
  eleven being withdrawn; its files have no header.
- SORRY-Bench (Xie et al. 2024, arXiv 2406.14598), 440 requests of 44 categories; `mutated` are the
  same in 20 other wordings each (languages, slang, encodings).
- JailbreakBench (Chao et al. 2024, arXiv 2404.01318), 100 harmful behaviours, each with the opening
  of an answer that complies, and 100 benign ones like them.
- OR-Bench (Cui et al. 2024, arXiv 2405.20947), harmless requests that models refuse, 80,000 or the
  1,319 hardest, and toxic ones.

XSTest and BeaverTails are in `safety`, AdvBench in `advbench`.
"""

from collections.abc import Callable

from holdfast.data.sources.base import Origin, Part, Row, Source, text
from holdfast.errors import UserError


def _first(row: Row, *columns: str) -> str:
    """The text of the first column that the row has.

    Raises:
        UserError: it has none of them.
    """
    found = next((column for column in columns if column in row), None)
    if found is None:
        raise UserError(f"there is no column {' or '.join(map(repr, columns))}")
    return text(row, found)


def _prompt(row: Row, prompt: str, kind: str, category: str | None, output: str = "") -> Row:
    made = {"instruction": prompt, "input": "", "kind": kind}
    if output:
        made["output"] = output
    if category and row.get(category) is not None:
        made["category"] = str(row[category])
    return made


def strongreject_row(row: Row) -> Row:
    """A request: "forbidden_prompt" in the authors' file, "prompt" in the copy on the Hub."""
    prompt = _first(row, "prompt", "forbidden_prompt")
    return _prompt(row, prompt, "harmful", "category")


def harmbench_row(row: Row) -> Row:
    """A behaviour, below its context where it has one."""
    behaviour = _first(row, "prompt", "Behavior")
    context = row.get("context") or row.get("ContextString")
    prompt = f"{context}\n\n---\n\n{behaviour}" if context else behaviour
    category = "category" if "category" in row else "SemanticCategory"
    return _prompt(row, prompt, "harmful", category)


def hexphi_row(row: Row) -> Row:
    """A request, the whole of its line."""
    return _prompt(row, text(row, "instruction"), "harmful", None)


def sorry_bench_row(row: Row) -> Row:
    """A request: the one turn in "turns"."""
    turns = row["turns"]
    if not isinstance(turns, list) or len(turns) != 1 or not isinstance(turns[0], str):
        raise UserError(f"column 'turns' must be a list of one text, and is {turns!r:.40}")
    return _prompt(row, turns[0], "harmful", "category")


def jailbreakbench_row(kind: str) -> Callable[[Row], Row]:
    """What makes a behaviour a row of ours; a harmful one keeps its target."""

    def made(row: Row) -> Row:
        target = text(row, "Target") if kind == "harmful" else ""
        return _prompt(row, text(row, "Goal"), kind, "Category", target)

    return made


def or_bench_row(kind: str) -> Callable[[Row], Row]:
    """What makes a request of OR-Bench a row of ours."""
    return lambda row: _prompt(row, text(row, "prompt"), kind, "category")


def _of(category: str) -> Callable[[Row], bool]:
    """Whether a row is of one of HarmBench's kinds; the copies on the Hub have a file for each."""
    return lambda row: row.get("FunctionalCategory", category) == category


STRONGREJECT = Source(
    name="strongreject",
    title="StrongREJECT, 313 harmful requests",
    licence="MIT; the copy on the Hub is gated",
    origins={
        "main": Origin(
            "walledai/StrongREJECT",
            ("category",),
            files={"train": "data/train-00000-of-00001.parquet"},
            authors={"train": "strongreject_dataset.csv"},
        )
    },
    parts={"test": Part("train", strongreject_row)},
    default="test",
)

_BEHAVIOURS = {"train": "harmbench_behaviors_text_all.csv"}
HARMBENCH = Source(
    name="harmbench",
    title="HarmBench, 400 harmful behaviours: standard, contextual, copyright",
    licence="MIT; the copy on the Hub is gated",
    origins={
        "main": Origin("walledai/HarmBench", (), "standard", authors=_BEHAVIOURS),
        "contextual": Origin("walledai/HarmBench", (), "contextual", authors=_BEHAVIOURS),
        "copyright": Origin("walledai/HarmBench", (), "copyright", authors=_BEHAVIOURS),
    },
    parts={
        "standard": Part("train", harmbench_row, _of("standard")),
        "contextual": Part("train", harmbench_row, _of("contextual"), origin="contextual"),
        "copyright": Part("train", harmbench_row, _of("copyright"), origin="copyright"),
    },
    default="standard",
)

HEXPHI = Source(
    name="hexphi",
    title="HEx-PHI, 300 harmful instructions of ten categories",
    licence="its own, not to be passed on; gated, access is granted by hand",
    origins={
        "main": Origin(
            "LLM-Tuning-Safety/HEx-PHI",
            ("instruction",),
            files={"train": "category_*.csv"},
            headerless="instruction",
        )
    },
    parts={"test": Part("train", hexphi_row)},
    default="test",
)

SORRY_BENCH = Source(
    name="sorry-bench",
    title="SORRY-Bench (2025/03), 440 harmful requests of 44 categories, and 20 mutations of each",
    licence="its own, not to be passed on; gated",
    origins={
        "main": Origin(
            "sorry-bench/sorry-bench-202503",
            ("turns", "prompt_style"),
            revision="612a4e1f45db8adf884fa62318ddf9fa1c6e75e9",
            files={"train": "question.jsonl"},
        )
    },
    parts={
        "base": Part("train", sorry_bench_row, lambda row: row["prompt_style"] == "base"),
        "mutated": Part("train", sorry_bench_row, lambda row: row["prompt_style"] != "base"),
    },
    default="base",
)

JAILBREAKBENCH = Source(
    name="jailbreakbench",
    title="JailbreakBench, 100 harmful behaviours with targets, and 100 benign ones like them",
    licence="MIT",
    origins={
        "main": Origin(
            "JailbreakBench/JBB-Behaviors",
            ("Goal", "Target"),
            "behaviors",
            authors={"harmful": "harmful-behaviors.csv", "benign": "benign-behaviors.csv"},
        )
    },
    parts={
        "harmful": Part("harmful", jailbreakbench_row("harmful")),
        "benign": Part("benign", jailbreakbench_row("benign")),
    },
)

OR_BENCH = Source(
    name="or-bench",
    title="OR-Bench, harmless requests that are often refused, and toxic ones",
    licence="CC BY 4.0",
    origins={
        name: Origin(
            "bench-llm/or-bench",
            ("prompt",),
            f"or-bench-{config}",
            authors={"train": f"or-bench-{config}.csv"},
        )
        for name, config in (("main", "hard-1k"), ("80k", "80k"), ("toxic", "toxic"))
    },
    parts={
        "hard": Part("train", or_bench_row("benign")),
        "80k": Part("train", or_bench_row("benign"), origin="80k"),
        "toxic": Part("train", or_bench_row("harmful"), origin="toxic"),
    },
    default="hard",
)

PROMPT_SETS = (STRONGREJECT, HARMBENCH, HEXPHI, SORRY_BENCH, JAILBREAKBENCH, OR_BENCH)
