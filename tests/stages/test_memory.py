"""A batch of one that does not fit in memory is told in a sentence, with what would need less."""

import json

import pytest
import torch
from transformers import LlamaForCausalLM

from command import done, holdfast
from holdfast.errors import UserError
from holdfast.evaluate import generation
from holdfast.evaluate.judges.keywords import KeywordsJudge
from holdfast.stages.memory import memory_told
from hub_folders import write_model

GPU = "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 14.57 GiB."
ROWS = [{"instruction": f"Name river {n}.", "output": f"The Ouse, {n}."} for n in range(4)]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("memory")
    write_model(place / "base")
    for name in ("train", "asked"):
        rows = [{**row, "instruction": f"{name}: {row['instruction']}"} for row in ROWS]
        (place / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return place


@pytest.fixture
def full(place, monkeypatch):
    """From here on no model has memory for any batch; gives the sizes that were tried."""
    monkeypatch.chdir(place)
    tried = []

    def forward(self, input_ids=None, **_):
        tried.append(len(input_ids))
        raise torch.OutOfMemoryError(GPU)

    monkeypatch.setattr(LlamaForCausalLM, "forward", forward)
    return tried


def told(*words):
    ended = holdfast(*words, "--output", "out")
    assert (ended.code, ended.err.count("\n")) == (2, 1), ended
    assert "Traceback" not in ended.out + ended.err
    assert "does not fit in memory (CUDA out of memory)" in ended.err
    return ended.err


def test_a_training_with_one_row(full):
    said = told("align", "base", "data=train.jsonl", "per_device_train_batch_size=1")
    assert "the model with a single row does not fit" in said
    for help in ("activation_checkpointing=true", "max_length below 512", "quantization=4bit"):
        assert help in said
    assert "per_device_train_batch_size" not in said
    assert "a smaller model." in said


def test_a_training_of_all_weights_with_several_rows(full):
    words = ("finetune", "base", "data=train.jsonl", "adapter=full")
    said = told(*words, "per_device_train_batch_size=4", "activation_checkpointing=true")
    assert "the model with a batch of 4 rows does not fit" in said
    assert "a smaller per_device_train_batch_size with as many times more" in said
    assert "adapter=double in the place of full" in said
    assert "activation_checkpointing" not in said
    assert "quantization" not in said  # weights in 4 bits cannot be trained


def test_a_repair(full):
    said = told("repair", "base", "data=train.jsonl", "batch_size=3")
    assert "the model with a batch of 3 rows does not fit" in said
    assert "a smaller batch_size, which changes no result" in said


def test_an_evaluation_after_its_batches_were_halved_to_one(full, monkeypatch):
    monkeypatch.setattr(generation, "together", lambda model: "any")  # asks a model by passes
    prompts = ("harmful_data=asked.jsonl", "benign_data=asked.jsonl", "batch_size=4", "task=null")
    said = told("evaluate", "base", *prompts, "judges=[keywords]", "max_new_tokens=7")
    assert full[-3:] == [4, 2, 1]
    assert "the model with a single prompt or row does not fit" in said
    assert "max_new_tokens below 7" in said
    assert "quantization=4bit" in said


def test_a_judge(place, monkeypatch):
    def judge(self, *_):
        raise torch.OutOfMemoryError(GPU)

    monkeypatch.chdir(place)
    monkeypatch.setattr(KeywordsJudge, "judge", judge)
    prompts = ("harmful_data=asked.jsonl", "benign_data=asked.jsonl", "task=null")
    words = ("evaluate", "base", *prompts, "judges=[keywords]", "max_new_tokens=3")
    assert "the judge keywords with a single answer does not fit" in told(*words)
    monkeypatch.undo()
    monkeypatch.chdir(place)
    done(*words, "--output", "out")  # goes on from the answers that are there


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried 8 TB"),
        RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"),
    ],
)
def test_the_memory_of_other_devices(error):
    with (
        pytest.raises(
            UserError, match=r"^the model does not fit in memory \(.*\); what would .* a"
        ),
        memory_told("the model", ["a"]),
    ):
        raise error


def test_another_error_stays_itself():
    for error in (RuntimeError("cuDNN error: CUDNN_STATUS_NOT_SUPPORTED."), RuntimeError("odd")):
        with pytest.raises(RuntimeError, match=str(error)), memory_told("the model", []):
            raise error
