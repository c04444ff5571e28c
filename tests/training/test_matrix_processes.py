"""Every training method of the registry in two processes (DDP, gloo) against one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from matrix import moved
from matrix_processes import cases
from safetensors.torch import load_file
from steps import relative_error

pytestmark = pytest.mark.long
PROGRAM = Path(__file__).with_name("matrix_processes.py")


@pytest.fixture(scope="module")
def several(tmp_path_factory):
    """The folder with what two processes found."""
    folder = tmp_path_factory.mktemp("several")
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone"]
    done = subprocess.run(
        [*command, str(PROGRAM), str(folder)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "TRANSFORMERS_VERBOSITY": "error"},
        capture_output=True,
        text=True,
        timeout=1800,
    )
    assert done.returncode == 0, done.stderr[-5000:]
    return folder


@pytest.mark.parametrize("case", cases(), ids=str)
def test_two_processes_equal_one(several, tmp_path, case):
    found = load_file(several / f"{case}.safetensors")
    assert relative_error(found, moved(case, tmp_path)) < 1e-5
