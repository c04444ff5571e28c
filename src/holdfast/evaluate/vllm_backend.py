"""Answers from vLLM, which runs in a process of its own (the extra ``holdfast[vllm]``).

vLLM holds on to its GPU memory, its signal handlers and its own version of much that is imported,
so it never enters this process. The prompts are rendered and encoded here, by the one function
that training uses, and sent as token ids; the answers come back as token ids and are decoded here.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import AutoConfig, GenerationConfig, PreTrainedTokenizerBase

from holdfast.data.prompts import Row
from holdfast.errors import UserError
from holdfast.evaluate.generation import cut_at_end, decode, encode, end_tokens

# The values that vLLM's `max_lora_rank` may have.
RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)


class VllmBackend:
    """A model in a vLLM process that answers greedily, as `generation.Generator` does.

    The process starts with the first call and ends with `close`, at the end of a ``with`` block, or
    with this process. A stage's folder is one LoRA adapter, its whole stack in one, and is given to
    vLLM as it is; it is not merged into the weights, and vLLM's kernels round in their own way, so
    its answers are close to those of transformers and not equal: the backend belongs to a protocol.

    Args:
        base: the base model: a local folder, or an id on the Hub.
        tokenizer: renders the prompts and decodes the answers.
        max_new_tokens: the longest answer, in tokens.
        revision: the base's revision on the Hub.
        adapter: a LoRA adapter on it: a stage's folder, or one that PEFT wrote.
        dtype: the number format of the weights.
        max_length: the longest prompt with its answer, in tokens, which decides how much memory
            vLLM takes for its cache; None is all that the model can read.
        memory: the share of a GPU's memory that vLLM takes, above 0 to 1; None for its own choice.
        gpus: among how many GPUs it divides the model (tensor parallelism).

    Raises:
        UserError: the adapter or the model's config cannot be read, the rank is too high, or there
            is no end-of-sequence token; when called: vLLM is not installed, or its process ended.
    """

    def __init__(
        self,
        base: str,
        tokenizer: PreTrainedTokenizerBase,
        max_new_tokens: int,
        revision: str | None = None,
        adapter: Path | None = None,
        dtype: str = "bfloat16",
        max_length: int | None = None,
        memory: float | None = None,
        gpus: int = 1,
    ):
        self._tokenizer = tokenizer
        self._ends = end_tokens(tokenizer, _own_settings(base, revision))
        engine: dict[str, Any] = {"model": base, "dtype": dtype, "seed": 0}
        if revision is not None:
            engine["revision"] = revision
        if max_length is not None:
            engine["max_model_len"] = max_length
        if memory is not None:
            engine["gpu_memory_utilization"] = memory
        if gpus > 1:
            engine["tensor_parallel_size"] = gpus
        if adapter is not None:
            engine |= {"enable_lora": True, "max_loras": 1, "max_lora_rank": max_rank(adapter)}
        self._job = {
            "engine": engine,
            "sampling": {
                "temperature": 0.0,
                "max_tokens": max_new_tokens,
                "stop_token_ids": self._ends,
                "detokenize": False,
            },
            "adapter": str(adapter.resolve()) if adapter is not None else None,
        }
        self._process: subprocess.Popen[bytes] | None = None
        self._log: Any = None

    def __call__(self, prompts: Sequence[Row | str]) -> list[str]:
        """The greedy answers: new text only, without special tokens."""
        if not prompts:
            return []
        if self._process is None:
            self._start()
        answers = self._ask([encode(prompt, self._tokenizer) for prompt in prompts])["answers"]
        new = [cut_at_end(ids, self._ends) for ids in answers]
        return decode(new, self._tokenizer)

    def close(self) -> None:
        """End the process, and give its memory back."""
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.close()  # it ends with its input
            process.wait(timeout=30)
        except (OSError, subprocess.TimeoutExpired):
            process.kill()
            process.wait()
        process.stdout.close()
        self._log.close()

    def __enter__(self) -> VllmBackend:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self) -> None:
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  it lives as long as the process
        self._process = subprocess.Popen(
            [sys.executable, "-m", "holdfast.evaluate.vllm_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env={**os.environ, "VLLM_NO_USAGE_STATS": "1"},
            # Ctrl-C is for this process: the batch under way is finished and written first.
            start_new_session=True,
        )
        reply = self._ask(self._job)
        if "missing" in reply:
            self.close()
            name = reply["missing"]
            what = "vLLM is" if name == "vllm" else f"the package {name!r}, which vLLM needs, is"
            raise UserError(
                f"{what} not installed: run `pip install 'holdfast[vllm]'` (it needs an NVIDIA or "
                "AMD GPU), or leave the backend at transformers."
            )

    def _ask(self, request: Any) -> Mapping[str, Any]:
        process = self._process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps(request).encode() + b"\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except BrokenPipeError:
            line = b""
        if not line.endswith(b"\n"):
            code = process.wait()
            self._log.seek(0)
            text = self._log.read().decode("utf-8", "replace")
            self.close()
            last = [line.strip() for line in text.splitlines() if line.strip()][-3:]
            raise UserError(
                f"vLLM's process ended (exit code {code}): {' | '.join(last) or 'it said nothing'}"
            )
        return json.loads(line)


def max_rank(adapter: Path) -> int:
    """The smallest rank that vLLM can be set to which holds the adapter's highest.

    Raises:
        UserError: there is no readable adapter config, it is no LoRA, or its rank is above 512.
    """
    path = adapter / "adapter_config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        rank = max(int(config["r"]), *map(int, (config.get("rank_pattern") or {}).values()), 0)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is no LoRA adapter's config that can be read: {error}") from error
    fitting = [allowed for allowed in RANKS if allowed >= rank]
    if not fitting:
        raise UserError(
            f"the adapter {adapter} has the rank {rank}, and vLLM takes at most {RANKS[-1]}: merge "
            "it into its base first, or leave the backend at transformers."
        )
    return fitting[0]


def _own_settings(base: str, revision: str | None) -> GenerationConfig:
    """The model's own generation settings, of which the end tokens count."""
    wanted = revision or "main"
    try:
        return GenerationConfig.from_pretrained(base, revision=wanted)
    except OSError:  # a folder need not have them; the model's config then says the same
        pass
    try:
        config = AutoConfig.from_pretrained(base, revision=wanted, trust_remote_code=False)
    except (OSError, ValueError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"the config of the model {base} cannot be read: {first}") from error
    return GenerationConfig.from_model_config(config)
