"""Hostile inputs by a seeded generator: configs, adapters, tokenizers, templates, YAML, rows.

Each is a working input with one thing wrong in it. Whoever reads it may take it, where the wrong
thing does not matter, or refuse it in one sentence; nothing else.
"""

import copy
import json
import math
import random
import shutil
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

DEEP = "[" * 3000 + "]" * 3000
LONG = "x" * 300
# Values of another type, out of any range, or that some library takes for something else.
WRONG: list[Any] = [
    None, "", " ", LONG, "\x00", "\ud800", "../../etc/passwd", "organism", "[", "(a+)+$", "(?P<",
    "a" * 40 + "!", "auto", "None", -1, 0, 1, 3, 1 << 40, 10**7, -(2**63), 1.5, -0.0, 1e308,
    math.inf, math.nan, True, False, [], [None], [[]], [1], ["x"], {}, {"": ""}, {"a": {"b": []}},
    {"0": 1}, ["(a+)+$"], "float99", "cuda", "\n", "🙂", "%s", "{}", "{{ 1/0 }}",
]  # fmt: skip
TEMPLATES = [
    "{{ 1 / 0 }}", "{{ raise_exception('no') }}", "{{ messages[99].content }}", "{% for %}", "{{",
    "{{ ''.__class__.__mro__[1].__subclasses__() }}", "{% for i in range(10**9) %}{% endfor %}",
    "{% for i in range(90000) %}{% for j in range(90000) %}{% endfor %}{% endfor %}",
    "{% macro m(x) %}{{ m(x) }}{% endmacro %}{{ m(1) }}", "{% include 'x' %}", "{{ undefined.x }}",
    "{{ messages | tojson | int + 'a' }}", "", " ", "\x00", "{{ 'a' * 10**10 }}", "{{ 2**10**9 }}",
    "{{ strftime_now(3) }}", "{{ messages.append(1) }}", "{% set x = messages %}",
    "{{ [] | first }}",
    "{{ messages | map('x') | list }}", "\ud800", "{{ lipsum(9, html=0) }}", "{{ cycler() }}",
]  # fmt: skip
YAMLS = [
    "a: !!int abc", "a: !!float x", "a: !!binary '%'", "a: !!timestamp x", "a: !!set 3",
    "!!python/object/apply:os.system ['true']", "a: &a [*a]", "a: *b", "? [1]\n: 2",
    "? {a: 1}\n: 2",
    "a: " + DEEP, "a: " + "{a: " * 2000 + "}" * 2000, "a: \x00", "\x00", "\ufeff\ufeff", "- 1", "3",
    "a: {b: {<<: 3}}", "<<: [1]", "a: 'x", 'a: "\\ud800"', "a:\n\t- b", "--- a\n--- b", "a: b: c",
    "%YAML 9.9\n---\na: 1", "%TAG ! x\n---\na: !x 1", "a: " + "9" * 5000, "a: 1e999999", "a: .inf",
    "\n".join(["a: &a0 [x, x]"] + [f"b{i}: &a{i + 1} [*a{i}, *a{i}]" for i in range(30)]),
    "align: " + DEEP, "model: '" + LONG + "'", 'model: "a\\0b"', "model: [1]", "seeds: 10000000000",
    "align: sft\nfinetune: sft\nseeds: 10000\nvary: {finetune.learning_rate: ["
    + ", ".join(f"{i}e-9" for i in range(1, 101)) + "]}",
    "vary: {finetune.learning_rate: 3}", "harmful_ratio: [[]]", "align: {method: [sft]}",
    "align: {data: " + LONG + "}", "align: {data: \"a\\0b\"}", "finetune: {lora: {r: [1]}}",
]  # fmt: skip


class Case(NamedTuple):
    """One input.

    Args:
        name: what is wrong with it.
        kind: "adapter", "model", "template", "study" or "rows".
        path: where it lies.
    """

    name: str
    kind: str
    path: Path


