"""A stage's training in several processes, by ``accelerate launch``: the side of the stage.

The processes run `holdfast.stages.launched`. All that they and the stage say to each other lies in
files of a folder within the stage's working folder; what they print goes on to the stage's log.
Their standard input is a pipe that this process holds, so that they end when it does, however.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import yaml

from holdfast import errors
from holdfast.errors import Stopped, UserError
from holdfast.models.stack import Stack
from holdfast.stages.disk import write_json, write_text

if TYPE_CHECKING:
    from holdfast.stages.work import Work

JOB, STOP, PROGRESS, RESULT, ERROR = "job.json", "stop", "progress.json", "result.json", "error-"
_FOLDER, _OUTPUT, _ACCELERATE = "processes", "output.log", "accelerate.yaml"
_LOOKED_EVERY = 0.1  # seconds between two looks at the processes
_ENDS_WITHIN = 20.0  # seconds that processes have to end by themselves


def train_in_processes(work: "Work") -> dict[str, Any]:
    """Run a stage's training in as many processes as its settings say; returns its budget.

    Args:
        work: the stage under way; its peak of memory becomes that of the largest process.

    Raises:
        UserError: too few GPUs or cores, or whatever a process says of the user's request.
        Stopped: the stage is to stop, and its processes have saved a state to go on from.
        RuntimeError: a process failed otherwise; its trace.
    """
    settings, count = work.settings, work.settings["processes"]
    accelerators = 0 if work.model.is_organism else torch.accelerator.device_count()
    # Two fit everywhere, so that what several processes do can be tried on a single core.
    room = accelerators or max(2, os.cpu_count() or 1)
    if count > room:
        what = "GPUs" if accelerators else "cores"
        raise UserError(
            f"processes is {count}, but this machine shows {room} of its {what}: each "
            "process needs one."
        )
    place = write_job(work)
    write_text(place / _ACCELERATE, yaml.safe_dump(_accelerate_settings(settings)))
    with _started(place, _threads(work, count, accelerators)) as process:
        shown, last = _Output(place / _OUTPUT), None
        while process.poll() is None:
            if work.stopping():
                (place / STOP).touch()
            if (told := _progress(place)) != last:
                work.progress(*told)
                last = told
            if not any(place.glob(f"{ERROR}*")):  # the launcher says much of every failure
                shown.go_on()
            time.sleep(_LOOKED_EVERY)
    error = None
    if not (place / RESULT).exists():
        error = _error(place, count, process.returncode)
    if not isinstance(error, UserError):
        shown.go_on()
    if error is not None:
        raise error
    result = json.loads((place / RESULT).read_text(encoding="utf-8"))
    if result["stopped"]:
        raise Stopped
    work.peak_memory = result["peak_memory_bytes"]
    for path in place.iterdir():
        path.unlink()
    place.rmdir()
    return result["budget"]


def write_job(work: "Work") -> Path:
    """Write down what the processes are to do, for `holdfast.stages.launched`; says where."""
    place = work.folder / _FOLDER
    place.mkdir()
    job = {
        "kind": work.kind,
        "settings": work.settings,
        "model": stack_to_json(work.model),
        "folder": str(work.folder),
        "rows": work.rows,
        "paths": [path or os.getcwd() for path in sys.path],  # where a user's own method may be
    }
    write_json(place / JOB, job)
    return place


def stack_to_json(stack: Stack) -> dict[str, Any]:
    """A stack of models in JSON; see `stack_from_json`."""
    fields = asdict(stack)
    fields["entries"] = [str(entry) for entry in stack.entries]
    return {**fields, "tokenizer": str(stack.tokenizer) if stack.tokenizer else None}


def stack_from_json(fields: Mapping[str, Any]) -> Stack:
    """The stack that `stack_to_json` wrote."""
    entries = tuple(Path(entry) for entry in fields["entries"])
    tokenizer = Path(fields["tokenizer"]) if fields["tokenizer"] else None
    return Stack(**{**fields, "entries": entries, "tokenizer": tokenizer})


def _accelerate_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration file of accelerate: whatever a user has as a default does not count."""
    sharded = settings["parallel"] == "fsdp2"
    precision = next((p for p in ("bf16", "fp16") if settings.get(p)), "no")
    return {
        "compute_environment": "LOCAL_MACHINE",
        # On processors too: it means processes on one machine, and the trainer finds its devices.
        "distributed_type": "FSDP" if sharded else "MULTI_GPU",
        "num_processes": settings["processes"],
        "num_machines": 1,
        "machine_rank": 0,
        "main_process_port": 0,  # any that is free
        "gpu_ids": "all",
        "mixed_precision": precision,
        "use_cpu": False,
        "debug": False,
        "fsdp_config": _FSDP if sharded else {},
    }


