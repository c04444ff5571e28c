"""The file of answers: stopped, cut and killed at any moment, it ends up with the same bytes."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from holdfast.errors import Stopped, UserError
from holdfast.evaluate.answers import FORMAT, answer_all, copy_answers
from holdfast.evaluate.generation import Generator
from hub_folders import write_model
from tiny_models import tiny_model

SETS = {
    "harmful": ["ab", "a", "abcd", "", "abc"],
    "task": [
        {"instruction": "say", "input": "x", "output": "not read"},
        {"messages": [{"role": "user", "content": "hello there"}]},
        {"prompt": "p", "completion": "c"},
    ],
    "none": [],
}
MADE_WITH = {"model": "tiny", "max_new_tokens": 4}


class Echo:
    """Answers a text with itself in capitals, and remembers its batches."""

    def __init__(self):
        self.batches: list[list] = []
        self.loads = 0

    def load(self):
        self.loads += 1
        return self

    def __call__(self, prompts):
        self.batches.append(list(prompts))
        return [f"{prompt}!\nü\udc80" for prompt in prompts]


def run(file: Path, backend: Echo, **kw):
    settings = {"sets": SETS, "batch_size": 2, "made_with": MADE_WITH, **kw}
    return answer_all(file=file, load=backend.load, **settings)


def test_answers_are_in_the_order_of_the_rows(tmp_path):
    backend, done = Echo(), []
    answers = run(tmp_path / "a.jsonl", backend, progress=lambda k, n: done.append((k, n)))
    assert answers == {name: [f"{row}!\nü\udc80" for row in rows] for name, rows in SETS.items()}
    # The longest first, in batches of two, no batch of two sets.
    assert backend.batches[:3] == [["abcd", "abc"], ["ab", "a"], [""]]
    assert [len(batch) for batch in backend.batches] == [2, 2, 1, 2, 1]
    assert backend.loads == 1
    assert done == [(0, 8), (2, 8), (4, 8), (5, 8), (7, 8), (8, 8)]


def test_the_file_says_what_it_holds(tmp_path):
    file = tmp_path / "a.jsonl"
    run(file, Echo())
    header, *lines = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    assert header["format"] == FORMAT
    assert header["answers"] == 8
    assert header["made_with"] == {**MADE_WITH, "batch_size": 2}
    first = {"set": "harmful", "index": 2, "prompt": "abcd", "answer": "abcd!\nü\udc80"}
    assert lines[0] == first
    assert lines[5]["prompt"] == "hello there"
    assert lines[6]["prompt"] == "say\n\nx"


def copied(tmp_path, sets=SETS, **made_with):
    """Whether the answers beside it become those of a new file, which is then whole."""
    file = tmp_path / "new.jsonl"
    others = [tmp_path / "gone.jsonl", *sorted(tmp_path.glob("?.jsonl"))]
    if not copy_answers(others, file, sets, 2, {**MADE_WITH, **made_with}):
        assert not file.exists()
        return False
    backend = Echo()
    run(file, backend)
    assert backend.loads == 0
    return True


def test_whole_answers_of_another_file_are_copied(tmp_path):
    assert not copied(tmp_path)
    run(tmp_path / "b.jsonl", Echo())
    whole = (tmp_path / "b.jsonl").read_bytes()
    (tmp_path / "a.jsonl").write_bytes(b"\n".join(whole.split(b"\n")[:-2]) + b"\n")
    assert not copied(tmp_path, model="another")
    assert not copied(tmp_path, {**SETS, "harmful": ["another question", *SETS["harmful"][1:]]})
    assert copied(tmp_path)
    assert (tmp_path / "new.jsonl").read_bytes() == whole


def test_answers_that_are_cut_short_are_not_copied(tmp_path):
    run(tmp_path / "a.jsonl", Echo())
    whole = (tmp_path / "a.jsonl").read_bytes()
    for cut in (whole[:-1], whole[: whole.index(b"\n") + 1]):
        (tmp_path / "a.jsonl").write_bytes(cut)
        assert not copied(tmp_path)


def test_a_finished_file_needs_no_model(tmp_path):
    first = run(tmp_path / "a.jsonl", Echo())
    written = (tmp_path / "a.jsonl").stat()
    backend, done = Echo(), []
    again = run(tmp_path / "a.jsonl", backend, progress=lambda k, n: done.append((k, n)))
    assert again == first
    assert backend.loads == 0
    assert done == [(8, 8)]
    assert (tmp_path / "a.jsonl").stat() == written


def test_cut_anywhere_it_ends_up_the_same(tmp_path):
    file = tmp_path / "a.jsonl"
    answers = run(file, Echo())
    whole = file.read_bytes()
    ends = [0] + [match.end() for match in re.finditer(rb"\n", whole)]
    for size in range(len(whole)):
        file.write_bytes(whole[:size])
        if size % 7 == 0:  # a resumed run that stops at once leaves nothing of a torn line
            with pytest.raises(Stopped):
                run(file, Echo(), stopping=lambda: True)
            assert whole.startswith(file.read_bytes())
            assert file.read_bytes().endswith(b"\n")
        backend = Echo()
        assert run(file, backend) == answers
        assert file.read_bytes() == whole
        lines = sum(end <= size for end in ends) - 2  # without the header's and the start
        kept = max(n for n in (0, 2, 4, 5, 7, 8) if n <= max(lines, 0))
        assert sum(map(len, backend.batches)) == 8 - kept


def test_it_stops_after_the_batch_under_way(tmp_path):
    file, backend = tmp_path / "a.jsonl", Echo()
    run(tmp_path / "whole.jsonl", Echo())
    with pytest.raises(Stopped):
        run(file, backend, stopping=lambda: len(backend.batches) == 2)
    assert len(backend.batches) == 2
    assert file.read_bytes().count(b"\n") == 1 + 4
    with pytest.raises(Stopped):
        run(file, backend, stopping=lambda: True)
    run(file, rest := Echo())
    assert len(rest.batches) == 3
    assert file.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    run(file, Echo(), stopping=lambda: True)  # nothing is left to stop


def test_other_answers_are_refused(tmp_path):
    file = tmp_path / "a.jsonl"
    run(file, Echo())
    before = file.read_bytes()
    changed = {
        "max_new_tokens 4 and not 8": {"made_with": {**MADE_WITH, "max_new_tokens": 8}},
        "model 'tiny' and not 'other'": {"made_with": {**MADE_WITH, "model": "other"}},
        "dtype None and not 'bfloat16'": {"made_with": {**MADE_WITH, "dtype": "bfloat16"}},
        "batch_size 2 and not 3": {"batch_size": 3},
        "other prompts": {"sets": {**SETS, "harmful": ["ab", "a", "abcd", " ", "abc"]}},
        "other prompts:": {"sets": {"renamed": SETS["harmful"], **SETS}},
        # The same words in another field render differently.
        "with other prompts": {
            "sets": {**SETS, "task": [{"instruction": "say\n\nx", "input": ""}, *SETS["task"][1:]]}
        },
    }
    for words, kw in changed.items():
        with pytest.raises(UserError, match=re.escape(words)):
            run(file, Echo(), **kw)
        assert file.read_bytes() == before
    relabelled = [{**SETS["task"][0], "output": "a new label"}, *SETS["task"][1:]]
    run(file, backend := Echo(), sets={**SETS, "task": relabelled})
    assert backend.loads == 0


def test_a_file_of_something_else_is_left_alone(tmp_path):
    file = tmp_path / "a.jsonl"
    run(file, Echo())
    lines = file.read_bytes().splitlines(keepends=True)
    spoiled = {
        "something else": b"my notes",
        "something else than answers": b'{"instruction": "x"}\n',
        "line 3, is damaged": b"".join([*lines[:2], b"x\n", *lines[3:]]),
        "line 4, is damaged": b"".join([*lines[:2], lines[3], lines[2], *lines[4:]]).replace(
            b'"index": 4', b'"index": 4', 1
        ),
        "more answers": b"".join([*lines, lines[-1]]),
        "no answers of this version": lines[0].replace(b"answers 1", b"answers 0"),
    }
    for words, content in spoiled.items():
        file.write_bytes(content)
        with pytest.raises(UserError, match="damaged" if "damaged" in words else words):
            run(file, Echo())
        assert file.read_bytes() == content


def test_mistakes_are_told(tmp_path):
    with pytest.raises(UserError, match="batch_size"):
        run(tmp_path / "a.jsonl", Echo(), batch_size=0)
    with pytest.raises(UserError, match="no known kind of row"):
        run(tmp_path / "a.jsonl", Echo(), sets={"x": [{"text": "what"}]})
    assert not (tmp_path / "a.jsonl").exists()


SLOW = """
import sys, time, pathlib
from holdfast.evaluate.answers import answer_all

