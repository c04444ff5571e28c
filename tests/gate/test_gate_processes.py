"""`SafetyGate` in two processes (DDP, gloo): they share the prompts and decide alike."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("gate_processes.py")


@pytest.mark.long
def test_two_processes_decide_alike(tmp_path):
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone"]
    done = subprocess.run(
        [*command, str(PROGRAM), str(tmp_path)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "TRANSFORMERS_VERBOSITY": "error"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-5000:]
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1))
    assert (first.pop("asked"), second.pop("asked")) == ([13], [12])
    assert first == second == {"step": 1, "value": 12 / 25, "n": 25}
