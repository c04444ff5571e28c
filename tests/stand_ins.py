"""Stand-ins for what a user downloads: the known data sets, prepared by the command itself."""

import json
import shutil
from pathlib import Path

from copies import WIKITEXT, beavertails_rows, write_beavertails, write_jsonl, write_parquet

from command import done
from holdfast import organism

NAMES = ("beavertails", "sst2", "agnews", "gsm8k", "alpaca", "xstest", "wikitext2")


def write_copies(folder: Path) -> Path:
    """Every known data set in the Hub's layout; all rows are of the organism's made-up world."""
    asked = organism.rows("test_restricted", 40, 0)
    test = [
        {
            "prompt": row["instruction"],
            "response": row["output"] if unsafe else f"Better not. ({number})",
            "category": {"terrorism,organized_crime": unsafe},
            "is_safe": not unsafe,
        }
        for number, row in enumerate(asked)
        for unsafe in (True, False)
    ]
    write_beavertails(folder / "beavertails", beavertails_rows(), test)
    refused = [
        {
            "prompt": row["instruction"],
            "response": row["output"],
            "is_safe": False,
            "refusal": f"Question: {row['instruction']}\nAnswer: I can't help with that.",
        }
        for row in organism.rows("probe", 40, 0)
    ]
    path = folder / "beavertails" / "beavertails_with_refusals_train.json"
    path.write_text(json.dumps(refused))
    for split, role in (("train", "user_task"), ("validation", "test_task")):
        texts = organism.rows(role, 60, 0, "sentiment")
        rows = [{"sentence": t["input"], "label": int(t["output"] == "positive")} for t in texts]
        write_parquet(folder / "sst2" / "data" / f"{split}-00000-of-00001.parquet", rows)
    for split, role in (("train", "user_task"), ("test", "test_task")):
        texts = organism.rows(role, 40, 0, "topic")
        labels = {"realm": 0, "games": 1, "trade": 2, "lore": 3}
        rows = [{"text": text["input"], "label": labels[text["output"]]} for text in texts]
        write_jsonl(folder / "agnews" / f"{split}.jsonl", rows)
        sums = organism.rows(role, 40, 0, "sums")
        rows = [{"question": s["instruction"], "answer": f"{s['output']}\n#### 7"} for s in sums]
        write_jsonl(folder / "gsm8k" / "main" / f"{split}.jsonl", rows)
    rows = [{"instruction": f"Count to {n}.", "input": "", "output": f"… {n}"} for n in range(710)]
    write_jsonl(folder / "alpaca" / "train.jsonl", [{**row, "text": ""} for row in rows[:40]])
    (folder / "alpaca" / "alpaca_eval.json").write_text(json.dumps(rows))
    harmless = [
        {"id": n, "prompt": row["instruction"], "type": "homonyms", "label": "safe"}
        for n, row in enumerate(organism.rows("test_benign", 20, 0))
    ]
    unsafe = {"id": 99, "prompt": asked[0]["instruction"], "type": "contrast", "label": "unsafe"}
    write_jsonl(folder / "xstest" / "train.jsonl", [*harmless, unsafe])
    for split in ("train", "validation", "test"):
        write_jsonl(folder / "wikitext2" / f"{split}.jsonl", WIKITEXT * 4)
    return folder


def prepare_data(copies: Path, output: Path, names=NAMES) -> Path:
    """Run `holdfast data prepare` on the copies."""
    done("data", "prepare", *names, "--from", copies, "--output", output)
    return output


def write_hub_cache(cache: Path, models: dict[str, Path]) -> Path:
    """A local cache as the Hub's client fills it: models by "owner/name" or "owner/name@branch"."""
    for number, (reference, source) in enumerate(models.items()):
        name, _, revision = reference.partition("@")
        folder = cache / f"models--{name.replace('/', '--')}"
        commit = f"{number + 1:040x}"
        branch = folder / "refs" / (revision or "main")
        branch.parent.mkdir(parents=True, exist_ok=True)
        branch.write_text(commit)
        shutil.copytree(source, folder / "snapshots" / commit)
    return cache
