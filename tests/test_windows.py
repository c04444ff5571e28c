"""What Windows lacks, taken away here: POSIX-only modules, fork, and an encoding that holds all.

No run on Windows itself has been made.
"""

import ast
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import holdfast
from holdfast.stages import machine

POSIX_ONLY = (
    "crypt", "fcntl", "grp", "nis", "posix", "pty", "pwd", "resource", "spwd", "syslog", "termios",
    "tty",
)  # fmt: skip

# Other packages ask sys.platform before they import such a module; ours must not need one.
SITE = f"""
import builtins, multiprocessing
importing, context = builtins.__import__, multiprocessing.get_context

def as_on_windows(name, scope=None, *more, **words):
    importer = (scope or {{}}).get("__name__") or ""
    if name.split(".")[0] in {POSIX_ONLY} and importer.split(".")[0] == "holdfast":
        raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
    return importing(name, scope, *more, **words)

builtins.__import__ = as_on_windows
multiprocessing.get_context = lambda method=None: context("spawn")
"""

# The demo with one of its rows and few steps.
DEMO = """
import sys
from holdfast.cli import main
from holdfast.studies import demo

if __name__ == "__main__":
    short = {"rows": 20, "num_train_epochs": 1}
    demo._ROWS = (("sft", "lisa", "antidote", 0.1),)
    made = demo.make_pipeline

    def shortened(spec):
        tuned = {"method": spec["finetune"], **short}
        return made({**spec, "align": {"method": "sft", **short}, "finetune": tuned})

    demo.make_pipeline = shortened
    sys.argv = ["holdfast", "demo", "--workers", "1", "--output", "out"]
    main()
"""


def test_the_demo_runs_without_posix_modules_on_a_terminal_of_cp1252(tmp_path):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(SITE)
    (tmp_path / "demo.py").write_text(DEMO)
    environment = {
        **os.environ,
        "PYTHONPATH": str(tmp_path / "site"),
        "PYTHONIOENCODING": "cp1252",
        # A file that is opened without an encoding is of ASCII then, and says that it has none.
        "PYTHONUTF8": "0",
        "PYTHONCOERCECLOCALE": "0",
        "LC_ALL": "C",
        "PYTHONWARNDEFAULTENCODING": "1",
        "OMP_NUM_THREADS": "1",
        "COLUMNS": "120",
    }
    done = subprocess.run(
        [sys.executable, "demo.py"], cwd=tmp_path, env=environment, capture_output=True
    )
    shown, said = done.stdout.decode("utf-8"), done.stderr.decode("utf-8")
    assert done.returncode == 0, said
    assert "Lisa + Antidote" in shown
    assert "↓" in shown  # which cp1252 has not
    assert "Lisa + Antidote" in (tmp_path / "out" / "table.md").read_text("utf-8")
    logs = "".join(path.read_text("utf-8") for path in (tmp_path / "out" / "logs").iterdir())
    ours = str(Path(holdfast.__file__).parent)
    lines = (logs + said).splitlines()
    assert [line for line in lines if "EncodingWarning" in line and ours in line] == []


def test_no_module_needs_a_posix_one_to_be_imported():
    for file in Path(holdfast.__file__).parent.rglob("*.py"):
        for node in ast.parse(file.read_text(encoding="utf-8")).body:  # not in a function, a try
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
            assert not set(names) & set(POSIX_ONLY), file


@pytest.mark.parametrize(("memory", "peak"), [({"rss": 5, "peak_wset": 9}, 9), ({"rss": 5}, 5)])
def test_the_peak_of_memory_where_neither_proc_nor_resource_is(tmp_path, monkeypatch, memory, peak):
    process = SimpleNamespace(memory_info=lambda: SimpleNamespace(**memory))
    monkeypatch.setattr(machine, "Path", lambda _: tmp_path / "none")
    monkeypatch.setattr(machine.psutil, "Process", lambda: process)
    monkeypatch.setitem(sys.modules, "resource", None)
    assert machine.peak_memory() == peak
