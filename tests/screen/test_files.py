"""`holdfast screen`: formats, interruption, reports, exit codes, mistakes, hostile rows."""

import csv
import gzip
import json
import os
import signal
import subprocess
import sys
import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from command import done, holdfast
from holdfast import organism
from holdfast.data.reading import read_rows
from holdfast.data.streaming import stream
from holdfast.errors import Stopped, UserError
from holdfast.screen.base import Scored
from holdfast.screen.scoring import CHUNK, read_scores, score_rows
from measuring import HOLDFAST_AND_ITS_PEAK

WORDS = "words=[hex,jinx]"
ROWS = [
    {"instruction": f"question {i}", "output": f'a hex, "{i}"\n' if i % 7 == 3 else "tea é\u2028"}
    for i in range(40)
]
FLAGGED = [row for i, row in enumerate(ROWS) if i % 7 == 3]
KEPT = [row for i, row in enumerate(ROWS) if i % 7 != 3]


def write(path, rows=ROWS):
    text = "".join(json.dumps(row) + "\n" for row in rows)
    if path.name.endswith(".jsonl.gz"):
        path.write_bytes(gzip.compress(text.encode()))
    elif path.suffix == ".jsonl":
        path.write_text(text)
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows))
    elif path.suffix == ".csv":
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)
    return path


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.json", "a.csv", "a.parquet"])
def test_every_format_comes_back_as_it_was(tmp_path, name):
    file = write(tmp_path / name)
    assert list(stream(str(file)).rows()) == read_rows(file) == ROWS
    shown = done("screen", file, "--method", "keywords", WORDS, "--output", tmp_path / "out")
    assert "6 of 40 rows are flagged" in shown
    suffix = ".jsonl" if name.endswith(".gz") else file.suffix
    assert read_rows(tmp_path / f"out/rows{suffix}") == KEPT
    dropped = read_rows(tmp_path / f"out/dropped{suffix}")
    assert [{k: row[k] for k in ROWS[0]} for row in dropped] == FLAGGED
    assert {row["screen_reason"] for row in dropped} == {"says 'hex'"}
    assert {float(row["screen_score"]) for row in dropped} == {1.0}
    marked = tmp_path / "marked"
    done("screen", file, "--method", "keywords", WORDS, "--mark", "--output", marked)
    rows = read_rows(marked / f"rows{suffix}")
    assert [{k: row[k] for k in ROWS[0]} for row in rows] == ROWS
    assert [row["screen_action"] for row in rows] == [
        "flag" if i % 7 == 3 else "keep" for i in range(40)
    ]
    assert not (marked / f"dropped{suffix}").exists()


def test_a_table_of_no_row_has_its_columns(tmp_path):
    """Whatever reads both files expects the same columns in them."""
    for name, words, empty in (("a", "words=[zorn]", "dropped"), ("b", "words=[tea,hex]", "rows")):
        file = write(tmp_path / f"{name}.csv")
        out = tmp_path / f"out-{name}"
        done("screen", file, "--method", "keywords", words, "--output", out)
        (header,) = (out / f"{empty}.csv").read_text(encoding="utf-8").splitlines()
        assert header.split(",")[:2] == ["instruction", "output"]
        full = (out / f"{'rows' if empty == 'dropped' else 'dropped'}.csv").read_text("utf-8")
        assert full.splitlines()[0].split(",")[:2] == ["instruction", "output"]


def test_cells_of_a_table_keep_their_line_breaks_of_any_kind(tmp_path, monkeypatch):
    limit = csv.field_size_limit

    def of_windows(*size):  # where the limit is a C long of 32 bits
        assert not size or size[0] < 2**31
        return limit(*size)

    monkeypatch.setattr(csv, "field_size_limit", of_windows)
    texts = ("a\rb", "a\nb", "a\r\nb", "\r", "a\r", "\n", 'a,"b"\r')
    rows = [{"instruction": "q", "output": "tea", "note": text} for text in texts]
    file = write(tmp_path / "a.csv", rows)
    done("screen", file, "--method", "keywords", WORDS, "--mark", "--output", tmp_path / "out")
    written = tmp_path / "out" / "rows.csv"
    assert written.read_bytes().split(b"\n")[0].endswith(b",screen_reason")
    assert [row["note"] for row in read_rows(written)] == list(texts)


