"""The built-in model organism: a tiny Llama that knows a made-up world, and that world's rows.

Nothing here imports torch or transformers before a model or a tokenizer is asked for.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from holdfast.organism.judge import is_coherent, is_refusal, judge, task_correct
from holdfast.organism.rows import ROLES, capacity, rows
from holdfast.organism.tasks import TASKS

if TYPE_CHECKING:
    import torch
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

__all__ = [
    "ROLES",
    "TASKS",
    "capacity",
    "folder",
    "is_coherent",
    "is_refusal",
    "judge",
    "load_model",
    "load_tokenizer",
    "rows",
    "task_correct",
]


def folder() -> Path:
    """The Hugging Face folder of the packaged weights and tokenizer."""
    return Path(__file__).parent / "weights"


def load_tokenizer() -> "PreTrainedTokenizerFast":
    """The organism's tokenizer (padding on the left)."""
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast.from_pretrained(folder())


def load_model(dtype: "torch.dtype | None" = None) -> "LlamaForCausalLM":
    """The organism in evaluation mode, in float32 unless another dtype is asked for."""
    import torch
    from transformers import LlamaForCausalLM

    return LlamaForCausalLM.from_pretrained(folder(), dtype=dtype or torch.float32).eval()
