"""Every training method in two processes, by DDP and FSDP2, against one with twice the batch.

Two processes of gloo on the processor. The same sums are added up in another order, which in fp32
changes a gradient by some 1e-6 of its norm; AdamW divides by a gradient's own size, so that where
one is nearly zero such an error may show in a weight, and in all later gradients, tenfold.
"""

import json
from pathlib import Path

import pytest
import torch
from runs import RUNS, Run, train
from safetensors.torch import load_file
from same_result import assert_same_result, several_settings
from steps import relative_error

from holdfast.estimate.estimate import training_steps
from holdfast.models.stack import resolve
from holdfast.stages.launch import write_job
from holdfast.stages.making import make_stage
from holdfast.stages.work import Work
from two_processes import in_two_processes

pytestmark = pytest.mark.long
PROGRAM = Path(__file__).with_name("runs.py")
# Of log lines: what depends on the machine, and the estimate of the work with its padding.
UNEQUAL = {"train_runtime", "train_samples_per_second", "train_steps_per_second", "total_flos"}


@pytest.fixture(scope="module")
def several(tmp_path_factory, stages):
    """The folder with what two processes found; see `runs`."""
    folder = tmp_path_factory.mktemp("several")
    stage = make_stage("finetune", several_settings(stages, parallel="fsdp2"))
    (folder / "stage").mkdir()
    stack = resolve(stages.aligned)
    write_job(Work(stage, folder / "stage", stack, None, lambda *_: None, lambda: False))
    in_two_processes(PROGRAM, folder, "ddp", "fsdp2", timeout=900)
    return folder


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    """What one process finds, by run; each is computed once."""
    folder, found = tmp_path_factory.mktemp("one"), {}

    def of(run: Run):
        if run.name not in found:
            threads = torch.get_num_threads()
            torch.set_num_threads(1)
            kept, trainer = train(run, folder, 4)
            torch.set_num_threads(threads)
            found[run.name] = kept, trainer.state.log_history
        return found[run.name]

    return of


def piece(found, name):
    return {key: value for key, value in found.items() if key.startswith(f"{name}.")}


@pytest.mark.parametrize(
    ("run", "mode"), [(r, m) for r in RUNS for m in r.modes], ids=lambda of: getattr(of, "name", of)
)
def test_two_processes_equal_one(several, one, run, mode):
    expected, logged = one(run)
    found = load_file(several / f"{mode}.{run.name}.safetensors")
    assert relative_error(piece(found, "first"), piece(expected, "first")) < 1e-5
    assert relative_error(piece(found, "last"), piece(expected, "last")) < 1e-4
    assert relative_error(piece(found, "final"), piece(expected, "final")) < 1e-5
    lines = json.loads((several / f"{mode}.{run.name}.json").read_text())
    assert len(lines) == len(logged)
    for line, other in zip(lines, logged, strict=True):
        assert line.keys() == other.keys()
        for key in line.keys() - UNEQUAL:
            # The squared drift counts small weights' movements, of which see above.
            assert line[key] == pytest.approx(other[key], rel=1e-3), key


@pytest.mark.parametrize(
    ("run", "mode"),
    [(r, m) for r in RUNS if r.resumes for m in r.modes],
    ids=lambda of: getattr(of, "name", of),
)
def test_resumed_from_a_checkpoint_as_if_never_stopped(several, run, mode):
    found = load_file(several / f"{mode}.{run.name}.safetensors")
    final = {name.removeprefix("final."): w for name, w in piece(found, "final").items()}
    resumed = piece(found, "resumed")
    assert len(resumed) == len(final)
    for name, weight in final.items():
        assert torch.equal(found[f"resumed.final.{name}"], weight), name


@pytest.mark.parametrize("run", [r for r in RUNS if r.method != "sft"], ids=lambda run: run.name)
def test_the_methods_differ_from_plain_training(one, run):
    """What the tests above compare is each method's own."""
    found, _ = one(run)
    plain, _ = one(Run("sft", adapter=run.adapter, accumulate=run.accumulate))
    shared = piece(found, "last").keys() & piece(plain, "last").keys()
    a, b = ({name: of[name] for name in shared} for of in (found, plain))
    assert relative_error(a, b) > 1e-2


def test_fsdp2_stopped_and_resumed_equals_one_process(several, stages):
    assert_same_result(several / "stage", stages.one, 1e-3)
    budget = json.loads((several / "stage" / "processes" / "budget.json").read_text())
    expected = json.loads((stages.one / "provenance.json").read_text())["budget"]
    # Shorter batches are padded less.
    assert budget.pop("tokens") <= expected.pop("tokens")
    assert budget == expected
    settings = several_settings(stages) | _epochs(stages)
    assert training_steps("finetune", settings, 41) == budget["steps"]


def _epochs(stages):
    resolved = make_stage("finetune", several_settings(stages)).settings
    return {name: resolved[name] for name in ("max_steps", "gradient_accumulation_steps")}
