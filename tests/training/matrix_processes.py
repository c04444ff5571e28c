"""The matrix's training of every method, in one process or, started by torchrun, in several.

As a program (`matrix_processes.py FOLDER`) it trains each method in a group of processes, since
starting that is what takes the time; the first process writes what the weights moved by.
"""

import sys
from pathlib import Path

_TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(_TESTS), str(_TESTS / "training"), str(_TESTS.parent / "benchmarks")]

import torch  # noqa: E402
from matrix import Case, cover, moved  # noqa: E402
from safetensors.torch import save_file  # noqa: E402


def cases() -> list[Case]:
    """Every method once, with another adapter and architecture each time."""
    return [case for case in cover() if case.check == "accumulation"]


def main(out: Path) -> None:
    """Train each with half the batch in each process."""
    for case in cases():
        found = moved(case, out / str(case), per_device_train_batch_size=2)
        if torch.distributed.get_rank() == 0:
            tensors = {name: weight.contiguous() for name, weight in found.items()}
            save_file(tensors, out / f"{case}.safetensors")
            print(case, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
