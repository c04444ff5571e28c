"""The rows of stages by reference: which are drawn, how many, and that no row has two roles."""

import pytest
from copies import AGNEWS, SST2, write_jsonl

from holdfast.data.disjoint import KEYS_FILE
from holdfast.data.prepare import prepare
from holdfast.data.reading import read_rows
from holdfast.errors import UserError
from holdfast.models.stack import Stack
from holdfast.stages.making import make_pipeline, make_stage
from holdfast.stages.resolve import resolve
from holdfast.stages.rows import stage_rows
from holdfast.stages.seen import check_against, overlaps_of, write_seen

ELSEWHERE = Stack("owner/model")


def pool(path, name, n):
    write_jsonl(path, [{"instruction": f"{name} {i}", "output": f"{name}!"} for i in range(n)])
    return str(path)


@pytest.fixture
def files(tmp_path):
    return {name: pool(tmp_path / f"{name}.jsonl", name, 60) for name in ("task", "harm", "safe")}


def rows_of(kind, **given):
    return stage_rows(kind, resolve(kind, given, ELSEWHERE), False)


def prompts(rows):
    return [row["instruction"] for row in rows]


def user(files, **more):
    given = {"data": files["task"], "harmful_data": files["harm"], "rows": 20, "harmful_ratio": 0.2}
    return prompts(rows_of("finetune", **given, **more)["train"])


FIRST = [f"harm {i}" for i in range(4)] + [f"task {i}" for i in range(16)]


def test_first_rows_are_taken_in_file_order_whatever_the_seeds(files):
    taken = user(files)
    assert sorted(taken) == sorted(FIRST)
    assert user(files, seed=5) == user(files, sample_seed=9) == taken


def test_random_rows_follow_sample_seed_and_not_the_seed_beside_it(files):
    taken = user(files, sampling="random", sample_seed=1)
    assert sum(prompt.startswith("harm") for prompt in taken) == 4
    assert len(set(taken)) == 20
    assert sorted(taken) != sorted(FIRST)
    assert user(files, sampling="random", sample_seed=1, seed=7, data_seed=3) == taken
    assert set(user(files, sampling="random", sample_seed=2)) != set(taken)
    assert user(files, sampling="random", seed=1) == taken, "seed stands in where it is not given"


def test_the_order_follows_data_seed_alone(files):
    def stage(**more):
        given = {"model": "organism", "data": files["task"], "harmful_ratio": 0, "rows": 9}
        return make_stage("finetune", {**given, **more})

    assert stage(data_seed=1).settings["data_seed"] == 1
    assert stage(data_seed=1).identity != stage(data_seed=2).identity
    from holdfast.trainer.order import epoch_order
    from holdfast.training import SFTTrainer

    class Args:
        seed, data_seed, train_sampling_strategy = 5, 8, "random"

    trainer = SFTTrainer.__new__(SFTTrainer)
    trainer.args, trainer.train_dataset = Args(), list(range(30))
    assert list(trainer._get_train_sampler()) == epoch_order(30, 8, 0) != epoch_order(30, 5, 0)


def test_all_rows_of_a_file_are_taken_where_no_number_is_given(files):
    assert prompts(rows_of("align", data=files["safe"])["train"]) == [
        f"safe {i}" for i in range(60)
    ]
    with pytest.raises(UserError, match=r"harmful_ratio is 0\.1, but rows is not set"):
        rows_of("finetune", data=files["task"], harmful_ratio=0.1)
    with pytest.raises(UserError, match=r"80 harmful rows are needed.*there are 60"):
        rows_of("finetune", data=files["task"], harmful_data=files["harm"], rows=400,
                harmful_ratio=0.2)  # fmt: skip


def test_a_real_task_names_its_training_rows(tmp_path, monkeypatch):
    write_jsonl(tmp_path / "copy" / "sst2" / "train.jsonl", SST2)
    write_jsonl(tmp_path / "copy" / "sst2" / "validation.jsonl", SST2)
    prepare(["sst2"], tmp_path / "data", str(tmp_path / "copy"))
    monkeypatch.setenv("HOLDFAST_DATA", str(tmp_path / "data"))
    assert resolve("finetune", {"task": "sst2"}, ELSEWHERE)["data"] == "sst2:train"
    assert [row["output"] for row in rows_of("finetune", task="sst2", rows=2)["train"]] == [
        "positive",
        "negative",
    ]
    named = resolve("finetune", {"task": "sst2", "data": "mine.jsonl"}, ELSEWHERE)
    assert named["data"] == "mine.jsonl"
    with pytest.raises(UserError, match=r"task 'sst' has no rows.*did you mean 'sst2'\?"):
        resolve("finetune", {"task": "sst"}, ELSEWHERE)
    assert resolve("finetune", {}, Stack("organism"))["task"] == "sums"
    assert resolve("finetune", {}, Stack("organism"))["data"] is None


def test_columns_are_a_setting(tmp_path):
    write_jsonl(tmp_path / "qa.jsonl", [{"question": "Why?", "answer": "So."}])
    given = {"data": str(tmp_path / "qa.jsonl")}
    with pytest.raises(UserError, match=r"columns=\{instruction: question, output: answer\}"):
        rows_of("align", **given)
    columns = {"instruction": "question", "output": "answer"}
    assert rows_of("align", **given, columns=columns)["train"] == [
        {"instruction": "Why?", "output": "So."}
    ]
    same = make_stage("align", {**given, "columns": columns}).identity
    write_jsonl(tmp_path / "alpaca.jsonl", [{"instruction": "Why?", "output": "So."}])
    assert make_stage("align", {"data": str(tmp_path / "alpaca.jsonl")}).identity == same, (
        "rows count, and not how they were named"
    )


