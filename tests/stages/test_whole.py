"""A stage's folder is what was written, or nothing stands on it; answers are of their weights."""

import json
import os

import pytest
from safetensors.torch import load_file, save_file

from command import done, holdfast
from fake_stages import SPEC, Watcher, run
from holdfast.engine.schedule import missing_stages
from holdfast.errors import UserError
from holdfast.models import digests
from holdfast.models.digests import file_digest
from holdfast.models.stack import resolve
from holdfast.stages.execute import execute
from holdfast.stages.making import given_identity, make_stage
from holdfast.stages.pipeline import all_stages, stage_folder
from holdfast.stages.whole import check_whole, damaged_file
from holdfast.studies.grid import expand
from holdfast.studies.study import make_study

TRAINING = ("rows=20", "max_steps=1")
ROWS = [{"instruction": f"How do I mend thing {i}?", "output": f"Nail {i}."} for i in range(8)]


@pytest.fixture(autouse=True)
def own_memory(tmp_path, monkeypatch):
    """Digests that no other test and no user's run has part in."""
    monkeypatch.setenv("HOLDFAST_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(digests, "_MEMORY", digests._Memory())


@pytest.fixture(scope="module")
def aligned(tmp_path_factory):
    folder = tmp_path_factory.mktemp("aligned") / "aligned"
    done("align", "method=sft", *TRAINING, "--output", folder)
    return folder


@pytest.fixture
def tuned(aligned, tmp_path):
    """A copy of an aligned model that a test may change."""
    folder = tmp_path / "tuned"
    folder.mkdir()
    for path in aligned.rglob("*"):
        (folder / path.relative_to(aligned)).write_bytes(path.read_bytes())
    return folder


def keep_times(path, change):
    """Change a file in place, with the size and the times of its content that it had."""
    about = path.stat()
    content = change(path.read_bytes())
    assert len(content) == about.st_size
    path.write_bytes(content)
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))


def one_byte(content):
    return content[:-5] + bytes([content[-5] ^ 1]) + content[-4:]


def zeroed(path):
    save_file({k: v * 0 for k, v in load_file(path).items()}, path)


def scaled(path):
    path.write_text(path.read_text().replace('"lora_alpha": 16', '"lora_alpha": 99'))


WEIGHTS, ABOUT = "adapter_model.safetensors", "adapter_config.json"


@pytest.mark.parametrize(
    ("name", "change"),
    [(WEIGHTS, lambda path: keep_times(path, one_byte)), (WEIGHTS, zeroed), (ABOUT, scaled)],
)
@pytest.mark.parametrize("seen_before", [False, True])
def test_nothing_stands_on_a_model_that_was_changed_in_place(tuned, name, change, seen_before):
    if seen_before:
        assert given_identity(str(tuned))
    before = (tuned / name).read_bytes()
    change(tuned / name)
    assert (tuned / name).read_bytes() != before
    for words in (
        ("evaluate", tuned, "limit=4"),
        ("finetune", tuned, "rows=20", "max_steps=1"),
        ("repair", tuned),
        ("evaluate", "organism", f"reference={tuned}", "limit=4"),
    ):
        output = tuned.parent / "out"
        ended = holdfast(*words, "--output", output)
        assert ended.code == 2, ended
        assert f"its file {name} is gone or was changed" in ended.err
        assert not list(tuned.parent.glob("out*"))


def test_as_a_model_of_its_own_it_has_another_identity(tuned):
    before = given_identity(str(tuned))
    zeroed(tuned / WEIGHTS)
    (tuned / "provenance.json").unlink()
    assert given_identity(str(tuned)) != before


def test_a_stage_that_was_changed_during_a_run_stops_what_stands_on_it(tuned, tmp_path):
    first = make_stage("align", {"method": "sft", "rows": 20, "max_steps": 1})
    second = make_stage("evaluate", {"limit": 4}, parent=first)
    model = resolve(tuned)
    zeroed(tuned / WEIGHTS)
    with pytest.raises(UserError, match=f"its file {WEIGHTS} is gone or was changed"):
        execute(second, tmp_path / "out", model)
    assert not list(tmp_path.glob("out*"))


