"""The vLLM backend with a stand-in for the package `vllm`, which the child process imports.

The stand-in writes down what it is asked, prints on the standard output as vLLM does, and
continues a prompt by counting up from its last token.
"""

import json
import os
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from holdfast.errors import UserError
from holdfast.evaluate import vllm_backend
from holdfast.evaluate.answers import answer_all
from holdfast.evaluate.generation import encode
from holdfast.evaluate.vllm_backend import VllmBackend, max_rank
from holdfast.models.stack import resolve
from holdfast.stages.evaluation import model as evaluation
from holdfast.stages.identity import stage_identity
from holdfast.stages.resolve import resolve as resolve_settings
from tiny_models import lora, tiny_model

VLLM = """
import json, os, sys
from typing import NamedTuple

__version__ = "0.32.0"
print("INFO: a line on the standard output", flush=True)
LOG = os.environ["VLLM_STAND_IN_LOG"]

def log(**content):
    with open(LOG, "a") as file:
        file.write(json.dumps(content) + "\\n")

class Completion(NamedTuple):
    token_ids: tuple
    text: str = ""

class Output(NamedTuple):
    outputs: list

class SamplingParams:
    def __init__(self, *, temperature=1.0, max_tokens=16, stop_token_ids=None, detokenize=True):
        self.__dict__.update(locals())
        del self.self

def TokensPrompt(prompt_token_ids):
    return {"prompt_token_ids": prompt_token_ids}

class LLM:
    def __init__(self, model, *, dtype="auto", seed=0, revision=None, max_model_len=None,
                 enable_lora=False, max_loras=1, max_lora_rank=16,
                 gpu_memory_utilization=0.9, tensor_parallel_size=1):
        engine = dict(locals())
        del engine["self"]
        log(engine=engine, pid=os.getpid(), silent=os.environ["VLLM_NO_USAGE_STATS"])
        if model.endswith("broken"):
            print("loading weights")
            raise RuntimeError("CUDA out of memory.\\nTried to allocate 20 GiB")

    def generate(self, prompts, sampling_params=None, *, use_tqdm=True, lora_request=None):
        print("INFO: another one", flush=True)
        log(prompts=prompts, sampling=sampling_params.__dict__, tqdm=use_tqdm,
            lora=lora_request and lora_request.__dict__)
        answers = []
        for prompt in prompts:
            last = prompt["prompt_token_ids"][-1]
            if last == 63:
                os._exit(9)
            ids = []
            while len(ids) < sampling_params.max_tokens:
                last = last + 1 if last < 20 else 2
                ids.append(last)
                if last in sampling_params.stop_token_ids:
                    break
            answers.append(Output([Completion(tuple(ids))]))
        return answers
"""
REQUEST = """
class LoRARequest:
    def __init__(self, lora_name, lora_int_id, lora_path):
        self.__dict__.update(lora_name=lora_name, lora_int_id=lora_int_id, lora_path=lora_path)
"""


@pytest.fixture
def stand_in(tmp_path, monkeypatch) -> Path:
    """Put the package on the child's path; returns the file that it logs to."""
    package = tmp_path / "packages" / "vllm"
    (package / "lora").mkdir(parents=True)
    (package / "__init__.py").write_text(VLLM)
    (package / "lora" / "__init__.py").touch()
    (package / "lora" / "request.py").write_text(REQUEST)
    monkeypatch.setenv("PYTHONPATH", str(package.parent))
    monkeypatch.setenv("VLLM_STAND_IN_LOG", str(tmp_path / "log"))
    return tmp_path / "log"


@pytest.fixture
def base(tmp_path) -> str:
    tiny_model("llama", eos_token_id=[2, 19]).save_pretrained(tmp_path / "base")
    return str(tmp_path / "base")


def said(log: Path) -> list[dict]:
    return [json.loads(line) for line in log.read_text().splitlines()]


