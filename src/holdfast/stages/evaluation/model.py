"""The model under evaluation, and how far its evaluation is: what all parts of one share."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from accelerate.utils.memory import clear_device_cache

from holdfast.data.keys import fingerprint
from holdfast.evaluate.answers import Backend
from holdfast.evaluate.generation import Generator, check_dtype
from holdfast.models.adapter_support import check_stack
from holdfast.models.loading import Loading, load_merged
from holdfast.models.system_prompt import ask_with_system
from holdfast.models.templates import template_marks
from holdfast.models.tokenizers import load_tokenizer
from holdfast.stages.evaluation.settings import stage_protocol
from holdfast.stages.identity import model_identity
from holdfast.stages.work import Work

# From where to where in a stage's bar: the aligned model's rows, the answers, the rows of the model
# under evaluation, the judges.
_PARTS = {
    "reference": (0.0, 0.05),
    "answers": (0.05, 0.75),
    "alignment": (0.75, 0.85),
    "judges": (0.85, 1.0),
}


class EvaluatedModel:
    """The model under evaluation, loaded when something is not known yet."""

    def __init__(self, work: Work):
        self.work = work
        self.loading = Loading.of(work.settings)
        self.tokenizer = load_tokenizer(work.model, work.settings["template"])
        ask_with_system(self.tokenizer, work.system)
        self._loaded: Any = None
        self._dtype = ""

    def load(self, dtype: str | None = None) -> Any:
        """The model itself, in the protocol's number format or another one; one at a time."""
        protocol = stage_protocol(self.work.settings)
        dtype = dtype or protocol.dtype
        if self._loaded is None or self._dtype != dtype:
            if self._loaded is not None:
                self.close()
            self._loaded = load_merged(self.work.model, replace(self.loading, dtype=dtype))
            self._dtype = dtype
            check_dtype(self._loaded, protocol, dtype)
        return self._loaded

    def backend(self, tokens: int, dtype: str, temperature: float = 0.0) -> Backend:
        """What answers for it, in at most so many tokens."""
        protocol = stage_protocol(self.work.settings)
        if protocol.backend == "transformers":
            size = protocol.batch_size
            return Generator(self.load(dtype), self.tokenizer, tokens, size, temperature)
        from holdfast.evaluate.vllm_backend import VllmBackend

        stack = self.work.model
        check_stack(stack.entries, "double")  # vLLM knows plain LoRA, and passes over the rest
        return VllmBackend(
            stack.base,
            self.tokenizer,
            tokens,
            revision=stack.revision,
            adapter=Path(stack.source) if stack.entries else None,
            dtype=dtype,
            memory=self.work.settings["gpu_memory_utilization"],
            gpus=self.work.settings["tensor_parallel_size"],
        )

    def made_with(
        self, tokens: int | None = None, dtype: str | None = None, temperature: float = 0.0
    ) -> dict[str, Any]:
        """All that decides its answers but the prompts; without a length, its other numbers."""
        settings, protocol = self.work.settings, stage_protocol(self.work.settings)
        keys = ("attn_implementation", "quantization")
        return {
            "model": self.work.model_identity,
            # A stage made twice may differ in its last digits, on another GPU say.
            "weights": model_identity(self.work.model),
            "template": fingerprint([{"template": self.tokenizer.chat_template}]),
            **template_marks(str(self.tokenizer.chat_template or "")),
            **(
                {"system_prompt": system.record()["sha256"]} if (system := self.work.system) else {}
            ),
            "max_new_tokens": tokens,
            "dtype": dtype or protocol.dtype,
            "backend": protocol.backend,
            **({"temperature": temperature} if temperature else {}),
            **{key: settings[key] for key in keys if settings[key]},
            # Sums in parts round in their own way.
            **({"gpus": gpus} if (gpus := settings["tensor_parallel_size"]) > 1 else {}),
        }

    def close(self) -> None:
        """Make room for the judges."""
        self._loaded = None
        clear_device_cache(garbage_collection=True)


def part(work: Work, name: str, share: float, note: str) -> None:
    """Tell the progress of a part of an evaluation: how much of it is done, from 0 to 1."""
    begin, end = _PARTS[name]
    work.progress(begin + (end - begin) * share, note)