def slow(prompts):
    time.sleep(0.004)
    return [prompt.upper() * 40 for prompt in prompts]

answer_all({"a": [f"{i * 7919 % 101:x}" * (i % 9) for i in range(150)]}, pathlib.Path(sys.argv[1]),
           lambda: slow, 3, {"model": "slow"})
"""


def test_killed_at_random_moments_it_ends_up_the_same(tmp_path):
    whole, file = tmp_path / "whole.jsonl", tmp_path / "killed.jsonl"
    subprocess.run([sys.executable, "-c", SLOW, whole], check=True)
    moments, sizes = random.Random(5), []
    for _ in range(8):
        child = subprocess.Popen([sys.executable, "-c", SLOW, file])
        size = file.stat().st_size if file.exists() else 0
        while child.poll() is None and (not file.exists() or file.stat().st_size <= size):
            time.sleep(0.001)
        time.sleep(moments.uniform(0, 0.03))
        os.kill(child.pid, signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL
        sizes.append(file.stat().st_size)
    assert sizes == sorted(set(sizes))  # each got further
    assert sizes[-1] < whole.stat().st_size
    subprocess.run([sys.executable, "-c", SLOW, file], check=True)
    assert file.read_bytes() == whole.read_bytes()


REAL = """
import pathlib, sys
from transformers import AutoModelForCausalLM, AutoTokenizer
from holdfast.evaluate.answers import answer_all
from holdfast.evaluate.generation import Generator