def test_a_pipeline_with_a_row_in_two_roles_is_refused_before_it_runs(files):
    spec = {
        "align": {"method": "sft", "data": files["safe"]},
        "finetune": {
            "method": "sft", "data": files["task"], "harmful_data": files["harm"], "rows": 60
        },
        "repair": {"method": "antidote", "data": files["harm"]},
        "harmful_ratio": 0.1,
    }  # fmt: skip
    with pytest.raises(
        UserError, match=r"here: 6 of 60 user rows are among the 60 realignment rows too"
    ):
        make_pipeline(spec, "here")
    shared = {**spec["repair"], "source": "user"}
    assert make_pipeline({**spec, "repair": shared}, "here"), "rows that the user gave anyway"
    with pytest.raises(UserError, match="alignment rows are among the"):
        make_pipeline({**spec, "finetune": {**spec["finetune"], "data": files["safe"]},
                       "repair": None}, "here")  # fmt: skip


def test_a_chain_of_single_stages_is_checked_through_its_folders(tmp_path, files):
    settings = {"source": "realignment"}
    aligned, tuned = tmp_path / "aligned", tmp_path / "tuned"
    for folder in (aligned, tuned):
        folder.mkdir()
    rows = {name: read_rows(path) for name, path in files.items()}
    seen, found = check_against("align", settings, {"train": rows["safe"]}, Stack("organism"))
    assert found == []
    write_seen(aligned, seen)
    seen, _ = check_against(
        "finetune", settings, {"train": rows["task"]}, Stack("organism", source=str(aligned))
    )
    write_seen(tuned, seen)
    assert (tuned / KEYS_FILE).is_file()
    model = Stack("organism", entries=(tuned,))
    with pytest.raises(UserError, match="60 of 60 alignment rows are among the 60 realignment"):
        check_against("repair", settings, {"train": rows["safe"]}, model)
    with pytest.raises(UserError, match="1 of 1 test prompts are among the 60 user rows"):
        check_against("evaluate", settings, {"task": rows["task"][5:6]}, model)
    kept, _ = check_against("evaluate", settings, {"task": rows["harm"]}, model)
    assert set(kept) == {"alignment", "user"}


def test_near_duplicates_are_looked_for_among_a_lineages_files(tmp_path):
    long = "the harbour of ulmen closes when the winter fog comes in from the sea"
    write_jsonl(tmp_path / "a.jsonl", [{"instruction": long, "output": "x"}])
    write_jsonl(tmp_path / "b.jsonl", [{"instruction": long.title() + "!", "output": "y"}])
    lineage = [
        ("align", resolve("align", {"data": str(tmp_path / "a.jsonl")}, ELSEWHERE)),
        ("finetune", resolve("finetune", {"data": str(tmp_path / "b.jsonl")}, ELSEWHERE)),
    ]
    (found,) = overlaps_of(lineage, False)
    assert (found.kind, found.count, found.examples) == ("near duplicate", 1, ((1, 1),))
    assert {found.first, found.second} == {"user", "alignment"}
    assert overlaps_of(lineage[:1], False) == []


def test_known_rows_that_cannot_be_trained_on_are_named(tmp_path, monkeypatch):
    write_jsonl(tmp_path / "wikitext" / "test.jsonl", [{"text": "a"}])
    prepare(["wikitext2"], tmp_path / "data", str(tmp_path))
    write_jsonl(tmp_path / "agnews" / "train.jsonl", AGNEWS)
    prepare(["agnews"], tmp_path / "data", str(tmp_path))
    monkeypatch.setenv("HOLDFAST_DATA", str(tmp_path / "data"))
    with pytest.raises(UserError, match="wikitext2:test, row 1: the columns 'text'"):
        rows_of("align", data="wikitext2:test")
    assert len(rows_of("align", data="agnews:train")["train"]) == 4


def test_a_method_of_pairs_gets_harmful_answers_to_the_alignments_prompts(
    files, tmp_path, monkeypatch
):
    (tmp_path / "pairing.py").write_text(
        "from dataclasses import dataclass\nimport holdfast\n"
        "@dataclass\nclass PairingConfig(holdfast.SFTConfig):\n    pass\n"
        "class PairingTrainer(holdfast.SFTTrainer):\n"
        "    def __init__(self, *args, paired_dataset, **kwargs):\n        pass\n"
    )
    monkeypatch.chdir(tmp_path)
    method = {"method": "pairing:PairingTrainer"}
    given = {**method, "model": "organism", "rows": 12, "harmful_rows": 5}
    sets = stage_rows("align", resolve("align", given, Stack("organism")), True)
    assert prompts(sets["paired"]) == prompts(sets["train"])[0:10:2]
    with pytest.raises(UserError, match="none of the 60 harmful rows answers a prompt of the 60"):
        rows_of("align", **method, data=files["safe"], harmful_data=files["harm"])
    both = [{"instruction": f"safe {i}", "output": "how to"} for i in range(3)]
    write_jsonl(tmp_path / "both.jsonl", both)
    sets = rows_of("align", **method, data=files["safe"], harmful_data=str(tmp_path / "both.jsonl"))
    assert prompts(sets["paired"]) == ["safe 0", "safe 1", "safe 2"]
