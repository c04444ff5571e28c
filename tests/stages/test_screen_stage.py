"""A screening as a stage: what stands on it, what it shares, what it is refused for."""

import json

import pytest

from command import done, holdfast
from holdfast.data.disjoint import read_keys
from holdfast.errors import UserError
from holdfast.models.stack import resolve
from holdfast.stages.execute import execute
from holdfast.stages.making import make_pipeline
from holdfast.stages.pipeline import all_stages, stage_folder
from holdfast.stages.rows import stage_rows

ALIGN = {"method": "sft", "rows": 20, "num_train_epochs": 1}
TUNE = {"method": "sft", "rows": 60, "num_train_epochs": 1}
JUDGED = {"align": ALIGN, "screen": "judge", "finetune": TUNE, "harmful_ratio": 0.2}


def names(spec):
    return {kind: stage.name for kind, stage in make_pipeline(spec).stages.items()}


def test_without_a_screen_every_identity_is_what_it_was():
    plain = {key: value for key, value in JUDGED.items() if key != "screen"}
    assert names({**plain, "screen": None}) == names(plain)
    with_one = names(JUDGED)
    assert with_one["align"] == names(plain)["align"]
    assert with_one["finetune"] != names(plain)["finetune"]
    assert with_one["evaluate"] != names(plain)["evaluate"]


def test_what_decides_the_screen_decides_what_stands_on_it():
    seen = {json.dumps(names(JUDGED))}
    for own in (
        {"method": "keywords"},
        {"method": "keywords", "threshold": 2},
        {"method": "keywords", "words": ["hex"]},
        {"method": "random", "share": 0.2},
        {"method": "random", "share": 0.3},
        {"method": "judge", "judge": "keywords"},
        {"method": "similarity"},
        {"method": "similarity", "probe_rows": 50},
        {"method": "similarity", "layer": 1},
    ):
        found = names({**JUDGED, "screen": own})
        seen.add(json.dumps(found))
        # How many rows are read at once decides nothing.
        if own == {"method": "similarity"}:
            assert names({**JUDGED, "screen": {**own, "batch_size": 3}}) == found
    assert len(seen) == 10


def test_a_words_file_counts_by_what_it_says(tmp_path):
    files = [tmp_path / "a.txt", tmp_path / "b.txt", tmp_path / "c.txt"]
    for file, text in zip(files, ("hex\n", "hex\n", "jinx\n"), strict=True):
        file.write_text(text)
    screens = [{"method": "keywords", "words": [], "words_file": str(file)} for file in files]
    first, second, third = (names({**JUDGED, "screen": screen})["screen"] for screen in screens)
    assert first == second != third


def test_a_screen_without_a_model_is_shared_by_all_alignments():
    one, other = (
        names({**JUDGED, "align": {**ALIGN, "method": method}}) for method in ("sft", "vaccine")
    )
    assert one["screen"] == other["screen"]
    similar = {**JUDGED, "screen": "similarity"}
    one, other = (
        names({**similar, "align": {**ALIGN, "method": method}}) for method in ("sft", "vaccine")
    )
    assert one["screen"] != other["screen"]


def test_the_rows_are_the_fine_tunings():
    pipeline = make_pipeline({**JUDGED, "task": "topic", "seed": 3, "attack": "pure"})
    screen, tuned = pipeline.stages["screen"], pipeline.stages["finetune"]
    rows = [stage_rows(stage.kind, stage.settings, True)["train"] for stage in (screen, tuned)]
    assert rows[0] == rows[1]
    assert tuned.needs == [pipeline.stages["align"], screen]
    assert tuned.parent is pipeline.stages["align"]


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"screen": {"method": "judge", "rows": 5}}, "set finetune.rows"),
        ({"screen": {"method": "judge", "harmful_ratio": 0.5}}, "set finetune.harmful_ratio"),
        ({"attack": "virus"}, "chooses its rows with the model"),
        ({"finetune": None}, "no fine-tuning whose rows it could screen"),
        ({"screen": "jugde"}, "did you mean 'judge'"),
        ({"screen": {"method": "keywords", "words": []}}, "no words to look for"),
        ({"screen": {"method": "keywords", "judge": "organism"}}, "it is one of judge"),
        ({"screen": {"method": "judge", "judge": "organsim"}}, "did you mean 'organism'"),
        ({"screen": {"method": "similarity", "share": 3}}, "share"),
    ],
)
def test_what_cannot_be_is_told_before_the_run(spec, said):
    for by_name in (False, True):
        with pytest.raises(UserError, match=said):
            make_pipeline({**JUDGED, **spec}, by_name=by_name)


def run_pipeline(spec, root):
    folders = {}
    for stage in all_stages([make_pipeline(spec)]):
        if stage.kind == "evaluate":
            continue
        model = folders[stage.parent.identity] if stage.parent else stage.settings["model"]
        folders[stage.identity] = execute(stage, stage_folder(root, stage), resolve(str(model)))
    return {path.name.split("-")[0]: path for path in folders.values()}


def test_the_fine_tuning_reads_what_the_screen_keeps(tmp_path):
    found = run_pipeline(JUDGED, tmp_path)
    kept = json.loads((found["screen"] / "kept.json").read_text())
    stage = make_pipeline(JUDGED).stages["finetune"]
    rows = stage_rows("finetune", stage.settings, True)["train"]
    assert kept == [i for i, row in enumerate(rows) if row["kind"] == "task"]
    assert len(kept) == 48
    report = json.loads((found["screen"] / "screen.json").read_text())
    assert (report["rows"], report["flagged"]) == (60, 12)
    made = json.loads((found["finetune"] / "provenance.json").read_text())
    assert made["budget"]["rows"] == 48
    assert made["data"]["train"]["rows"] == 60
    assert made["data"]["train"]["kept by the screen"] == 48
    # What the model has seen are the kept rows alone, so a repair may use the others.
    seen = read_keys(found["finetune"])
    assert len(seen["user"]) == 48


def test_a_screen_that_leaves_nothing_is_told(tmp_path):
    with pytest.raises(UserError, match="has flagged all 60 rows, so nothing is left"):
        run_pipeline({**JUDGED, "screen": {"method": "random", "share": 1}}, tmp_path)


@pytest.mark.long
def test_a_study_with_a_screen_runs_and_is_reported(tmp_path):
    study = tmp_path / "study.yaml"
    study.write_text(
        json.dumps(
            {
                "settings": {"align": {"rows": 20}, "finetune": {"rows": 40}},
                "variants": {
                    "SFT": {"align": "sft", "finetune": "sft"},
                    "screened": {"align": "sft", "screen": "judge", "finetune": "sft"},
                    "twice": {"align": "sft", "screen": "keywords", "finetune": "lisa"},
                },
                "evaluate": {"limit": 5},
                "vary": {"screen.threshold": [1]},
            }
        )
    )
    run = ("run", study, "--output", tmp_path / "run", "--workers", "1")
    assert "screening" in done(*run, "--plan")
    done(*run)
    shown = done("report", tmp_path / "run")
    assert "screened" in shown
    records = json.loads((tmp_path / "run/results.json").read_text())["records"]
    assert [one.get("screen") for one in records] == [None, "judge", "keywords"]
    assert "cached" in done(*run)
    assert holdfast("report", tmp_path / "run", "--format", "html").code == 0
    assert "screening" in done("status", tmp_path / "run")
