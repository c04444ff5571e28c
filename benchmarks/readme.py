"""Put a demo's table and picture into the README, with the commit that made them.

holdfast demo --seeds 5 --output results/demo
python benchmarks/readme.py results/demo "holdfast demo --seeds 5"
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def main() -> None:
    run, command = Path(sys.argv[1]), sys.argv[2]
    commit = subprocess.run(
        ["git", "-C", ROOT, "rev-parse", "--short", "HEAD"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    (ROOT / "docs").mkdir(exist_ok=True)
    shutil.copy(run / "comparison.png", ROOT / "docs" / "comparison.png")
    table = (run / "table.md").read_text(encoding="utf-8").strip()
    text = (
        f"{table}\n\n![harmful score against fine-tune accuracy](docs/comparison.png)\n\n"
        f"Table and picture: `{command}`, at commit {commit}."
    )
    readme = ROOT / "README.md"
    whole = readme.read_text(encoding="utf-8")
    marks = re.compile(r"(<!-- demo -->\n).*?(<!-- /demo -->)", re.DOTALL)
    readme.write_text(marks.sub(lambda m: f"{m[1]}{text}\n{m[2]}", whole), encoding="utf-8")


if __name__ == "__main__":
    main()
