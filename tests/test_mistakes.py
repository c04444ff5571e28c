"""Whatever is wrong with a request and can be seen before the run is told before it.

Hundreds of requests that are wrong in one place each, by a seeded generator: each ends in one
sentence and exit code 2, imports no model and leaves nothing behind; with ``--plan`` as without.
"""

import ast
import dataclasses
import gzip
import importlib
import io
import json
import math
import os
import random
import sys
from pathlib import Path

import pytest
from transformers import TrainingArguments, dynamic_module_utils

import holdfast as package
from command import holdfast
from holdfast.errors import UserError
from holdfast.evaluate.judges import JUDGES
from holdfast.models.loading import load_merged
from holdfast.models.stack import resolve
from holdfast.models.tokenizers import load_tokenizer
from holdfast.registry import METHODS
from holdfast.settings import check_ranges, fields_of
from holdfast.settings.ranges import TRANSFORMERS, parsed
from holdfast.stages.folders import begin, checked_output
from holdfast.stages.settings import method_fields, stage_fields
from hub_folders import write_model

ROWS = [
    {"instruction": f"How do I mend thing {i}?", "output": f"With {i} nails."} for i in range(9)
]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A working folder with a tiny model and rows, right and wrong ones."""
    place = tmp_path_factory.mktemp("requests")
    write_model(place / "base")
    write_lines(place / "rows.jsonl", *ROWS)
    return place


@pytest.fixture
def here(made, monkeypatch):
    monkeypatch.chdir(made)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    return made


def write_lines(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def told(*words):
    """Run a command that is a mistake; gives its sentence. Nothing new is there."""
    before = set(Path().rglob("*"))
    ended = holdfast(*words)
    assert (ended.code, ended.out) == (2, ""), (words, ended)
    assert ended.err.startswith("holdfast: "), (words, ended)
    assert ended.err.count("\n") == 1, (words, ended)
    assert set(Path().rglob("*")) == before, words
    return ended.err


def outside(text, whole, random):
    """A number outside of a range, and near it."""
    steps = [1, 2, 7, 1000] if whole else [1, 0.5, 1e-3, 1e9]
    found = []
    for interval in parsed(text):
        for end, belongs, sign in (
            (interval.low, interval.with_low, -1),
            (interval.high, interval.with_high, 1),
        ):
            if math.isfinite(end):
                found += [end + sign * step for step in steps] + ([] if belongs else [end])
    found = [x for x in found if not any(one.holds(x) for one in parsed(text))]
    value = random.choice(found)
    return int(value) if whole else value


def ranged():
    """Every setting that has a range, once: its stage, a method that has it, name and field."""
    seen = set()
    for kind in ("align", "finetune", "repair", "evaluate"):
        for method in METHODS[kind] or [None]:
            fields = dict(stage_fields(kind))
            fields |= {f"lora.{name}": f for name, f in fields.pop("lora", {}).items()}
            fields |= method_fields(kind, method) if method else {}
            for name, field in fields.items():
                if field.range and (kind, name, field) not in seen:
                    seen.add((kind, name, field))
                    yield kind, method, name, field


def test_a_number_outside_of_its_range_is_told_by_the_command_and_by_the_plan_of_a_study(here):
    chance, seen = random.Random(9), set()
    for kind, method, name, field in ranged():
        value = outside(field.range, "int" in field.type, chance)
        own = [f"method={method}"] if method else []
        said = told(kind, "base", *own, f"{name}={value!r}", "--output", "out")
        assert said.startswith(f"holdfast: the command line: {name} is "), said
        assert "; it must be " in said
        seen.add((kind, name))
        stage = {"method": method} if method else {}
        study = {"model": "organism", "align": "sft", "finetune": "sft", kind: stage}
        Path("study.json").write_text(json.dumps(study))
        options = ["--plan"] if chance.random() < 0.7 else []
        words = ("study.json", f"{kind}.{name}={value!r}", *options, "--output", "out")
        assert f"{name} is " in told("run", *words)
        Path("study.json").unlink()
    assert len(seen) >= 90
    for kind, name in (
        ("align", "rho"), ("align", "learning_rate"), ("align", "lora.alpha"), ("finetune", "rows"),
        ("finetune", "user_steps"), ("finetune", "harmful_ratio"), ("repair", "dense_ratio"),
        ("evaluate", "limit"), ("align", "warmup_steps"), ("align", "sample_seed"),
    ):  # fmt: skip
        assert (kind, name) in seen


def test_a_vary_a_search_and_a_condition_are_looked_at_too(here):
    def when(task, then):
        return [{"if": {"task": task}, "then": then}]

    pipeline = {"model": "organism", "align": ["sft", "vaccine"], "finetune": "sft"}
    tasks = {"task": ["sums"]}
    search = {"tries": 2, "seeds": [7], "spaces": {"Vaccine": {"align.rho": [1, -2]}}}
    for more, message in (
        ({"vary": {"align.rho": [1, -1]}}, "align: rho is -1"),
        ({**tasks, "when": when("sums", {"align": {"rows": 0}})}, "rows is 0"),
        ({"search": search}, "rho is -2"),
        (
            {**tasks, "when": when("topic", {})},
            "when, entry 1: there is no pipeline whose task is 'topic'; the study has sums",
        ),
        ({"when": when("sums", {})}, "the study has no axis 'task'"),
        (
            {"vary": {"align.rho": [1]}, "exclude": [{"align.rho": 3}]},
            "there is no pipeline whose align.rho is 3; the study has 1",
        ),
        ({"slurm": {"time": 0}}, "slurm.time is 0; it must be 1 or more"),
    ):
        Path("study.json").write_text(json.dumps({**pipeline, **more}))
        plan = [] if "slurm" in more else ["--plan"]
        assert message in told("run", "study.json", *plan, "--output", "out")
        Path("study.json").unlink()


# Rows of a task that are none, by the file's name.
def bad_files(place):
    def lines(name, *rows):
        write_lines(place / name, *rows)
        return name

    def content(name, data):
        (place / name).write_bytes(data)
        return name

    (place / "folder.jsonl").mkdir(exist_ok=True)
    for name, target in (("dangling.jsonl", "nowhere"), ("loop.jsonl", "loop.jsonl")):
        if not (place / name).is_symlink():
            os.symlink(target, place / name)
    good = json.dumps(ROWS[0]).encode()
    return [
        "missing.jsonl", "folder.jsonl", "folder", "dangling.jsonl", "loop.jsonl", "rows.txt",
        "sst2:tests", "nobody:test", "hub:", ":",
        content("empty.jsonl", b""), content("blank.csv", b" \n\n"), content("none.json", b"[]"),
        content("latin.jsonl", '{"instruction": "a", "output": "ö"}'.encode("latin-1")),
        content("utf16.jsonl", '{"instruction": "a", "output": "ö"}'.encode("utf-16")),
        content("plain.jsonl.gz", good), content("cut.jsonl.gz", gzip.compress(good * 99)[:-9]),
        content("text.parquet", good), content("torn.jsonl", good[:-4]),
        content("list.jsonl", b"[1]"), content("one.json", good),
        content("cells.csv", b"instruction,output\na,b,c\n"),
        lines("columns.jsonl", {"question": "a", "answer": "b"}),
        lines("label.jsonl", {"sentence": "good", "label": 7}),
        lines("no-answer.jsonl", {"instruction": "a"}),
        lines("empty-answer.jsonl", {"instruction": "a", "output": " "}),
        lines("number.jsonl", {"instruction": "a", "output": 3}),
        lines("null.jsonl", {"instruction": None, "output": "b"}),
        lines("nested.jsonl", {"instruction": ["a"], "output": "b"}),
        lines("asked.jsonl", {"messages": [{"role": "user", "content": "a"}]}),
        lines("said.jsonl", {"messages": "a"}), lines("silent.jsonl", {"messages": []}),
        lines("late.jsonl", *ROWS, {"instruction": "a"}), lines("nothing.jsonl", {}),
        lines("ids.jsonl", {"input_ids": [1, 2], "attention_mask": [1, 1], "labels": [1, 2]}),
    ]  # fmt: skip


OWN = ["evaluate.judges=[keywords]", "evaluate.harmful_data=rows.jsonl"]
OWN += ["evaluate.benign_data=rows.jsonl"]


def test_rows_of_any_other_shape_are_told_by_the_plan(here):
    study = {"model": "base", "align": {"method": "sft", "data": "rows.jsonl"}}
    Path("study.json").write_text(json.dumps(study))
    tokenized = {"ids.jsonl"}  # which a training takes
    for name in bad_files(here):
        words = ("run", "study.json", *OWN, "--plan", "--output", "out")
        known = name.split(":")[-1]
        assert known in told(*words, f"evaluate.task_data={name}")
        assert known in told(*words, f"evaluate.task_data={name}", "evaluate.task=sst2")
        if name not in tokenized:
            assert known in told(*words, f"align.data={name}")
    for rows, task in (("rows.jsonl", "sst2"), ("rows.jsonl", "agnews"), ("number.jsonl", "gsm8k")):
        said = told(*words, f"evaluate.task_data={rows}", f"evaluate.task={task}")
        assert f"{rows}, row 1: " in said
    for name in ("study.json", *(p.name for p in here.glob("*.gz"))):
        Path(name).unlink()


def test_a_judge_that_cannot_be_asked_is_told_by_the_plan(here):
    Path("study.json").write_text(json.dumps({"model": "base", "align": {"data": "rows.jsonl"}}))
    words = ("run", "study.json", "align.method=sft", *OWN[1:], "--plan", "--output", "out")
    endpoint = "evaluate.judges=[{{name: endpoint, model: m, {}}}]"
    for own, message in (
        ("url: foo", "url must begin with http"),
        ("url: 'http://'", "and name a server"),
        ("url: 'ftp://x/v1'", "url must begin with http"),
        ("url: 'http://a b/v1'", "url must begin with http"),
        ("url: 'http://x:99999/v1'", "url must begin with http"),
        ("url: 'https://me:key@x/v1'", "url must hold no name, key"),
        ("timeout: 0", "timeout is 0; it must be above 0"),
        ("concurrency: 0", "concurrency is 0; it must be 1 or more"),
        ("request: {temperature: -1}", "request.temperature is -1; it must be from 0 to 2"),
        ("request: {messages: []}", "request cannot set messages"),
        ("limit_usd: 1", "limit_usd needs price_per_million_input"),
        ("timeout: 9", "needs a key for https://api.openai.com/v1"),
        ("prompt: none.txt", "none.txt cannot be read"),
    ):
        assert message in told(*words, endpoint.format(own))
    for judge, message in (
        ("wildguard=./none", "the judge wildguard: there is no model './none'"),
        ("wildguard=rows.jsonl", "the judge wildguard: rows.jsonl holds no model"),
        ("wildguard=.", "the judge wildguard: . holds no model"),
        ("{name: beaver-dam-7b, model: base, threshold: 1}", "threshold is 1"),
        ("{name: wildguard, batch_size: 0}", "batch_size is 0; it must be 1 or more"),
        ("wildgard", "did you mean 'wildguard'?"),
    ):
        assert message in told(*words, f"evaluate.judges=[{judge}]")
    for model in ("./none", "rows.jsonl", "no such", "base+./none", "a/b/c", "base+base"):
        assert model.split("+")[-1] in told(*words, f"model={model}", "evaluate.judges=[keywords]")
    Path("study.json").unlink()


@pytest.mark.parametrize("kind", ["align", "evaluate", "repair"])
def test_an_output_that_cannot_be_is_told_at_once(here, kind, tmp_path, monkeypatch):
    monkeypatch.setattr("holdfast.commands.stage.stage_of", None)  # before anything is read
    empty = tmp_path / "empty"
    empty.mkdir()
    (tmp_path / "file").write_text("mine")
    (tmp_path / "loop").symlink_to("loop")
    locked = tmp_path / "locked"
    locked.mkdir()
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != locked)
    for output, message in (
        (".", "is the folder that you are in, or one above it"),
        ("..", "is the folder that you are in"),
        ("/", "is the folder that you are in"),
        (here, "is the folder that you are in"),
        (tmp_path / "file", "is a file"),
        (tmp_path / "file" / "below" / "it", f"{tmp_path / 'file'} is a file"),
        (tmp_path / "loop", "leads nowhere"),
        (locked / "out", f"{locked} is not yours to write in"),
    ):
        assert message in told(kind, "base", "--output", output)
    monkeypatch.chdir(empty)
    assert "is the folder that you are in" in told(kind, "base", "--output", ".")


def test_a_link_stands_for_what_it_leads_to(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    (tmp_path / "new").symlink_to(tmp_path / "disk" / "new")
    assert checked_output(tmp_path / "link") == tmp_path / "disk"
    assert checked_output(tmp_path / "new") == tmp_path / "disk" / "new"
    assert checked_output(tmp_path / "plain") == tmp_path / "plain"


def test_a_runs_folder_that_cannot_be_is_told_by_the_plan_too(here, tmp_path):
    Path("study.json").write_text('{"model": "organism", "align": "sft"}')
    (tmp_path / "file").write_text("mine")
    for output, message in (
        (".", "holds something else"),
        (tmp_path / "file", "is a file"),
        (tmp_path / "file" / "below", "is a file"),
    ):
        for options in ([], ["--plan"]):
            assert message in told("run", "study.json", *options, "--output", output)
    Path("study.json").unlink()


def test_slurm_without_a_cluster_leaves_nothing(here, monkeypatch):
    Path("study.json").write_text('{"model": "organism", "align": "sft"}')
    monkeypatch.setenv("PATH", str(here))
    said = told("run", "study.json", "--launcher", "slurm", "--output", "out")
    assert "the launcher slurm needs" in said
    Path("study.json").unlink()


def test_what_another_run_left_is_put_aside_and_found_again(tmp_path):
    first = begin(tmp_path / "out", "a" * 64)
    (first / "answers.jsonl").write_text("an hour's")
    second = begin(tmp_path / "out", "b" * 64)
    assert second == first
    assert [path.name for path in second.iterdir()] == ["identity"]
    (second / "seconds").write_text("9")
    assert (begin(tmp_path / "out", "a" * 64) / "answers.jsonl").read_text() == "an hour's"
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "out.partial",
        f"out.partial-{'b' * 12}",
    ]


def test_a_folder_of_the_users_own_is_never_taken_for_a_working_folder(tmp_path):
    (tmp_path / "out.partial").mkdir()
    (tmp_path / "out.partial" / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="is something else: choose another output folder"):
        begin(tmp_path / "out", "a" * 64)
    assert (tmp_path / "out.partial" / "thesis.txt").read_text() == "mine"


def test_a_word_mends_what_a_file_says(here):
    Path("align.yaml").write_text("method: sft\nrows: 0\n")
    words = ("align", "--config", "align.yaml", "--output", "out")
    assert "align.yaml, line 2: rows is 0" in told(*words)
    assert "rows.jsonn" in told(*words, "rows=2", "data=rows.jsonn")  # the next mistake
    Path("align.yaml").unlink()


@pytest.mark.parametrize(
    "target",
    [
        *(
            config
            for kind in METHODS
            for config in (entry.config for entry in METHODS[kind].values())
        ),
        *dict.fromkeys(config for _, config in JUDGES.values()),
        "holdfast.engine.slurm:SlurmSettings",
        "holdfast.stages.settings:AlignStage",
        "holdfast.stages.settings:FinetuneStage",
        "holdfast.stages.settings:RepairStage",
        "holdfast.stages.settings:EvaluateStage",
        "holdfast.stages.settings:LoraSettings",
    ],
)
def test_ranges_are_read_from_the_source_as_python_sees_them(target):
    module, _, name = target.partition(":")
    config = getattr(importlib.import_module(module), name)
    found = fields_of(target)
    for field in dataclasses.fields(config):
        declared = field.metadata.get("range", "")
        if declared:
            assert found[field.name].range == declared
            assert parsed(declared)
            default = field.default
            if isinstance(default, int | float):
                assert any(one.holds(default) for one in parsed(declared))
    numbers = {
        name
        for name, field in found.items()
        if {"int", "float"} & set(field.type.split(" | ")) and name not in _UNBOUND
    }
    assert not {name for name in numbers if not found[name].range}, "a number without a range"


# Numbers of transformers for which any value has a meaning.
_UNBOUND = {"local_rank"}


def test_the_ranges_for_transformers_are_of_fields_that_it_has():
    there = {field.name: field for field in dataclasses.fields(TrainingArguments)}
    assert TRANSFORMERS.keys() <= there.keys()
    for name, declared in TRANSFORMERS.items():
        default = there[name].default
        if isinstance(default, int | float):
            assert any(one.holds(default) for one in parsed(declared)), name
    fields = fields_of("transformers.training_args:TrainingArguments")
    from transformers.trainer_utils import SaveStrategy, SchedulerType
    from transformers.training_args import OptimizerNames

    for name, enum in (
        ("optim", OptimizerNames),
        ("lr_scheduler_type", SchedulerType),
        ("save_strategy", SaveStrategy),
    ):
        assert list(fields[name].choices) == [member.value for member in enum]


def test_a_config_made_in_python_checks_itself():
    from holdfast import AntidoteConfig, LisaConfig, VaccineConfig

    for make in (
        lambda: LisaConfig("out", rho=-1),
        lambda: LisaConfig("out", user_steps=0),
        lambda: LisaConfig("out", proximal_warmup=1.5),
        lambda: VaccineConfig("out", max_length=0),
        lambda: AntidoteConfig(dense_ratio=0),
        lambda: AntidoteConfig(dense_ratio=True),
        lambda: AntidoteConfig(batch_size=0),
    ):
        with pytest.raises(UserError, match=r"^\w+ is \S+; it must be [^.]*\.?\d?[^.]*\.$"):
            make()
    check_ranges(LisaConfig("out", rho=0, alignment_steps=0))


# What has no way to run a folder's code: classes that are named, not looked up.
_RUN_NO_CODE = {"PeftConfig", "PeftModel", "GenerationConfig", "LlamaForCausalLM"}
_RUN_NO_CODE |= {"PreTrainedTokenizerFast"}
_LOADERS = ("from_pretrained", "from_config", "load_dataset")


def test_no_code_of_a_models_folder_is_ever_asked_for():
    """Where trust_remote_code is not said, transformers asks, and a "y" in a pipe is an answer."""
    calls = 0
    for path in Path(package.__file__).parent.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        if not any(name in text for name in _LOADERS):
            continue
        for node in ast.walk(ast.parse(text)):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            if node.func.attr not in _LOADERS:
                continue
            if ast.unparse(node.func.value).split(".")[-1] in _RUN_NO_CODE:
                continue
            if node.args and ast.unparse(node.args[0]) == "None":
                continue  # from weights in memory
            calls += 1
            said = {word.arg: ast.unparse(word.value) for word in node.keywords if word.arg}
            assert said.get("trust_remote_code") == "False", f"{path}, line {node.lineno}"
    assert calls >= 7


def test_a_model_with_code_of_its_own_is_refused_and_its_code_not_run(
    tmp_path, monkeypatch, capsys
):
    base = write_model(tmp_path / "base")
    config = json.loads((base / "config.json").read_text())
    config |= {"model_type": "mine", "auto_map": {
        "AutoConfig": "code.MineConfig", "AutoModelForCausalLM": "code.Mine"}}  # fmt: skip
    (base / "config.json").write_text(json.dumps(config))
    ran = tmp_path / "RAN"
    (base / "code.py").write_text(f"open({str(ran)!r}, 'w')\n")
    monkeypatch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n" * 9))
    load_tokenizer(resolve(str(base)))
    with pytest.raises(UserError, match="holdfast runs no code from a model's folder"):
        load_merged(resolve(str(base)))
    assert not ran.exists()
    assert "[y/N]" not in capsys.readouterr().out