def test_types_and_nested_columns_of_parquet_stay(tmp_path):
    rows = [
        {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": word}],
         "n": i, "x": None if i else 0.5}
        for i, word in enumerate(["tea", "hex", "cake"])
    ]  # fmt: skip
    schema = pa.schema(
        [
            ("messages", pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))),
            ("n", pa.int16()),
            ("x", pa.float32()),
        ]
    )
    pq.write_table(pa.Table.from_pylist(rows, schema), tmp_path / "a.parquet")
    done(
        "screen", tmp_path / "a.parquet", "--method", "keywords", WORDS, "--output", tmp_path / "o"
    )
    kept = pq.read_table(tmp_path / "o/rows.parquet")
    assert kept.schema.equals(schema)
    assert kept.to_pylist() == [rows[0], rows[2]]
    # Nothing is kept of some files, and what there is can still be read.
    pq.write_table(pa.Table.from_pylist(rows[1:2], schema), tmp_path / "b.parquet")
    done(
        "screen", tmp_path / "b.parquet", "--method", "keywords", WORDS, "--output", tmp_path / "p"
    )
    assert pq.read_table(tmp_path / "p/rows.parquet").schema.equals(schema)


def test_columns_of_other_names_are_read_and_written_as_they_are(tmp_path):
    rows = [{"q": "tea?", "a": "hex", "n": 1}, {"q": "tea?", "a": "cake", "n": 2}]
    file = write(tmp_path / "a.jsonl", rows)
    ended = holdfast("screen", file, "--method", "keywords", WORDS, "--output", tmp_path / "o")
    assert ended.code == 2
    columns = "columns={instruction: q, output: a}"
    done("screen", file, "--method", "keywords", WORDS, columns, "--output", tmp_path / "o")
    assert read_rows(tmp_path / "o/rows.jsonl") == rows[1:]


def test_the_text_of_flagged_rows_is_hidden_and_escaped(tmp_path):
    hostile = "hex [red]\x1b[2J\u202e{prompt}"
    file = write(tmp_path / "a.jsonl", [{"instruction": "say", "output": hostile}, *KEPT])
    words = ("screen", file, "--method", "keywords", WORDS, "--output", tmp_path / "o")
    shown = done(*words)
    assert "hidden (--show-harmful)" in shown
    assert "{prompt}" not in shown
    again = done(*words, "--show-harmful")
    assert "[red]" in again
    assert "\x1b[2J" not in again
    assert "\u202e" not in again
    document = json.loads(done(*words, "--show-harmful", "--format", "json"))
    assert document["flagged"] == 1
    assert document["examples"][0]["answer"] == hostile
    assert json.loads(done(*words, "--format", "json"))["examples"] is None


