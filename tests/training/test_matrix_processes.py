"""Every training method of the registry in two processes (DDP, gloo) against one."""

from pathlib import Path

import pytest
from matrix import moved
from matrix_processes import cases
from safetensors.torch import load_file
from steps import relative_error

from two_processes import in_two_processes

pytestmark = pytest.mark.long
PROGRAM = Path(__file__).with_name("matrix_processes.py")


@pytest.fixture(scope="module")
def several(tmp_path_factory):
    """The folder with what two processes found."""
    folder = tmp_path_factory.mktemp("several")
    in_two_processes(PROGRAM, folder, timeout=1800)
    return folder


@pytest.mark.parametrize("case", cases(), ids=str)
def test_two_processes_equal_one(several, tmp_path, case):
    found = load_file(several / f"{case}.safetensors")
    assert relative_error(found, moved(case, tmp_path)) < 1e-5