def test_it_is_asked_for_what_transformers_would_answer(stand_in, base, tokenizer):
    with VllmBackend(base, tokenizer, max_new_tokens=5, dtype="float32") as backend:
        rows = [{"instruction": "w9 w9", "input": "", "output": "not read"}, "w15 w16", "w6"]
        answers = backend(rows)
        # Token 19 is one of the model's own end tokens, 2 the tokenizer's.
        assert answers[1:] == ["w17 w18", "w7 w8 w9 w10 w11"]
        assert backend(["w20"]) == [""]
        assert backend([]) == []
    engine, first, second = said(stand_in)
    assert engine["engine"] == {
        "model": base,
        "dtype": "float32",
        "seed": 0,
        "revision": None,
        "max_model_len": None,
        "enable_lora": False,
        "max_loras": 1,
        "max_lora_rank": 16,
        "gpu_memory_utilization": 0.9,
        "tensor_parallel_size": 1,
    }
    assert engine["pid"] != os.getpid()
    assert engine["silent"] == "1"
    assert first["prompts"] == [{"prompt_token_ids": encode(row, tokenizer)} for row in rows]
    assert first["sampling"] == {
        "temperature": 0.0,
        "max_tokens": 5,
        "stop_token_ids": [2, 19],
        "detokenize": False,
    }
    assert first["lora"] is None
    assert first["tqdm"] is False
    assert second["prompts"] == [{"prompt_token_ids": [1, 20]}]
    assert "vllm" not in sys.modules


def test_an_adapter_is_given_as_it_is(stand_in, base, tokenizer, tmp_path):
    lora(tiny_model("llama"), r=20).save_pretrained(str(tmp_path / "adapter"))
    backend = VllmBackend(
        base, tokenizer, 3, revision="v1", adapter=tmp_path / "adapter", max_length=40,
        memory=0.5, gpus=2,
    )  # fmt: skip
    with backend:
        backend(["w6"])
    engine, asked = said(stand_in)
    assert engine["engine"]["enable_lora"] is True
    assert engine["engine"]["max_lora_rank"] == 32
    assert engine["engine"]["max_model_len"] == 40
    assert engine["engine"]["revision"] == "v1"
    assert engine["engine"]["gpu_memory_utilization"] == 0.5
    assert engine["engine"]["tensor_parallel_size"] == 2
    assert asked["lora"] == {
        "lora_name": "adapter",
        "lora_int_id": 1,
        "lora_path": str(tmp_path / "adapter"),
    }


def test_it_is_a_backend_of_the_answers_file(stand_in, base, tokenizer, tmp_path):
    sets = {"a": ["w5", "w6 w7", "w8"], "b": ["w9"]}
    with VllmBackend(base, tokenizer, 3) as backend:
        answers = answer_all(sets, tmp_path / "f", lambda: backend, 2, {"backend": "vllm"})
    assert answers == {"a": ["w6 w7 w8", "w8 w9 w10", "w9 w10 w11"], "b": ["w10 w11 w12"]}
    assert [len(line["prompts"]) for line in said(stand_in)[1:]] == [2, 1, 1]


def test_the_process_ends_with_it(stand_in, base, tokenizer):
    with VllmBackend(base, tokenizer, 3) as backend:
        backend(["w6"])
        pid = said(stand_in)[0]["pid"]
        os.kill(pid, 0)
        assert os.getsid(pid) != os.getsid(0)  # Ctrl-C is not for it
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    backend.close()  # a second time does nothing
    forgotten = VllmBackend(base, tokenizer, 3)
    forgotten(["w6"])
    pid = said(stand_in)[2]["pid"]
    assert forgotten._process is not None
    assert forgotten._process.stdin is not None
    forgotten._process.stdin.close()  # as when this process is killed
    assert forgotten._process.wait(timeout=30) == 0
    forgotten.close()


