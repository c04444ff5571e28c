"""`SafetyGate` in two processes (DDP, gloo): they share the prompts and decide alike."""

import json
from pathlib import Path

import pytest

from two_processes import in_two_processes

PROGRAM = Path(__file__).with_name("gate_processes.py")


@pytest.mark.long
def test_two_processes_decide_alike(tmp_path):
    in_two_processes(PROGRAM, tmp_path, timeout=300)
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1))
    assert (first.pop("asked"), second.pop("asked")) == ([13], [12])
    assert first == second == {"step": 1, "value": 12 / 25, "n": 25}
