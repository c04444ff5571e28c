"""Programs of tests in two processes (gloo, on the processor), started by torchrun."""

import os
import subprocess
import sys
from pathlib import Path


def in_two_processes(program: Path, *words: object, timeout: int) -> None:
    """Run a program in two processes, which must end well in so many seconds."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone"]
    done = subprocess.run(
        [*command, str(program), *map(str, words)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "TRANSFORMERS_VERBOSITY": "error"},
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    assert done.returncode == 0, done.stderr[-5000:]
