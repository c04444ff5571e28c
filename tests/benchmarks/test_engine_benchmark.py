"""The engine's benchmark at tiny size: it plans what it says, and its stand-ins are a whole run."""

import json

import engine
from holdfast.studies.grid import points
from holdfast.studies.study import read_study


def test_the_grids_have_the_sizes_that_are_told(tmp_path):
    for size, count in ((10, 10), (100, 100), (150, 100), (1000, 1000)):
        assert engine.plan_seconds(size, tmp_path)[1] == count
        assert len(points(read_study(tmp_path / f"grid-{size}.yaml"))) == count
    assert not (tmp_path / "none").exists()


def test_a_run_of_stand_ins_is_finished_and_stays_so(tmp_path):
    file = tmp_path / "study.yaml"
    file.write_text("align: sft\nfinetune: [sft, lisa]\nrepair: random_mask\nseeds: 2\n")
    root = tmp_path / "run"
    _, stages = engine.run_seconds([str(file)], root)
    assert stages == 2 * (1 + 2 * 3)
    records = json.loads((root / "results.json").read_text())["records"]
    assert len(records) == 4
    made = {path: path.stat().st_mtime_ns for path in root.glob("stages/*/*")}
    assert engine.run_seconds([str(file)], root)[1] == stages
    assert {path: path.stat().st_mtime_ns for path in root.glob("stages/*/*")} == made
