"""Reading files of rows, and comparing rows."""

import csv
import hashlib
import json
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from holdfast.data import keys
from holdfast.data.reading import read_rows
from holdfast.errors import UserError

ROWS = [
    {"instruction": "Größe?", "output": "drei\u2028Ellen"},
    {"instruction": 'Wo, "hier"?', "output": "ja"},
]


def write(path, text, encoding="utf-8"):
    path.write_bytes(text.encode(encoding))
    return path


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_json_lines_and_json(tmp_path, encoding):
    lines = "\r\n\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS)
    assert read_rows(write(tmp_path / "a.jsonl", lines + "\n", encoding)) == ROWS
    text = json.dumps(ROWS, indent=1, ensure_ascii=False)
    assert read_rows(write(tmp_path / "a.JSON", text, encoding)) == ROWS


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_csv_keeps_text_lines_and_quotes(tmp_path, encoding):
    text = 'instruction,output\r\nGröße?,drei\u2028Ellen\r\n"Wo, ""hier""?","007\nja"\r\nx,\r\n'
    assert read_rows(write(tmp_path / "a.csv", text, encoding)) == [
        ROWS[0],
        {"instruction": 'Wo, "hier"?', "output": "007\nja"},
        {"instruction": "x", "output": ""},
    ]


def test_parquet_with_nested_messages(tmp_path):
    rows = [{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    assert read_rows(tmp_path / "a.parquet") == rows


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.jsonl", '{"a": 1}\n{"a": }\n', "a.jsonl, line 2: broken JSON"),
        ("a.jsonl", '{"a": 1}\n\n[1]\n', "a.jsonl, line 3: .*object.*list"),
        ("a.jsonl", " \n", "a.jsonl: the file is empty"),
        ("a.json", '[{"a": 1},\n{"a" 2}]', "a.json, line 2: broken JSON"),
        ("a.json", '{"a": 1}\n{"a": 2}\n', "must be named .jsonl"),
        ("a.json", '{"a": 1}', "a.json: must hold a JSON list"),
        ("a.json", '[{"a": 1}, 2]', "a.json, row 2: must be a JSON object"),
        ("a.json", "[]", "a.json: the file is empty"),
        ("a.csv", "a,b\n", "a.csv: the file is empty"),
        ("a.csv", "a,b\n1,2\n1\n", "a.csv, line 3: has fewer cells"),
        ("a.csv", "a,b\n1,2,3\n", "a.csv, line 2: has more cells"),
        ("a.csv", 'a,b\n1,"2\n', "a.csv, line 2: broken CSV"),
        ("a.parquet", "no parquet", "a.parquet: is no readable Parquet file"),
        ("a.txt", "a", "cannot read rows from a .txt file"),
        ("a", "a", "suffixless"),
    ],
)
def test_mistakes_in_files_are_named(tmp_path, name, text, message):
    with pytest.raises(UserError, match=message):
        read_rows(write(tmp_path / name, text))


def test_missing_files_folders_and_encodings(tmp_path):
    with pytest.raises(UserError, match=r"none.jsonl: there is no such file"):
        read_rows(tmp_path / "none.jsonl")
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(UserError, match=r"folder.json: is a folder; name the file of rows in it"):
        read_rows(tmp_path / "folder.json")
    with pytest.raises(UserError, match="byte 12 is not UTF-8"):
        read_rows(write(tmp_path / "a.jsonl", '{"place": "Köln"}', "latin-1"))


def test_fingerprint_is_sha256_of_canonical_json_in_order():
    canonical = (
        '{"instruction":"Größe?","output":"drei\u2028Ellen"}\n'
        '{"instruction":"Wo, \\"hier\\"?","output":"ja"}\n'
    )
    assert keys.fingerprint(ROWS) == hashlib.sha256(canonical.encode()).hexdigest()
    turned = [dict(reversed(row.items())) for row in ROWS]
    assert keys.fingerprint(turned) == keys.fingerprint(ROWS)
    assert keys.fingerprint(ROWS[::-1]) != keys.fingerprint(ROWS)
    assert keys.fingerprint([ROWS[0] | {"facts": 1}, ROWS[1]]) != keys.fingerprint(ROWS)


def test_row_key_sees_content_and_not_shape_or_extras():
    alpaca = {"instruction": "Wo?", "input": "in Ulmen", "output": "hier", "kind": "benign"}
    messages = {
        "messages": [
            {"role": "user", "content": "Wo?\n\nin Ulmen"},
            {"role": "assistant", "content": "hier\n"},
        ]
    }
    assert keys.row_key(alpaca) == keys.row_key(messages)
    other_answer = alpaca | {"output": "dort"}
    assert keys.row_key(other_answer) != keys.row_key(alpaca)
    assert keys.prompt_key(other_answer) == keys.prompt_key(alpaca) == keys.prompt_key(messages)
    assert keys.prompt_key(alpaca | {"input": ""}) != keys.prompt_key(alpaca)


def test_keys_of_tokenized_rows():
    row = {"input_ids": [5, 6, 7], "attention_mask": [1, 1, 1], "labels": [-100, 6, 7]}
    other = row | {"input_ids": [5, 6, 8], "labels": [-100, 6, 8]}
    assert keys.row_key(row) == keys.row_key(row | {"extra": 1}) != keys.row_key(other)
    assert keys.prompt_key(row) == keys.prompt_key(other)
    assert keys.prompt_key(row) != keys.prompt_key(row | {"input_ids": [4, 6, 7]})


def test_data_imports_nothing_heavy():
    code = (
        "import sys, holdfast.data.mixing, holdfast.settings\n"
        "from holdfast.settings import fields_of\n"
        "fields_of('holdfast.align.vaccine:VaccineConfig')\n"
        "print([m for m in ('torch', 'transformers', 'pyarrow', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_cell_of_a_megabyte_is_read(tmp_path):
    before = csv.field_size_limit()
    text = "word " * 220_000
    (tmp_path / "long.csv").write_text(f"instruction,output\nq,{text}\nr,s\n")
    rows = read_rows(tmp_path / "long.csv")
    assert rows == [{"instruction": "q", "output": text}, {"instruction": "r", "output": "s"}]
    assert csv.field_size_limit() == before