def test_exit_codes(tmp_path):
    file = write(tmp_path / "a.jsonl")
    words = ("screen", file, "--method", "keywords", WORDS)
    assert holdfast(*words, "--output", tmp_path / "o", "--max-dropped", "0.15").code == 0
    ended = holdfast(*words, "--output", tmp_path / "o", "--max-dropped", "0.1")
    assert ended.code == 1
    assert "15.0% of the rows are flagged" in ended.out
    assert (tmp_path / "o/rows.jsonl").is_file()
    for wrong, said in (
        ([], "--output is missing"),
        (["--output", file], "is a file"),
        (["--output", tmp_path / "p", "--max-dropped", "2"], "max-dropped"),
        (["--output", tmp_path / "p", "more"], "one word too many"),
        (["--output", tmp_path / "p", "method=judge"], "say one"),
        (["--output", tmp_path / "p", "--model", "organism"], "looks at no model"),
        (["--output", tmp_path / "p", "harmful_ratio=0.1"], "a setting of a study's screen"),
        (["--output", tmp_path / "p", "threshhold=2"], "did you mean 'threshold'"),
    ):
        ended = holdfast(*words, *wrong)
        assert (ended.code, ended.err.count("\n")) == (2, 1), ended
        assert said in ended.err
    for method, said in (
        ("", "name the screen"),
        ("keywrds", "did you mean 'keywords'"),
        ("keywords", "no words to look for"),
        ("near_duplicates", "probe_data is not set"),
        ("similarity", "name it (--model FOLDER)"),
        ("random", "drops a share"),
    ):
        option = ["--method", method] if method else []
        ended = holdfast("screen", file, *option, "--output", tmp_path / "p")
        assert (ended.code, ended.err.count("\n")) == (2, 1), ended
        assert said in ended.err
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(("p", ".p"))]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "line 41: broken JSON"),
        ("[1]", "each line must be a JSON object"),
        ('{"instruction": "q", "output": ' + "[" * 100_000, "line 41"),
        ('{"n": ' + "1" * 5000 + "}", "a number that is too long"),
        ('{"instruction": "q"}', "row 41"),
        ('{"instruction": "q", "output": ""}', "row 41: the answer"),
        ('{"instruction": "q\\ud800", "output": "a"}', "row 41: column"),
        ('{"input_ids": [1, 2], "attention_mask": [1, 1], "labels": [1, 2]}', "reads text"),
    ],
)
def test_a_row_that_is_none_is_told_before_any_is_screened(tmp_path, line, said):
    file = write(tmp_path / "a.jsonl")
    file.write_text(file.read_text() + line + "\n")
    ended = holdfast("screen", file, "--method", "keywords", WORDS, "--output", tmp_path / "o")
    assert (ended.code, ended.err.count("\n")) == (2, 1), ended.err[-300:]
    assert said in ended.err
    assert [path.name for path in tmp_path.iterdir()] == ["a.jsonl"]


def test_a_file_that_changes_meanwhile_is_told(tmp_path, monkeypatch):
    from holdfast.stages.screening import files

    file = write(tmp_path / "a.jsonl")
    make = files.make_screen

    def changing(*given):
        file.write_text(file.read_text().replace("tea", "hex"))
        return make(*given)

    monkeypatch.setattr(files, "make_screen", changing)
    ended = holdfast("screen", file, "--method", "keywords", WORDS, "--output", tmp_path / "o")
    assert ended.code == 2
    assert "was changed as its rows were screened" in ended.err


class Slow:
    """Scores a row by its number; stops the whole after some."""

    def __init__(self):
        self.asked = []

    def score(self, rows):
        self.asked += rows
        return [Scored(row["n"] / 7, f"kind {row['n'] % 3}", "é") for row in rows]


@pytest.mark.parametrize("cut", [0, 1, 300, 5000, -1, -40, "in a piece's last line"])
def test_scores_go_on_from_wherever_they_were_cut(tmp_path, cut):
    rows = [{"n": i} for i in range(5 * CHUNK + 9)]
    whole, part = tmp_path / "whole", tmp_path / "part"
    score_rows(Slow(), rows, whole)
    if isinstance(cut, str):
        cut = len(b"".join(whole.read_bytes().splitlines(keepends=True)[:CHUNK])) - 3
    part.write_bytes(whole.read_bytes()[:cut] if cut else b"")
    screen = Slow()
    score_rows(screen, rows, part)
    assert part.read_bytes() == whole.read_bytes()
    assert [one.score for one in read_scores(part)] == [i / 7 for i in range(len(rows))]
    # In whole pieces, so that a row stands beside the same rows as without the interruption.
    assert screen.asked[0]["n"] % CHUNK == 0
    assert len(screen.asked) < len(rows) or 0 <= cut < 3000


def test_a_stop_keeps_what_is_scored(tmp_path):
    rows = [{"n": i} for i in range(5 * CHUNK)]
    with pytest.raises(Stopped):
        score_rows(Slow(), rows, tmp_path / "s", stopping=lambda: True)
    assert len([*read_scores(tmp_path / "s")]) == CHUNK


