"""A study that was finished before the code moved into rooms is read, and no stage is run again."""

import hashlib
import json
import shutil
from pathlib import Path

from command import done
from holdfast.report.comparison import compare, read_run

BEFORE = Path(__file__).parent / "before_the_rooms"


def files(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_its_stages_are_found_again_and_nothing_is_run(tmp_path):
    root = tmp_path / "run"
    shutil.copytree(BEFORE / "run", root)
    before = files(root / "stages")
    shown = done("run", BEFORE / "study.yaml", "--output", root, "--workers", "1")
    assert files(root / "stages") == before
    assert len({Path(name).parts[0] for name in before}) == 5
    assert "5 stages are there already" in shown
    old, new = (
        json.loads((folder / "results.json").read_text(encoding="utf-8"))
        for folder in (BEFORE / "run", root)
    )
    assert new["records"] == old["records"]


def test_its_numbers_are_read(tmp_path):
    run = read_run(BEFORE / "run")
    rows = compare(run).rows
    assert [row.variant for row in rows] == ["SFT", "Antidote"]
    assert all(row.cells["harmful_score"].mean.n == 3 for row in rows)
