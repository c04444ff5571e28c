"""Every training method × adapter × architecture × what must change nothing: the whole product.

    python benchmarks/method_matrix.py [--output benchmarks/method_matrix.md] [--keep FILE]

Each cell trains a tiny random model twice, plainly and in the other way (micro-batches, activation
checkpointing, padding on the left, an interruption, bf16), and compares how far the weights moved
(`tests/training/matrix.py`). What is done is kept in FILE, so the same command goes on after an
interruption. `make test` runs a cover of the pairs.
"""

import argparse
import json
import sys
import tempfile
import time
import warnings
from pathlib import Path

import transformers

_ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(_ROOT / "tests"), str(_ROOT / "tests" / "training")]

from matrix import (  # noqa: E402  # pyright: ignore[reportMissingImports]
    BOUNDS,
    CHECKS,
    Case,
    difference,
    product,
)

from holdfast.stages.time_left import TimeLeft  # noqa: E402


def main(words: list[str] | None = None) -> int:
    """Run what is not done, write the table; gives how many cells are beyond their bound."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--output", default=str(_ROOT / "benchmarks" / "method_matrix.md"))
    parser.add_argument("--keep", default="results/method_matrix.jsonl")
    parser.add_argument("--methods", nargs="*", help="these alone")
    options = parser.parse_args(words)
    transformers.utils.logging.set_verbosity_error()
    warnings.filterwarnings("ignore")
    cases = [c for c in product() if not options.methods or c.method in options.methods]
    keep, began = Path(options.keep), time.monotonic()
    keep.parent.mkdir(parents=True, exist_ok=True)
    done = dict(_read(keep))
    left = TimeLeft()
    with keep.open("a", encoding="utf-8") as file:
        for number, case in enumerate(cases):
            if str(case) not in done:
                done[str(case)] = _measure(case)
                file.write(json.dumps([str(case), done[str(case)]]) + "\n")
                file.flush()
            words_left = left.at((number + 1) / len(cases))
            print(f"\r{number + 1} of {len(cases)} {words_left:<20}", end="", file=sys.stderr)
    print(file=sys.stderr)
    text, wrong = _table(cases, done)
    Path(options.output).write_text(text, encoding="utf-8")
    print(f"{len(cases)} cells, {wrong} beyond their bound, {time.monotonic() - began:.0f} s")
    return wrong


def _read(path: Path) -> list[tuple[str, float | str]]:
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").splitlines()
    return [(name, found) for name, found in map(json.loads, lines)]


def _measure(case: Case) -> float | str:
    """The difference, or what went wrong."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            return difference(case, Path(folder))
        except Exception as error:
            return f"{type(error).__name__}: {error}"


def _table(cases: list[Case], done: dict[str, float | str]) -> tuple[str, int]:
    """The page: for each method and check the largest difference of all its cells."""
    lines = [
        "# What must change nothing, for every training method",
        "",
        "The largest ‖a − b‖ / ‖b‖ of what the weights moved by in four steps, over adapters "
        "(single, double, full) and architectures (Llama, Qwen3, Gemma 3, OPT), in float32 but "
        "for bf16. Made by `python benchmarks/method_matrix.py`. Bounds: "
        + ", ".join(f"{check} {BOUNDS[check]:g}" for check in CHECKS)
        + ".",
        "",
        f"| method | cells | {' | '.join(CHECKS)} |",
        f"|---|---|{'---|' * len(CHECKS)}",
    ]
    failed = []
    for method in dict.fromkeys(case.method for case in cases):
        own = [case for case in cases if case.method == method]
        cells = []
        for check in CHECKS:
            found = [done[str(case)] for case in own if case.check == check]
            numbers = [one for one in found if isinstance(one, float)]
            cells.append(f"{max(numbers):.1e}" if len(numbers) == len(found) else "see below")
        lines.append(f"| {method} | {len(own)} | {' | '.join(cells)} |")
        for case in own:
            one = done[str(case)]
            if isinstance(one, str) or not one < BOUNDS[case.check]:
                failed.append(f"- {case}: {one}")
    lines += ["", f"{len(failed)} of {len(cases)} cells are beyond their bound.", *failed]
    return "\n".join(lines) + "\n", len(failed)


if __name__ == "__main__":
    sys.exit(main() > 0)