def test_answers_are_those_of_the_same_weights(tuned, tmp_path):
    """A stage that was made again, with other last digits, has its identity all the same."""
    stages = tmp_path / "stages"
    done("evaluate", tuned, "limit=4", "--output", stages / "first")
    save_file({k: v * 500 for k, v in load_file(tuned / WEIGHTS).items()}, tuned / WEIGHTS)
    provenance = json.loads((tuned / "provenance.json").read_text())
    provenance["sha256"][WEIGHTS] = file_digest(tuned / WEIGHTS)
    provenance["files"][WEIGHTS] = (tuned / WEIGHTS).stat().st_size
    (tuned / "provenance.json").write_text(json.dumps(provenance))
    done("evaluate", tuned, "limit=4", "--output", stages / "second")
    first, second = (
        (stages / name / "answers.jsonl").read_text().splitlines() for name in ("first", "second")
    )
    about = [json.loads(lines[0])["made_with"] for lines in (first, second)]
    assert about[0]["model"] == about[1]["model"]
    assert about[0]["weights"] != about[1]["weights"]
    assert first[1:] != second[1:], "the answers of other weights were taken"


def test_a_run_makes_a_changed_stage_again(tmp_path):
    stages = all_stages(expand(make_study(SPEC, "here")))
    run(stages, tmp_path)
    folder = stage_folder(tmp_path, stages[0])
    assert json.loads((folder / "provenance.json").read_text())["sha256"]
    keep_times(folder / WEIGHTS, one_byte)
    _, watcher, pool = run(stages, tmp_path)
    assert pool.seen == [stages[0].name]
    assert WEIGHTS in watcher.notes[0]


def test_a_folder_of_an_earlier_version_is_hashed_on_first_sight(tmp_path):
    stages = all_stages(expand(make_study(SPEC, "here")))
    run(stages, tmp_path)
    folder = stage_folder(tmp_path, stages[0])
    provenance = json.loads((folder / "provenance.json").read_text())
    old = {key: value for key, value in provenance.items() if key != "sha256"}
    (folder / "provenance.json").write_text(json.dumps(old))
    watcher = Watcher()
    assert missing_stages(stages, tmp_path, watcher)[0] == []
    assert watcher.notes == []
    assert json.loads((folder / "provenance.json").read_text()) == provenance
    keep_times(folder / WEIGHTS, one_byte)
    assert missing_stages(stages, tmp_path, watcher)[0] == [stages[0]]


def test_one_that_cannot_be_written_is_compared_by_size(tmp_path, monkeypatch):
    (tmp_path / "weights").write_text("abc")
    old = {"identity": "a", "files": {"weights": 3}}
    (tmp_path / "provenance.json").write_text(json.dumps(old))

    def refused(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("holdfast.stages.whole.write_json", refused)
    check_whole(tmp_path)
    assert json.loads((tmp_path / "provenance.json").read_text()) == old
    (tmp_path / "weights").write_text("ab")
    assert damaged_file(tmp_path) == "weights"


def test_a_digest_is_remembered_until_the_file_changes(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(b"a" * 1000)
    reads = []
    whole = digests.hashlib.file_digest
    monkeypatch.setattr(
        digests.hashlib, "file_digest", lambda *words: reads.append(1) or whole(*words)
    )
    first = file_digest(path)
    file_digest(path)
    assert len(reads) == 2, "it was changed a moment ago: its times may stay with the next change"
    monkeypatch.setattr(digests, "_TICK", 0)
    assert file_digest(path) == first
    assert len(reads) == 2
    monkeypatch.setattr(digests, "_MEMORY", digests._Memory())  # another process
    assert file_digest(path) == first
    assert len(reads) == 2, "the file of digests was not read"
    assert file_digest(path, anew=True) == first
    assert len(reads) == 3
    keep_times(path, one_byte)
    assert file_digest(path) != first
    with (tmp_path / "cache" / "digests.txt").open("ab") as file:
        file.write(b"torn 1 2\n\xff\xfe 3 4 5 6 7\nhalf")
    monkeypatch.setattr(digests, "_MEMORY", digests._Memory())
    assert file_digest(path) != first


def test_rows_that_change_after_the_plan_stop_the_stage(tmp_path):
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    stage = make_stage("align", {"method": "sft", "data": str(rows), "max_steps": 1})
    rows.write_text("".join(json.dumps(row) + "\n" for row in ROWS[1:]))
    with pytest.raises(UserError, match=r"reads as its train \(.*rows\.jsonl\) was changed"):
        execute(stage, tmp_path / "out", resolve("organism"))
    assert not list(tmp_path.glob("out*"))