def test_its_last_lines_are_told(stand_in, base, tokenizer, tmp_path):
    tiny_model("llama").save_pretrained(tmp_path / "broken")
    with (
        VllmBackend(str(tmp_path / "broken"), tokenizer, 3) as backend,
        pytest.raises(UserError, match=r"ended \(exit code 1\): .*CUDA out of memory.*20 GiB"),
    ):
        backend(["w6"])
    backend = VllmBackend(base, tokenizer, 3)
    assert backend(["w6"]) == ["w7 w8 w9"]
    with pytest.raises(UserError, match=r"exit code 9\)"):
        backend(["w6", "w63"])
    started = time.perf_counter()
    assert backend(["w6"]) == ["w7 w8 w9"]  # a new process
    backend.close()
    assert time.perf_counter() - started < 60


def test_mistakes_are_told(base, tokenizer, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    backend = VllmBackend(base, tokenizer, 3)
    with pytest.raises(UserError, match=r"vLLM is not installed: .*holdfast\[vllm\]"):
        backend(["w6"])
    (tmp_path / "vllm.py").write_text("import no_such_package_of_vllm")
    with pytest.raises(UserError, match="the package 'no_such_package_of_vllm', which vLLM needs"):
        backend(["w6"])
    with pytest.raises(UserError, match=r"config of the model .*nowhere"):
        VllmBackend(str(tmp_path / "nowhere"), tokenizer, 3)
    with pytest.raises(UserError, match=r"adapter_config\.json is no LoRA"):
        VllmBackend(base, tokenizer, 3, adapter=tmp_path)


def test_ranks(tmp_path):
    config = tmp_path / "adapter_config.json"
    for rank, pattern, expected in [
        (1, {}, 1),
        (2, {}, 8),
        (8, {}, 8),
        (9, None, 16),
        (8, {"q_proj": 70, "v_proj": 3}, 128),
        (512, {}, 512),
    ]:
        config.write_text(json.dumps({"r": rank, "rank_pattern": pattern}))
        assert max_rank(tmp_path) == expected
    config.write_text(json.dumps({"r": 513}))
    with pytest.raises(UserError, match="rank 513, and vLLM takes at most 512"):
        max_rank(tmp_path)
    for content in ("{}", "[]", "nonsense", '{"r": "many"}'):
        config.write_text(content)
        with pytest.raises(UserError, match="no LoRA adapter's config"):
            max_rank(tmp_path)


def test_its_settings_in_an_evaluation(stand_in, base, monkeypatch):
    """The share of memory changes no result, the number of GPUs does; both are vLLM's alone."""
    stack = resolve(base)

    def of(**given):
        settings = resolve_settings("evaluate", given, stack)
        return settings, stage_identity("evaluate", settings, {}, {})

    plain, identity = of(backend="vllm")
    assert (plain["gpu_memory_utilization"], plain["tensor_parallel_size"]) == (None, 1)
    settings, same = of(backend="vllm", gpu_memory_utilization=0.5)
    assert same == identity
    settings, other = of(backend="vllm", gpu_memory_utilization=0.5, tensor_parallel_size=2)
    assert other != identity
    monkeypatch.setattr(evaluation, "load_tokenizer", lambda *_: SimpleNamespace(chat_template=""))
    made = []
    monkeypatch.setattr(vllm_backend, "VllmBackend", lambda *a, **given: made.append(given))
    work = SimpleNamespace(settings=settings, model=stack, model_identity="a", system=None)
    evaluation.EvaluatedModel(work).backend(5, "float16")
    assert (made[0]["memory"], made[0]["gpus"], made[0]["dtype"]) == (0.5, 2, "float16")
    ours = [
        evaluation.EvaluatedModel(SimpleNamespace(**{**vars(work), "settings": one})).made_with(5)
        for one in (plain, settings)
    ]
    assert ours[0] != ours[1]
    with pytest.raises(UserError, match=r"gpu_memory_utilization is 1\.5; it must be above 0"):
        of(backend="vllm", gpu_memory_utilization=1.5)
    with pytest.raises(UserError, match="tensor_parallel_size is 0; it must be 1 or more"):
        of(backend="vllm", tensor_parallel_size=0)
    with pytest.raises(UserError, match="is a setting of vLLM, and transformers answers"):
        of(tensor_parallel_size=2)