_FSDP = {
    "fsdp_version": 2,
    "fsdp_auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
    "fsdp_reshard_after_forward": True,
    "fsdp_state_dict_type": "FULL_STATE_DICT",
    "fsdp_cpu_ram_efficient_loading": False,
    "fsdp_offload_params": False,
}


def _threads(work: "Work", count: int, accelerators: int) -> int:
    """The threads of each process; the organism computes on one, see `execute`."""
    if work.model.is_organism:
        return 1
    return int(os.environ.get("OMP_NUM_THREADS", max(1, torch.get_num_threads() // count)))


@contextmanager
def _started(place: Path, threads: int) -> Iterator[subprocess.Popen]:
    """The launcher and its processes, which end with this context."""
    command = [sys.executable, "-m", "accelerate.commands.launch"]
    command += ["--config_file", str(place / _ACCELERATE)]
    command += ["--num_cpu_threads_per_process", str(threads)]
    command += ["--module", "holdfast.stages.launched", str(place)]
    with (place / _OUTPUT).open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            # Without DDP's warnings of what costs a little time.
            env={"TORCH_CPP_LOG_LEVEL": "ERROR", **os.environ, "PYTHONUNBUFFERED": "1"},
            start_new_session=True,  # Ctrl-C is for this process, which asks them to stop
        )
    try:
        yield process
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(_ENDS_WITHIN)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class _Output:
    """What the processes print, handed on to the stage's log; not to a terminal."""

    def __init__(self, path: Path):
        self.path, self.shown = path, 0

    def go_on(self) -> None:
        """Hand on what is new."""
        if sys.stderr.isatty():
            return
        with self.path.open("rb") as file:
            file.seek(self.shown)
            new = file.read()
        self.shown += len(new)
        sys.stderr.write(new.decode(errors="replace"))


def _progress(place: Path) -> tuple[float, str]:
    with suppress(OSError, ValueError, KeyError, TypeError):
        told = json.loads((place / PROGRESS).read_text(encoding="utf-8"))
        return told["share"], told["note"]
    return 0.0, "starting the processes"


def _error(place: Path, count: int, code: int) -> Exception:
    """What went wrong: a mistake that a process found, else the first failure of one."""
    found = []
    for path in place.glob(f"{ERROR}*.json"):
        with suppress(ValueError):  # torn: that process was ended while it wrote
            found.append(json.loads(path.read_text(encoding="utf-8")))
    # When one fails, the others' connections to it break: what they say comes later and matters
    # less. A mistake is told by the process that met it, if only one did.
    found.sort(key=lambda error: (not error["kind"], error["time"]))
    if not found:
        last = (place / _OUTPUT).read_text(encoding="utf-8", errors="replace").splitlines()[-30:]
        text = "\n".join(last)
        return RuntimeError(f"a process of the training ended (exit code {code}):\n{text}")
    first = found[0]
    if first["kind"]:
        return getattr(errors, first["kind"])(first["text"])
    return RuntimeError(f"process {first['rank']} of {count} failed:\n{first['text']}")
