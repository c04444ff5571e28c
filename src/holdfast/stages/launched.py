"""One of the processes of a stage's training; `holdfast.stages.launch` starts them.

``accelerate launch --module holdfast.stages.launched FOLDER``, FOLDER holding the job.
"""

import json
import os
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import torch
from accelerate.state import PartialState
from accelerate.utils import gather, reduce

from holdfast.errors import Stopped, UserError
from holdfast.models.system_prompt import read_system_prompt
from holdfast.stages.disk import write_json
from holdfast.stages.launch import ERROR, JOB, PROGRESS, RESULT, STOP, stack_from_json
from holdfast.stages.lifeline import end_with_input
from holdfast.stages.machine import one_thread, peak_memory, quiet_libraries
from holdfast.stages.memory import stage_memory
from holdfast.stages.methods import import_from
from holdfast.stages.train import run_training
from holdfast.stages.work import Work
from holdfast.streams import speak_utf8


class Share(Work):
    """One process's share of a stage's training.

    What the processes decide, they decide together: each of them asks in every step, and what one
    of them wants, all do.
    """

    alone = False

    def __init__(self, place: Path):
        job = json.loads((place / JOB).read_text(encoding="utf-8"))
        self.kind, self.settings, self.rows = job["kind"], job["settings"], job["rows"]
        import_from(job["paths"])
        self.folder, self.model = Path(job["folder"]), stack_from_json(job["model"])
        self.system = self.leaves = read_system_prompt(self.model)
        self.place = place
        self.rank = int(os.environ["RANK"])
        self.is_main = self.rank == 0
        self._told = 0.0

    def progress(self, share: float, note: str) -> None:
        """The first process tells the progress now and then."""
        if self.is_main and (time.monotonic() - self._told >= 0.2 or share >= 1):
            self._told = time.monotonic()
            write_json(self.place / PROGRESS, {"share": share, "note": note})

    def stopping(self) -> bool:
        """Whether the stage is to stop; `agreed` makes the processes see it in the same step."""
        return (self.place / STOP).exists()

    def agreed(self, *wishes: bool) -> list[bool]:
        """Which of the wishes any process has."""
        flags = torch.tensor(wishes, dtype=torch.int32, device=self._device())
        summed: Any = reduce(flags, "sum")
        return [bool(flag) for flag in summed.tolist()]

    def largest(self, value: int) -> int:
        """The largest of the processes' values."""
        values: Any = gather(torch.tensor([value], device=self._device()))
        return int(values.max())

    def _device(self) -> Any:
        return PartialState().device


def main(place: Path) -> None:
    """Train, and write down how it ended."""
    end_with_input()
    speak_utf8()
    share = Share(place)
    quiet_libraries()
    try:
        organism = share.model.is_organism
        with one_thread(organism), stage_memory(share.kind, share.settings, organism):
            budget = run_training(share)
        peak = share.largest(peak_memory())
        _write_result(share, stopped=False, budget=budget, peak_memory_bytes=peak)
    except Stopped:
        _write_result(share, stopped=True)
    except UserError as error:
        _write_error(share, type(error).__name__, str(error))
    except Exception:
        _write_error(share, None, traceback.format_exc())
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _write_result(share: Share, **result: Any) -> None:
    if share.is_main:
        write_json(share.place / RESULT, result)


def _write_error(share: Share, kind: str | None, text: str) -> None:
    error = {"kind": kind, "text": text, "rank": share.rank, "time": time.monotonic()}
    write_json(share.place / f"{ERROR}{share.rank}.json", error)
    if kind is None:
        print(text, file=sys.stderr, flush=True)
    # At once: what others wait for will not come, and the launcher ends them.
    os._exit(1)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
