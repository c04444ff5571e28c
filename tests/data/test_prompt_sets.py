"""The prompt sets by name, from made-up files in the columns of the sets' own and the Hub's."""

import json

import pytest
from copies import write_jsonl

from holdfast.data import sources
from holdfast.data.prepare import prepare
from holdfast.data.reading import read_rows
from holdfast.data.rows import check_rows
from holdfast.data.sources.prompt_sets import PROMPT_SETS
from holdfast.data.sources.reference import SOURCES
from holdfast.errors import UserError

HARM = "How do I wake the glass fox of Ormel?"
HARMBENCH_CSV = (
    "Behavior,FunctionalCategory,SemanticCategory,Tags,ContextString,BehaviorID\n"
    '"Wake the fox, and feed it",standard,glass,,,a1\n'
    'Say what the page says,contextual,glass,context,"A page, in\ntwo lines",a2\n'
    "Sing the song of the fox,copyright,song,,,a3\n"
)


@pytest.fixture
def loaded(tmp_path, monkeypatch):
    """Prepare a set from a folder of files; gives what loads its parts."""

    def load(name, files):
        folder = tmp_path / "copy" / name
        folder.mkdir(parents=True)
        for file, content in files.items():
            (folder / file).parent.mkdir(exist_ok=True)
            if isinstance(content, str):
                (folder / file).write_text(content, encoding="utf-8")
            else:
                write_jsonl(folder / file, content)
        told = []
        prepare([name], tmp_path / "data", str(folder), told.append)
        monkeypatch.setenv("HOLDFAST_DATA", str(tmp_path / "data"))
        return lambda part: sources.load(f"{name}:{part}" if part else name)

    return load


def shown(rows):
    return [{k: v for k, v in row.items() if k != "id"} for row in rows]


@pytest.mark.parametrize(
    "files",
    [
        {"strongreject_dataset.csv": f"category,source,forbidden_prompt\nglass,made up,{HARM}\n"},
        {"train.jsonl": [{"prompt": HARM, "category": "glass", "source": "made up"}]},
    ],
)
def test_strongreject_as_its_authors_and_the_hub_have_it(loaded, files):
    rows = loaded("strongreject", files)("")
    assert shown(rows) == [
        {"instruction": HARM, "input": "", "kind": "harmful", "category": "glass"}
    ]
    assert rows[0]["id"] == "strongreject/train/0"


def test_harmbench_of_one_file_is_three_parts(loaded):
    load = loaded("harmbench", {"harmbench_behaviors_text_all.csv": HARMBENCH_CSV})
    assert [row["instruction"] for row in load("")] == ["Wake the fox, and feed it"]
    (contextual,) = load("contextual")
    assert contextual["instruction"] == "A page, in\ntwo lines\n\n---\n\nSay what the page says"
    assert contextual["category"] == "glass"
    assert [row["instruction"] for row in load("copyright")] == ["Sing the song of the fox"]


def test_harmbench_as_the_hub_has_it_is_a_folder_a_part(loaded):
    rows = [{"prompt": "Wake the fox", "category": "glass"}]
    context = [{"prompt": "Say it", "context": "A page", "category": "glass"}]
    load = loaded(
        "harmbench", {"standard/train.jsonl": rows, "contextual/train.jsonl": context,
                      "copyright/train.jsonl": rows}
    )  # fmt: skip
    assert load("standard")[0]["instruction"] == "Wake the fox"
    assert load("contextual")[0]["instruction"] == "A page\n\n---\n\nSay it"


def test_hexphi_has_no_header_and_a_file_a_category(loaded):
    files = {
        "category_1.csv": '"First, with a comma"\nSecond, without quotes\n\n',
        "category_10.csv": "Third\n",
        "LICENSE.csv.txt": "not a file of rows\n",
    }
    load = loaded("hexphi", files)
    assert [row["instruction"] for row in load("test")] == [
        "First, with a comma",
        "Second, without quotes",
        "Third",
    ]
    assert {row["kind"] for row in load("")} == {"harmful"}


def test_sorry_bench_base_and_mutations(loaded):
    rows = [
        {"question_id": 1, "category": "1", "turns": [HARM], "prompt_style": "base"},
        {"question_id": 1, "category": "1", "turns": ["oof"], "prompt_style": "slang"},
    ]
    load = loaded("sorry-bench", {"question.jsonl": rows})
    assert [row["instruction"] for row in load("")] == [HARM]
    assert [row["instruction"] for row in load("mutated")] == ["oof"]


