"""The process in which vLLM answers; `holdfast.evaluate.vllm_backend` starts it and talks to it.

It reads JSON lines and writes JSON lines. The first line that it reads is the job,
`{"engine": {…}, "sampling": {…}, "adapter": path or null}`: the arguments of vLLM's `LLM` and
`SamplingParams`, and a folder in PEFT's format. It writes `{"ready": version of vLLM}`, or
`{"missing": name}` where a package is not installed. Every later line is a list of prompts, each
a list of token ids; the reply is `{"answers": […]}`, the new ids of each. It ends with its input.
Whatever goes wrong is told on the standard error, and the exit code is not 0.

Written against vLLM 0.32. Nothing but vLLM and the standard library is imported here.
"""

import json
import os
import sys
from typing import Any, TextIO


def serve(requests: TextIO, replies: TextIO) -> None:
    """Load the model that the first request names, then answer every further one."""

    def reply(**content: Any) -> None:
        replies.write(json.dumps(content) + "\n")
        replies.flush()

    job = json.loads(requests.readline())
    try:
        import vllm  # pyright: ignore[reportMissingImports] (an extra)
        from vllm import LLM, SamplingParams, TokensPrompt  # pyright: ignore[reportMissingImports]
        from vllm.lora.request import LoRARequest  # pyright: ignore[reportMissingImports]
    except ModuleNotFoundError as error:
        reply(missing=error.name)
        return
    engine = LLM(**job["engine"])
    sampling = SamplingParams(**job["sampling"])
    adapter = LoRARequest("adapter", 1, job["adapter"]) if job["adapter"] else None
    reply(ready=vllm.__version__)
    for line in requests:
        prompts = [TokensPrompt(prompt_token_ids=ids) for ids in json.loads(line)]
        outputs = engine.generate(prompts, sampling, use_tqdm=False, lora_request=adapter)
        reply(answers=[list(output.outputs[0].token_ids) for output in outputs])


def main() -> None:
    """Serve on the standard streams. What vLLM prints goes to the standard error instead."""
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as replies:
        os.dup2(2, 1)
        serve(sys.stdin, replies)


if __name__ == "__main__":
    main()
