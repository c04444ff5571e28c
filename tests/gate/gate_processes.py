"""`SafetyGate` in several processes, started by torchrun: `gate_processes.py FOLDER`.

The judge of each process has an opinion of its own: decided by that alone, the first would stop
and the others wait for it.
"""

import json
import os
import sys
from pathlib import Path

_TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(_TESTS), str(_TESTS / "gate")]

import torch.distributed as dist  # noqa: E402
from test_callback import Counting, trained  # noqa: E402


def main(out: Path) -> None:
    """Train; the first process's judge calls nothing harmful, the second's all."""
    judges = Counting(0), Counting(100)
    trainer, gate = trained(out, judges[int(os.environ["RANK"])], steps=2, stop=True)
    (finding,) = gate.findings
    asked = gate.judge.calls
    found = {"step": trainer.state.global_step, "value": finding.value, "n": finding.n}
    (out / f"{dist.get_rank()}.json").write_text(json.dumps({**found, "asked": asked}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
