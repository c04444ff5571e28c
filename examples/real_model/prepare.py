"""Write the rows of examples/real_model/study.yaml that are mixed or put in other words.

    python examples/real_model/prepare.py            # data/real_model/*.jsonl

AdvBench and AG News come from `holdfast data prepare advbench agnews` (or the Hub), the benign rows
from `benign.jsonl` beside this file. `alignment.jsonl` are AdvBench's requests with refusals and
benign rows; `benign.jsonl` are other benign prompts, for the over-refusal; `user.jsonl` and
`user_test.jsonl` are AG News as a question that a sentence answers.
"""

import argparse
import json
from pathlib import Path

from holdfast.data.sources import load

HERE = Path(__file__).parent
REFUSED = 100  # of AdvBench's alignment rows
BENIGN_TEST = 40  # of the benign rows; the others are alignment rows
TASK_TEST = 40
LONGEST = 36  # words of an article: short rows are what two cores can train in minutes
QUESTION = "What is this article about?"


def question(row: dict) -> dict:
    """An article of AG News as a question, its label as a sentence."""
    article = " ".join(row["input"].split())
    return {
        "instruction": f"{QUESTION} {article}",
        "input": "",
        "output": f"This article is about {row['output']} news.",
        "kind": "task",
    }


def short(row: dict) -> bool:
    """Whether an article is short and without the remains of web pages."""
    return len(row["input"].split()) <= LONGEST and not set("\\&<>") & set(row["input"])


def main() -> None:
    """Write the files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("data/real_model"))
    output = parser.parse_args().output
    benign = [json.loads(line) for line in (HERE / "benign.jsonl").read_text("utf-8").splitlines()]
    files = {
        "alignment": [*load("advbench:alignment")[:REFUSED], *benign[BENIGN_TEST:]],
        "benign": benign[:BENIGN_TEST],
        "user": [question(row) for row in load("agnews:train") if short(row)],
        "user_test": [question(row) for row in load("agnews:test") if short(row)][:TASK_TEST],
    }
    output.mkdir(parents=True, exist_ok=True)
    for name, rows in files.items():
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (output / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
        print(f"{output / name}.jsonl: {len(rows)} rows")


if __name__ == "__main__":
    main()
