"""Rooms import from rooms below them alone (the contracts are in pyproject.toml)."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
LONGEST = 350  # lines of a file


def test_dependencies_point_downwards():
    words = [
        Path(sys.executable).with_name("lint-imports"),
        "--no-cache",
        "--config",
        "pyproject.toml",
    ]
    found = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, encoding="utf-8")
    assert found.returncode == 0, found.stdout + found.stderr
    assert "1 kept, 0 broken" in found.stdout


def test_no_file_is_long():
    lines = {
        path.relative_to(ROOT).as_posix(): len(path.read_text(encoding="utf-8").splitlines())
        for path in (ROOT / "src").rglob("*.py")
    }
    assert len(lines) > 200
    assert {name: count for name, count in lines.items() if count > LONGEST} == {}


def test_the_map_and_the_architecture_name_what_is_there():
    """Every path that the two pages name under src/holdfast is there, and every room has a line."""
    rooms = {p.stem for p in (ROOT / "src/holdfast").iterdir() if not p.name.startswith("_")}
    contributing = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    table = contributing[
        contributing.index("| `src/holdfast/`") : contributing.index("`tests/` has")
    ]
    named = {word.strip("/").removesuffix(".py") for word in _code(table)}
    assert rooms - named - {"py"} == set()
    for word in _code((ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")):
        if "/" in word and not word.startswith(("src/", "paper/", "stack")):
            path = ROOT / "src/holdfast" / word
            module = ROOT / "src/holdfast" / f"{word.rpartition('.')[0]}.py"
            assert path.exists() or module.exists(), word


def _code(text: str) -> list[str]:
    return text.split("`")[1::2]
