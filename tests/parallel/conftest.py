"""A stage in one process, made once for all tests of this folder that run in one process."""

from types import SimpleNamespace

import pytest

from holdfast.models.stack import resolve
from holdfast.stages.execute import execute
from holdfast.stages.making import make_stage

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