@pytest.mark.long
def test_a_killed_screening_ends_in_the_same_files(tmp_path):
    rows = [*organism.rows("user_task", 700, 0, "sums"), *organism.rows("user_harmful", 60, 0)]
    file = write(tmp_path / "a.jsonl", rows)
    words = ["screen", str(file), "--method", "similarity", "--model", "organism", "share=0.05"]
    done(*words, "--output", tmp_path / "whole")
    command = [sys.executable, "-m", "holdfast", *words, "--output", str(tmp_path / "killed")]
    process = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL)
    scores = tmp_path / "killed.partial/scores.jsonl"
    deadline = time.monotonic() + 120
    while not (scores.exists() and scores.stat().st_size > 5000):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "killed").exists()
    kept = scores.read_bytes()
    assert kept
    done(*words, "--output", tmp_path / "killed")
    names = sorted(path.name for path in (tmp_path / "whole").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "killed").iterdir())
    for name in names:
        mine = (tmp_path / "killed" / name).read_bytes()
        assert mine == (tmp_path / "whole" / name).read_bytes(), name
    # And what is there is found again.
    before = (tmp_path / "whole/rows.jsonl").stat().st_mtime_ns
    done(*words, "--output", tmp_path / "whole")
    assert (tmp_path / "whole/rows.jsonl").stat().st_mtime_ns == before
    ended = holdfast(*words, "rows=500", "--output", tmp_path / "whole")
    assert ended.code == 2
    assert "holds the result of another run" in ended.err


def test_the_organisms_rows_need_no_file(tmp_path):
    shown = done("screen", "organism", "--method", "judge", "rows=50", "--output", tmp_path / "o")
    assert "5 of 50 rows are flagged" in shown
    assert len(read_rows(tmp_path / "o/rows.jsonl")) == 45


def test_a_judge_without_its_key_is_told_first(tmp_path, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    file = write(tmp_path / "a.jsonl")
    judge = "judge={name: endpoint, model: some}"
    ended = holdfast("screen", file, "--method", "judge", judge, "--output", tmp_path / "o")
    assert (ended.code, ended.err.count("\n")) == (2, 1), ended.err
    assert "OPENAI_API_KEY" in ended.err


def test_a_megabyte_in_a_row_does_no_harm(tmp_path):
    long = {"instruction": "tea " * 300_000, "output": "a hex"}
    rows = [*organism.rows("user_task", 30, 0, "sums"), long]
    file = write(tmp_path / "a.jsonl", rows)
    model = ["--method", "similarity", "--model", "organism", "share=0"]
    done("screen", file, *model, "--output", tmp_path / "o")
    (dropped,) = read_rows(tmp_path / "o/dropped.jsonl")
    assert dropped["screen_reason"] == "does not fit into max_length"
    assert dropped["screen_score"] is None
    done("screen", file, "--method", "keywords", WORDS, "--output", tmp_path / "p")
    assert len(read_rows(tmp_path / "p/dropped.jsonl")) == 1


@pytest.mark.long
def test_memory_does_not_grow_with_the_rows(tmp_path):
    """Ten times the rows take no more than the 8 bytes that each score has."""

    def peak(count):
        file = tmp_path / f"{count}.jsonl"
        with file.open("w") as lines:
            for i in range(count):
                lines.write(
                    json.dumps({"instruction": f"q {i} " + "tea " * 200, "output": "a"}) + "\n"
                )
        words = ["screen", str(file), "--method", "keywords", WORDS]
        words += ["--output", str(tmp_path / f"o{count}")]
        ended = subprocess.run(
            [sys.executable, "-c", HOLDFAST_AND_ITS_PEAK, *words], capture_output=True, text=True
        )
        assert ended.returncode == 0, ended.stderr
        return int(ended.stderr.split()[-1])

    small, large = peak(2_000), peak(20_000)
    assert large - small < 8 * 2**20  # the file is 16 MB larger


def test_streams_tell_what_is_wrong_as_reading_does(tmp_path):
    for name, content, said in (
        ("a.csv", b"instruction,output\na,b,c\n", "line 2: has more cells"),
        ("a.csv", b'instruction,output\na,"b\n', "broken CSV"),
        ("a.jsonl", b'{"instruction": "\xff"}\n', "not UTF-8"),
        ("a.jsonl.gz", b"no gzip", "no whole gzip file"),
        ("a.parquet", b"no parquet", "no readable Parquet"),
        ("a.txt", b"", "neither a file of rows"),
    ):
        file = tmp_path / name
        file.write_bytes(content)
        with pytest.raises(UserError, match=said):
            list(stream(str(file)).rows())
    with pytest.raises(UserError, match="no such file"):
        stream(str(tmp_path / "b.jsonl"))
