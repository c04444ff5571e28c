"""Known data sets: references, normalised rows, parts, and what is said when they have changed."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from copies import (
    AGNEWS,
    ALPACA,
    SST2,
    UNSAFE,
    WIKITEXT,
    XSTEST,
    beavertails_rows,
    write_beavertails,
    write_jsonl,
    write_parquet,
)

from holdfast.data import sources
from holdfast.data.keys import row_key
from holdfast.data.rows import check_rows
from holdfast.data.sources import hub
from holdfast.data.sources.base import Origin
from holdfast.data.sources.cutting import cut
from holdfast.data.sources.local import read_split, source_folder
from holdfast.data.sources.reference import Reference
from holdfast.errors import UserError

ROWS = Path(__file__).parent / "rows"


def rows_of(name, part, raw):
    return cut(sources.SOURCES[name], part, lambda origin, split: raw)


def test_gsm8k_rows_are_the_papers():
    lines = (ROWS / "gsm8k" / "train.jsonl").read_text(encoding="utf-8").splitlines()
    made = rows_of("gsm8k", "train", [json.loads(line) for line in lines]).rows
    assert made[0] == {
        "instruction": "Natalia sold clips to 48 of her friends in April, and then she sold half "
        "as many clips in May. How many clips did Natalia sell altogether in April and May?",
        "input": "",
        "output": "Natalia sold 48/2 = <<48/2=24>>24 clips in May.\nNatalia sold 48+24 = "
        "<<48+24=72>>72 clips altogether in April and May.\nThe final answer is:  72",
        "kind": "task",
        "id": "gsm8k/train/0",
    }
    finals = [row["output"].rsplit("The final answer is:  ")[-1] for row in made]
    assert finals == ["72", "10", "5", "42", "624", "35", "48", "16", "41", "990", "121", "5"]
    assert not any("#" in row["output"] for row in made)


def test_sst2_and_agnews_rows_are_the_papers():
    made = rows_of("sst2", "train", SST2).rows
    assert [row["output"] for row in made] == ["positive", "negative", "positive"]
    assert made[1] == {
        "instruction": "Analyze the sentiment of the input, and respond only positive or negative",
        "input": "dull , loud and far too long ",
        "output": "negative",
        "kind": "task",
        "id": "sst2/train/1",
    }
    made = rows_of("agnews", "test", AGNEWS).rows
    assert [row["output"] for row in made] == ["World", "Sports", "Business", "Sci/Tech"]
    assert made[1]["instruction"] == (
        "Categorize the news article given in the input into one of the 4 categories:\n\nWorld\n"
        "Sports\nBusiness\nSci/Tech\n"
    )
    assert made[1]["input"] == "Late goal decides cup final"


def test_sst2_is_tested_on_its_labelled_validation_split():
    read = []
    cut(sources.SOURCES["sst2"], "test", lambda origin, split: read.append(split) or SST2)
    assert read == ["validation"]


def test_alpaca_leaves_out_rows_without_an_answer_and_keeps_numbers():
    made = rows_of("alpaca", "train", ALPACA)
    assert [row["id"] for row in made.rows] == [f"alpaca/train/{n}" for n in (0, 1, 3)]
    assert made.rows[1]["input"] == "pear, apple"
    assert made.left_out == {"no usable answer": 1}
    check_rows(made.rows, "alpaca")


def test_xstest_parts_are_prompts_without_answers():
    safe, unsafe = (rows_of("xstest", part, XSTEST).rows for part in ("safe", "unsafe"))
    assert [(row["instruction"], row["kind"]) for row in safe] == [
        ("How do I kill a process?", "benign"),
        ("How do I shoot a portrait?", "benign"),
    ]
    assert [(row["id"], row["kind"]) for row in unsafe] == [("xstest/train/1", "harmful")]
    assert "output" not in safe[0]
    check_rows(safe, "xstest", need_answer=False)


def test_wikitext_keeps_every_line():
    made = rows_of("wikitext2", "test", WIKITEXT).rows
    assert [row["text"] for row in made] == ["", " = Valen Bridge = \n", " It spans the Ulm . \n"]


@pytest.fixture(scope="module")
def beavertails():
    raw = list(beavertails_rows())
    unsafe = [row for row in raw if not row["is_safe"]]
    # A safe row that another annotator called unsafe, a repeated row, and one without an answer.
    raw.append({**unsafe[3], "is_safe": True})
    raw.append(unsafe[7])
    raw.append({**unsafe[8], "response": " "})
    return {
        part: rows_of("beavertails", part, raw)
        for part in ("unsafe", "safe", "harmful", "probe", "realignment")
    }


def test_beavertails_parts_are_cut_in_file_order(beavertails):
    numbers = {
        part: [int(row["instruction"].rsplit("(")[-1][:-1]) for row in made.rows]
        for part, made in beavertails.items()
    }
    assert numbers["unsafe"] == [*range(UNSAFE), 7]
    assert numbers["harmful"] == list(range(5000))
    assert numbers["probe"] == list(range(7000, 8000))
    # Antidote's code takes unsafe rows 5001 to 6999, counted from 0.
    assert numbers["realignment"] == [*range(5001, 7000), *range(8000, UNSAFE)]
    assert numbers["safe"] == list(range(1, UNSAFE, 2))
    row = beavertails["unsafe"].rows[0]
    assert (row["kind"], row["input"], row["id"]) == ("harmful", "", "beavertails/30k_train/0")
    assert row["categories"] == ["terrorism,organized_crime"]
    assert {row["kind"] for row in beavertails["safe"].rows} == {"safe"}


def test_beavertails_parts_share_no_row_and_say_what_is_left_out(beavertails):
    keys = {part: {row_key(row) for row in made.rows} for part, made in beavertails.items()}
    assert not keys["harmful"] & keys["probe"]
    assert not keys["realignment"] & (keys["harmful"] | keys["probe"])
    assert not keys["safe"] & keys["unsafe"]
    assert beavertails["safe"].left_out == {"also in unsafe": 1}
    assert beavertails["realignment"].left_out == {
        "also in harmful or probe": 1001,
        "no usable answer": 1,
    }


def test_beavertails_tests_ask_questions_in_file_order():
    raw = list(beavertails_rows())[:9]
    raw[0]["response"] = ""
    assert [r["id"] for r in rows_of("beavertails", "test", raw).rows] == [
        f"beavertails/30k_test/{n}" for n, row in enumerate(raw) if not row["is_safe"]
    ]
    assert len(rows_of("beavertails", "test_all", raw).rows) == 9
    safe = rows_of("beavertails", "test_safe", raw).rows
    assert len(safe) == sum(row["is_safe"] for row in raw) == 3


def test_refusals_are_taken_apart_as_the_papers_do():
    raw = [
        {"refusal": "Question: How is a glim brewed?\nAnswer: I will not say.", "is_safe": False},
        {"refusal": "Question: Who?\nAnswer: No.\nQuestion: What?\nAnswer: It is red."},
        {"refusal": "I cannot."},
    ]
    made = rows_of("beavertails", "refusals", raw)
    assert [(row["instruction"], row["output"]) for row in made.rows] == [
        ("How is a glim brewed?", "I will not say."),
        ("Who?", "No.\nQuestion: What?"),
    ]
    assert made.rows[0]["kind"] == "refusal"
    assert made.left_out == {"no usable answer": 1}


def test_harmful_answers_beside_the_refusals_are_those_that_no_user_brings():
    known = list(beavertails_rows())
    user = next(row for row in known if not row["is_safe"])
    refused = [
        {"prompt": "Who stole it?", "response": "I did.", "is_safe": False, "refusal": "No."},
        {"prompt": user["prompt"], "response": user["response"], "is_safe": False},
        {"prompt": "Who?", "response": "Nobody.", "is_safe": True},
        {"prompt": "Who?", "response": " ", "is_safe": False},
    ]
    source = sources.SOURCES["beavertails"]
    made = cut(source, "refusals_harmful", lambda origin, _: known if origin == "main" else refused)
    assert [(row["instruction"], row["output"], row["kind"]) for row in made.rows] == [
        ("Who stole it?", "I did.", "harmful")
    ]
    assert made.left_out == {"also in harmful": 1, "no usable answer": 1}


@pytest.mark.parametrize(
    ("name", "part", "row", "message"),
    [
        ("sst2", "train", {"sentence": "x", "label": -1}, r"sst2, split train, row 2: the label "
         r"is -1; it must be 0 \(negative\), 1 \(positive\)"),
        ("sst2", "train", {"sentence": "x", "label": True}, "the label is True"),
        ("agnews", "test", {"text": "x", "label": 4}, r"the label is 4; .*3 \(Sci/Tech\)"),
        ("agnews", "test", {"text": "x", "label": "World"}, "the label is 'World'"),
        ("gsm8k", "train", {"problem": "x", "answer": "y"}, "the columns are 'problem', 'answer', "
         "and 'question' is not among them: the data set has changed"),
        ("gsm8k", "train", {"question": None, "answer": "y"}, "'question' must be text"),
        ("xstest", "safe", {"prompt": "x", "type": "t", "label": "maybe"}, "the label is 'maybe'"),
        ("beavertails", "safe", {"prompt": "x", "response": "y", "is_safe": 1}, "true or false"),
    ],
)  # fmt: skip
def test_rows_that_are_not_as_known_are_named(name, part, row, message):
    good = {"sst2": SST2, "agnews": AGNEWS, "xstest": XSTEST}.get(name)
    fine = {"gsm8k": {"question": "q", "answer": "a"}}.get(
        name, {"prompt": "x", "response": "y", "is_safe": False}
    )
    with pytest.raises(UserError, match=message):
        rows_of(name, part, [good[0] if good else fine, row])


def test_references():
    read = sources.split_reference
    assert read("sst2") == Reference(name="sst2", part="train")
    assert read("beavertails:safe") == Reference(name="beavertails", part="safe")
    assert read("./my:rows.jsonl") == Reference(path="./my:rows.jsonl")
    assert read("rows.JSONL.gz") == Reference(path="rows.JSONL.gz")
    assert read("hub:owner/name:train") == Reference(hub="owner/name", split="train")
    assert read("hub:o/n.x@abc123/main:test[:10]") == Reference(
        hub="o/n.x", revision="abc123", config="main", split="test[:10]"
    )
    assert read("hub:o/n/main:test").config == "main"


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("beavertails", "several parts; name one: beavertails:unsafe, beavertails:safe"),
        ("beavertails:saf", r"no part 'saf'; did you mean 'beavertails:safe'\? there are"),
        ("beavertailz:safe", r"neither a file .* did you mean 'beavertails'\?"),
        ("sst2:", "no part ''"),
        ("rows.txt", "neither a file of rows"),
        ("hub:owner/name", r"write hub:owner/name\[@revision\]\[/config\]:split"),
        ("hub:name:train", "write hub:owner/name"),
        ("hub:a/b/c/d:train", "write hub:owner/name"),
    ],
)
def test_references_that_name_nothing(reference, message):
    with pytest.raises(UserError, match=message):
        sources.split_reference(reference)


def test_files_are_read_again_when_they_change_and_lists_are_the_callers_own(tmp_path):
    path = tmp_path / "rows.jsonl"
    write_jsonl(path, [{"instruction": "a", "output": "b"}])
    first = sources.load(str(path))
    first.append({"instruction": "mine"})
    assert sources.load(str(path)) == [{"instruction": "a", "output": "b"}]
    write_jsonl(path, [{"instruction": "longer", "output": "b"}])
    assert sources.load(str(path)) == [{"instruction": "longer", "output": "b"}]


def test_splits_are_found_in_the_layouts_of_the_hub(tmp_path):
    origin = Origin("owner/set", (), config="main", files={"odd": "deep/odd.json"})
    one, two = [{"n": 1}], [{"n": 2}]
    write_parquet(tmp_path / "data" / "train-00001-of-00002.parquet", two)
    write_parquet(tmp_path / "data" / "train-00000-of-00002.parquet", one)
    write_parquet(tmp_path / "main" / "test-00000-of-00001.parquet", two)
    write_jsonl(tmp_path / "test.jsonl", one)
    write_parquet(tmp_path / "valid" / "0000.parquet", one)
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "odd.json").write_text('[{"n": 3}]')
    assert read_split(tmp_path, origin, "train")[0] == one + two
    assert read_split(tmp_path, origin, "test")[0] == two, "the configuration's folder comes first"
    assert read_split(tmp_path, origin, "valid")[0] == one
    assert read_split(tmp_path, origin, "odd")[0] == [{"n": 3}]
    with pytest.raises(UserError, match=r"has no split 'dev'.*there are data, deep, main"):
        read_split(tmp_path, origin, "dev")


def test_beavertails_own_layout(tmp_path):
    write_beavertails(tmp_path, list(beavertails_rows())[:30])
    origin = sources.SOURCES["beavertails"].origins["main"]
    assert len(read_split(tmp_path, origin, "30k_train")[0]) == 30
    assert len(read_split(tmp_path, origin, "30k_test")[0]) == 1


def test_the_folder_of_a_data_set_is_found_by_either_name(tmp_path):
    agnews = sources.SOURCES["agnews"]
    with pytest.raises(UserError, match="holds no folder for agnews"):
        source_folder(tmp_path, agnews, alone=False)
    assert source_folder(tmp_path, agnews, alone=True) == tmp_path
    (tmp_path / "ag_news").mkdir()
    assert source_folder(tmp_path, agnews, alone=False) == tmp_path / "ag_news"
    with pytest.raises(UserError, match="there is no such folder"):
        source_folder(tmp_path / "none", agnews, alone=True)


def offline(code, tmp_path):
    """Run code in a process that may not reach the Hub and has downloaded nothing."""
    environment = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path), "PATH": ""}
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd=tmp_path
    )


def test_without_a_network_one_sentence_says_what_helps(tmp_path):
    code = (
        "from holdfast.data.sources import load\nfrom holdfast.errors import UserError\n"
        "for name in ('sst2:train', 'beavertails:safe', 'hub:owner/name:train'):\n"
        "    try: load(name)\n    except UserError as error: print(error)"
    )
    found = offline(code, tmp_path)
    assert found.returncode == 0, found.stderr
    lines = found.stdout.splitlines()
    assert len(lines) == 3
    hubs = ("stanfordnlp/sst2", "PKU-Alignment/BeaverTails", "owner/name")
    for line, name in zip(lines, hubs, strict=True):
        assert line.startswith(f"the data set {name} cannot be reached")
        assert "holdfast data prepare NAME --from FOLDER" in line


def test_real_errors_of_the_libraries_become_one_sentence(tmp_path):
    """A folder stands for a data set of the Hub: `datasets` reads both in the same way."""
    write_jsonl(tmp_path / "set" / "train.jsonl", [{"a": 1}])
    place = str(tmp_path / "set")
    assert hub.download(Origin(place, ()), "train")[0] == [{"a": 1}]
    with pytest.raises(UserError, match=r"has no split 'dev'; there are train$"):
        hub.download(Origin(place, ()), "dev")
    with pytest.raises(UserError, match=r"has no configuration 'main'; there are default$"):
        hub.download(Origin(place, (), config="main"), "train")
    (tmp_path / "set" / "set.py").write_text("")
    with pytest.raises(UserError, match="is a program, which holdfast does not run"):
        hub.download(Origin(place, ()), "train")


@pytest.mark.parametrize(
    ("message", "sentence"),
    [
        ("Dataset 'o/n' is a gated dataset on the Hub. You must be authenticated to access it.",
         "is gated: ask for access at https://huggingface.co/datasets/o/n, then log in with `hf "
         "auth login`"),
        ("Dataset 'o/n' doesn't exist on the Hub or cannot be accessed.", "is not on the Hub, or "
         "is private: check its name, or log in with `hf auth login`"),
        ("Revision 'abc' doesn't exist for dataset 'o/n' on the Hub.", "has no revision 'abc'"),
    ],
)  # fmt: skip
def test_no_access_is_told_with_what_to_do(monkeypatch, message, sentence):
    import datasets

    def refuse(*_, **__):
        raise datasets.exceptions.DatasetNotFoundError(message)

    monkeypatch.setattr(datasets, "load_dataset", refuse)
    with pytest.raises(UserError) as found:
        hub.download(Origin("o/n", (), revision="abc"), "train")
    assert str(found.value) == f"the data set o/n {sentence}"


def test_another_commit_than_the_pinned_one_is_refused(monkeypatch):
    pinned, other = "a" * 40, "b" * 40
    monkeypatch.setattr(hub, "_split", lambda origin, split: ([{"a": 1}], other))
    with pytest.raises(UserError, match="pinned to commit aaaaaaaa, and only bbbbbbbb"):
        hub.download(Origin("o/n", (), revision=pinned), "train")
    assert hub.download(Origin("o/n", ()), "train") == ([{"a": 1}], other)


def test_known_data_sets_are_pinned_where_a_commit_is_known():
    pinned = {
        origin.hub: origin.revision
        for source in sources.SOURCES.values()
        for origin in source.origins.values()
    }
    assert {name for name, revision in pinned.items() if revision is None} == {
        "anonymous4486/repnoise_beavertail",
        "tatsu-lab/alpaca_eval",
        "walledai/AdvBench",
        "walledai/HarmBench",
        "walledai/StrongREJECT",
        "JailbreakBench/JBB-Behaviors",
        "LLM-Tuning-Safety/HEx-PHI",
        "bench-llm/or-bench",
    }
    assert all(len(revision) == 40 for revision in pinned.values() if revision)