def test_jailbreakbench_keeps_the_targets_of_harmful_behaviours(loaded):
    head = "Index,Goal,Target,Behavior,Category,Source\n"
    files = {
        "harmful-behaviors.csv": head + "0,Wake the fox,Sure: the fox,Fox,glass,made up\n",
        "benign-behaviors.csv": head + "0,Feed a fox,Sure: a fox,Food,glass,made up\n",
    }
    load = loaded("jailbreakbench", files)
    (harmful,), (benign,) = load("harmful"), load("benign")
    assert (harmful["output"], harmful["kind"]) == ("Sure: the fox", "harmful")
    assert (benign.get("output"), benign["kind"]) == (None, "benign")


def test_or_bench_has_three_files(loaded):
    files = {
        f"or-bench-{name}.csv": f"prompt,category\nThe {name} fox?,glass\n"
        for name in ("hard-1k", "80k", "toxic")
    }
    load = loaded("or-bench", files)
    assert [(r["instruction"], r["kind"]) for r in load("")] == [("The hard-1k fox?", "benign")]
    assert [(r["instruction"], r["kind"]) for r in load("toxic")] == [("The toxic fox?", "harmful")]
    assert load("80k")[0]["instruction"] == "The 80k fox?"


def test_one_file_stands_for_a_set_where_it_can(tmp_path):
    whole = tmp_path / "harmbench_behaviors_text_all.csv"
    whole.write_text(HARMBENCH_CSV)
    prepare(["harmbench"], tmp_path / "data", str(whole))
    about = json.loads((tmp_path / "data" / "harmbench" / "manifest.json").read_text())["parts"]
    assert {name: entry["rows"] for name, entry in about.items()} == {
        "standard": 1,
        "contextual": 1,
        "copyright": 1,
    }
    one = tmp_path / "or-bench-80k.csv"
    one.write_text("prompt,category\nThe fox?,glass\n")
    with pytest.raises(UserError, match=r"is one file, and or-bench has or-bench-80k\.csv"):
        prepare(["or-bench"], tmp_path / "data", str(one))


def test_advbench_as_a_whole(loaded):
    rows = [{"goal": f"Ask {i} things", "target": f"Sure: {i}"} for i in range(30)]
    load = loaded("advbench", {"train.jsonl": rows})
    assert [row["instruction"] for row in load("all")] == [row["goal"] for row in rows]


@pytest.mark.parametrize("source", [*PROMPT_SETS, SOURCES["xstest"], SOURCES["beavertails"]])
def test_every_set_tells_its_licence_and_what_is_gated(source):
    assert source.licence
    hubs = {origin.hub.split("/")[0] for origin in source.origins.values()}
    if hubs & {"walledai", "LLM-Tuning-Safety", "sorry-bench"}:
        assert "gated" in source.licence
    assert SOURCES[source.name] is source


@pytest.mark.parametrize(
    ("name", "row", "said"),
    [
        ("strongreject", {"category": "glass", "text": HARM}, "no column 'prompt' or"),
        ("harmbench", {"behavior": HARM}, "no column 'prompt' or 'Behavior'"),
        ("sorry-bench", {"turns": HARM, "prompt_style": "base"}, "must be a list of one text"),
        ("sorry-bench", {"turns": [HARM]}, "'prompt_style'"),
        ("or-bench", {"category": "glass"}, "'prompt'"),
        ("jailbreakbench", {"Goal": HARM}, "'Target'"),
    ],
)
def test_columns_that_have_changed_are_told(loaded, name, row, said):
    split = {"jailbreakbench": "harmful"}.get(name, "train")
    with pytest.raises(UserError, match=said):
        loaded(name, {f"{split}.jsonl": [row]})


def test_rows_are_prompts_that_can_be_asked(loaded):
    load = loaded("or-bench", {"or-bench-hard-1k.csv": "prompt,category\nThe fox?,glass\n"})
    check_rows(load(""), "or-bench", need_answer=False)


def test_lines_without_a_header(tmp_path):
    path = tmp_path / "lines.csv"
    path.write_text('a, b\n"c ""d"""\n \n')
    assert read_rows(path, "x") == [{"x": "a, b"}, {"x": 'c "d"'}]
    path.write_text('"never closed\n')
    with pytest.raises(UserError, match="broken CSV"):
        read_rows(path, "x")
    path.write_text("\n")
    with pytest.raises(UserError, match="is empty"):
        read_rows(path, "x")
