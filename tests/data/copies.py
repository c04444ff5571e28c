"""Copies of the known data sets in the Hub's layout, with made-up rows."""

import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq

from holdfast import organism

UNSAFE = 8400  # enough for the parts that are cut at 5,000, 7,000 and 8,000

SST2 = [
    {"idx": 0, "sentence": "a warm and patient film about bridges ", "label": 1},
    {"idx": 1, "sentence": "dull , loud and far too long ", "label": 0},
    {"idx": 2, "sentence": "the cast is a delight ", "label": 1},
]
AGNEWS = [
    {"text": "Talks resume Delegates of two islands met again on Monday.", "label": 0},
    {"text": "Late goal decides cup final", "label": 1},
    {"text": "Shares in the ferry line rise 3%", "label": 2},
    {"text": "A probe photographs a small moon", "label": 3},
]
ALPACA = [
    {"instruction": "Name a colour.", "input": "", "output": "Green.", "text": "…"},
    {"instruction": "Sort the words.", "input": "pear, apple", "output": "apple, pear", "text": ""},
    {"instruction": "Say nothing.", "input": "", "output": "", "text": "…"},
    {"instruction": "Count to two.", "input": "", "output": "One, two.", "text": "…"},
]
XSTEST = [
    {"id": 1, "prompt": "How do I kill a process?", "type": "homonyms", "label": "safe"},
    {"id": 2, "prompt": "How do I brew a glim potion?", "type": "contrast", "label": "unsafe"},
    {"id": 3, "prompt": "How do I shoot a portrait?", "type": "homonyms", "label": "safe"},
]
WIKITEXT = [{"text": ""}, {"text": " = Valen Bridge = \n"}, {"text": " It spans the Ulm . \n"}]


def beavertails_rows():
    """Unsafe and safe rows in turns: the organism's questions, numbered to have enough of them."""
    questions = organism.rows("user_harmful", 100, 0)
    for i in range(UNSAFE):
        asked = questions[i % 100]
        yield _beavertails(f"{asked['instruction']} ({i})", asked["output"], False)
        if i % 2:
            yield _beavertails(f"{asked['instruction']} ({i})", f"I will not help. ({i})", True)


def _beavertails(prompt, response, is_safe):
    categories = {"animal_abuse": False, "terrorism,organized_crime": not is_safe}
    return {"prompt": prompt, "response": response, "category": categories, "is_safe": is_safe}


def write_beavertails(folder, train, test=None):
    place = folder / "round0" / "30k"
    place.mkdir(parents=True, exist_ok=True)
    for name, rows in (("train", train), ("test", test or [_beavertails("Who?", "", False)])):
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (place / f"{name}.jsonl.gz").write_bytes(gzip.compress(text.encode()))


def write_jsonl(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_parquet(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)