folder, file, rows = sys.argv[1], pathlib.Path(sys.argv[2]), int(sys.argv[3])

def load():
    model = AutoModelForCausalLM.from_pretrained(folder)
    return Generator(model, AutoTokenizer.from_pretrained(folder), 12, 4)

sets = {"all": [f"{i} " * (i % 13 + 1) for i in range(rows)]}
answer_all(sets, file, load, 4, {"model": "tiny"})
"""


def test_a_models_answers_survive_a_kill(tmp_path, monkeypatch):
    folder = write_model(tmp_path / "model", tie_word_embeddings=False)
    whole, file, rows = tmp_path / "whole.jsonl", tmp_path / "killed.jsonl", 40
    arguments = [str(folder), str(file), str(rows)]
    child = subprocess.Popen([sys.executable, "-c", REAL, *arguments])
    while child.poll() is None and (not file.exists() or file.read_bytes().count(b"\n") < 9):
        time.sleep(0.01)
    child.kill()
    child.wait()
    killed = file.read_bytes()
    assert 9 <= killed.count(b"\n") <= rows
    for place in (file, whole):
        monkeypatch.setattr(sys, "argv", ["", str(folder), str(place), str(rows)])
        exec(REAL, {})
    assert whole.read_bytes() == file.read_bytes()
    assert whole.read_bytes().startswith(killed)
    assert whole.read_bytes().count(b"\n") == rows + 1


def test_running_out_of_memory_leaves_the_same_file(tmp_path, tokenizer, monkeypatch):
    import torch

    model = tiny_model("qwen2", tie_word_embeddings=False)
    words = random.Random(3)
    sets = {
        name: [
            " ".join(f"w{words.randint(4, 63)}" for _ in range(words.randint(1, 20)))
            for _ in range(11)
        ]
        for name in ("one", "two")
    }

    def answers(file: str):
        backend = Generator(model, tokenizer, 12, 8)
        return answer_all(sets, tmp_path / file, lambda: backend, 8, {}), backend.batch_size

    plain, size = answers("plain.jsonl")
    assert size == 8
    forward = model.forward

    def limited(*args, **kw):
        if len(kw["input_ids"]) > 3:
            raise torch.OutOfMemoryError("no memory")
        return forward(*args, **kw)

    monkeypatch.setattr(model, "forward", limited)
    assert answers("halved.jsonl") == (plain, 2)
    assert (tmp_path / "halved.jsonl").read_bytes() == (tmp_path / "plain.jsonl").read_bytes()


def test_the_snippet_of_the_docs_runs(tmp_path, tokenizer):
    text = (Path(__file__).parents[2] / "docs" / "generation.md").read_text(encoding="utf-8")
    (snippet,) = re.findall(r"```python\n(.*?)```", text, re.S)
    names = {"model": tiny_model("llama"), "tokenizer": tokenizer, "file": tmp_path / "a.jsonl"}
    exec(snippet, names)
    assert len(names["answers"]["mine"]) == 2
