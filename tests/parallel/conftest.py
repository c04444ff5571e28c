"""What two processes found, once for all tests of this folder."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from holdfast.models.stack import resolve
from holdfast.studies.execute import Work, execute
from holdfast.studies.launch import write_job
from holdfast.studies.plan import make_stage

PROGRAM = Path(__file__).with_name("runs.py")
LISA = {
    "method": "lisa",
    "rows": 41,
    "alignment_rows": 12,
    "alignment_steps": 2,
    "user_steps": 3,
    "num_train_epochs": 1,
    "logging_steps": 2,
    "lora": {"r": 4},
}


@pytest.fixture(scope="session")
def stages(tmp_path_factory):
    """An aligned model, and Lisa's fine-tuning of it in one process, with the stage's settings."""
    folder = tmp_path_factory.mktemp("stages")
    align = make_stage("align", {"rows": 40, "num_train_epochs": 1})
    aligned = execute(align, folder / "aligned", resolve("organism"))
    settings = {**LISA, "model": str(aligned)}
    one = make_stage("finetune", {**settings, "per_device_train_batch_size": 8})
    done = execute(one, folder / "one", resolve(aligned))
    return SimpleNamespace(aligned=aligned, settings=settings, one=done)


@pytest.fixture(scope="session")
def several(tmp_path_factory, stages):
    """The folder with what two processes found; see `runs`."""
    folder = tmp_path_factory.mktemp("several")
    settings = {"per_device_train_batch_size": 4, "processes": 2, "parallel": "fsdp2"}
    stage = make_stage("finetune", {**stages.settings, **settings})
    (folder / "stage").mkdir()
    stack = resolve(stages.aligned)
    write_job(Work(stage, folder / "stage", stack, None, lambda *_: None, lambda: False))
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone"]
    done = subprocess.run(
        [*command, str(PROGRAM), str(folder), "ddp", "fsdp2"],
        env={**os.environ, "OMP_NUM_THREADS": "1", "TRANSFORMERS_VERBOSITY": "error"},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr[-5000:]
    return folder