def cases(seed: int, count: int, good: dict[str, Path], place: Path) -> Iterator[Case]:
    """So many inputs, each made in `place` in turn and removed when the next is asked for.

    Args:
        seed: decides all of them.
        count: how many.
        good: "model" and "adapter", folders in which nothing is wrong.
        place: an empty folder.
    """
    chance = random.Random(seed)
    makers = [_adapter, _adapter, _model, _model, _tokenizer, _template, _study, _study, _rows]
    for number in range(count):
        folder = place / f"case-{number}"
        folder.mkdir()
        yield makers[number % len(makers)](chance, good, folder, number // len(makers))
        shutil.rmtree(folder)


def _adapter(chance: random.Random, good: dict[str, Path], folder: Path, number: int) -> Case:
    path = Path(shutil.copytree(good["adapter"], folder / "adapter"))
    if chance.random() < 0.75:
        what = _spoil_json(chance, path / "adapter_config.json")
    else:
        what = _spoil_weights(chance, path / "adapter_model.safetensors")
    return Case(what, "adapter", path)


def _model(chance: random.Random, good: dict[str, Path], folder: Path, number: int) -> Case:
    path = Path(shutil.copytree(good["model"], folder / "model"))
    draw = chance.random()
    if draw < 0.75:
        what = _spoil_json(chance, path / "config.json")
    elif draw < 0.85:
        what = _spoil_json(chance, path / "generation_config.json")
    else:
        what = _spoil_weights(chance, path / "model.safetensors")
    return Case(what, "model", path)


def _tokenizer(chance: random.Random, good: dict[str, Path], folder: Path, number: int) -> Case:
    path = Path(shutil.copytree(good["model"], folder / "model"))
    name = chance.choice(["tokenizer.json", "tokenizer_config.json"])
    return Case(_spoil_json(chance, path / name), "model", path)


def _template(chance: random.Random, good: dict[str, Path], folder: Path, number: int) -> Case:
    path = folder / "chat.jinja"
    text = TEMPLATES[number % len(TEMPLATES)]
    if number >= len(TEMPLATES):
        text = _cut(chance, "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}")
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    return Case(f"template {text[:60]!r}", "template", path)


def _study(chance: random.Random, good: dict[str, Path], folder: Path, number: int) -> Case:
    path = folder / "study.yaml"
    if number < len(YAMLS):
        text = YAMLS[number]
    elif chance.random() < 0.5:
        text = _cut(chance, "align: [sft, vaccine]\nfinetune: {method: lisa, rho: 1.5}\nseeds: 2\n")
    else:
        content = {"model": "organism", "align": "sft", "seeds": 1, "vary": {"align.rho": [1]},
                   "finetune": {"method": "sft", "lora": {"r": 2}}, "evaluate": {"limit": 3},
                   "harmful_ratio": [0.1], "when": [], "exclude": [], "settings": {}}  # fmt: skip
        text = json.dumps(_spoilt(chance, content)[0])
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    return Case(f"study {text[:60]!r}", "study", path)


def _rows(chance: random.Random, good: dict[str, Path], folder: Path, number: int) -> Case:
    path = folder / "rows.jsonl"
    rows: list[Any] = [
        {"instruction": "What is a zorn?", "output": "A zorn is a grel."},
        {"messages": [{"role": "user", "content": "A?"}, {"role": "assistant", "content": "B."}]},
        {"prompt": "A?", "completion": " B."},
        {"input_ids": [1, 5, 6, 7], "attention_mask": [1, 1, 1, 1], "labels": [-100, 5, 6, 7]},
    ]
    row = rows[number % len(rows)]
    spoilt, what = _spoilt(chance, row)
    lines = [json.dumps(one) for one in (row, spoilt)]
    if chance.random() < 0.2:
        lines[1] = _cut(chance, lines[1])
    path.write_bytes("\n".join(lines).encode("utf-8", "surrogatepass"))
    return Case(f"row {what}", "rows", path)


def _spoil_json(chance: random.Random, path: Path) -> str:
    text = path.read_text() if path.exists() else "{}"
    draw = chance.random()
    if draw < 0.85:
        content, what = _spoilt(chance, json.loads(text))
        path.write_text(json.dumps(content))
    elif draw < 0.95:
        path.write_bytes(_cut(chance, text).encode("utf-8", "surrogatepass"))
        what = "cut or changed"
    else:
        wrong = chance.choice(["", DEEP, "null", "[]", "3", "\x00", "{", '{"a": NaN}', "\xff"])
        path.write_bytes(wrong.encode("latin-1"))
        what = f"content {wrong[:20]!r}"
    return f"{path.name}: {what}"


def _spoilt(chance: random.Random, content: Any) -> tuple[Any, str]:
    """A copy with one value, at any depth, that is wrong, gone or of a wrong name."""
    whole = copy.deepcopy(content)
    inner, where = whole, []
    while True:
        keys = list(inner) if isinstance(inner, dict) else list(range(len(inner)))
        key = chance.choice(keys)
        where.append(str(key))
        if isinstance(inner[key], dict | list) and inner[key] and chance.random() < 0.7:
            inner = inner[key]
            continue
        break
    draw = chance.random()
    if draw < 0.08:
        del inner[key]
        return whole, f"{'.'.join(where)} is gone"
    if draw < 0.14 and isinstance(inner, dict):
        inner[key + chance.choice(["", " ", "x", "\x00"])] = inner.pop(key)
        return whole, f"{'.'.join(where)} has another name"
    inner[key] = copy.deepcopy(chance.choice(WRONG))
    return whole, f"{'.'.join(where)} is {inner[key]!r:.60}"


def _cut(chance: random.Random, text: str) -> str:
    """A text with a piece taken out, put in twice, or changed."""
    at = chance.randrange(len(text))
    size = chance.randint(1, max(1, len(text) // 4))
    piece = text[at : at + size]
    new = chance.choice(["", piece * 3, "\x00", "\ud800", "[", "}", "\t", ": ", "🙂", piece[::-1]])
    return text[:at] + new + text[at + size :]


def _spoil_weights(chance: random.Random, path: Path) -> str:
    content = path.read_bytes()
    (size,) = struct.unpack("<Q", content[:8])
    header, rest = json.loads(content[8 : 8 + size]), content[8 + size :]
    ways: dict[str, Callable[[], bytes]] = {
        "cut off": lambda: content[: chance.randrange(len(content))],
        "a length that is absurd": lambda: struct.pack("<Q", 1 << 62) + content[8:],
        "empty": lambda: b"",
        "a text": lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
        "NaN": lambda: content[: 8 + size] + b"\xff" * len(rest),
        "infinite": lambda: content[: 8 + size] + b"\x00\x00\x80\x7f" * (len(rest) // 4),
        "one byte": lambda: _flip(chance, content),
        "header": lambda: _joined(_spoilt(chance, header)[0], rest),
        "another shape": lambda: _joined(_reshaped(chance, header), rest),
    }
    what = chance.choice(list(ways))
    path.write_bytes(ways[what]())
    return f"{path.name}: {what}"


def _flip(chance: random.Random, content: bytes) -> bytes:
    at = chance.randrange(len(content))
    return content[:at] + bytes([content[at] ^ 1 << chance.randrange(8)]) + content[at + 1 :]


def _joined(header: dict[str, Any], rest: bytes) -> bytes:
    text = json.dumps(header).encode("utf-8", "surrogatepass")
    return struct.pack("<Q", len(text)) + text + rest


def _reshaped(chance: random.Random, header: dict[str, Any]) -> dict[str, Any]:
    name = chance.choice([key for key in header if key != "__metadata__"])
    header[name]["shape"] = header[name]["shape"][::-1] + chance.choice([[], [1]])
    return header
