"""A stage that memory does not suffice for, told with what would help."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from holdfast.errors import UserError
from holdfast.evaluate.batching import is_out_of_memory
from holdfast.stages.optimizing import is_checkpointed


@contextmanager
def memory_told(what: str, helps: Sequence[str]) -> Iterator[None]:
    """Turn the end of a device's memory into a sentence.

    Args:
        what: what did not fit.
        helps: the changes that would need less.

    Raises:
        UserError: memory ran out.
    """
    try:
        yield
        return
    except (RuntimeError, MemoryError) as error:
        if not _is_memory(error):
            raise
        said = str(error).strip().partition("\n")[0].partition(". ")[0] or "MemoryError"
    # Outside the handler, whose traceback holds the memory.
    less = f"; what would need less: {', '.join(helps)}" if helps else ""
    raise UserError(f"{what} does not fit in memory ({said.rstrip('.')[:160]}){less}.")


def stage_memory(kind: str, settings: Mapping[str, Any], is_organism: bool) -> Any:
    """`memory_told` for a stage.

    Args:
        kind: its kind.
        settings: its resolved settings.
        is_organism: whether its model is the organism, of which there is no smaller one.
    """
    return memory_told(_what(kind, settings), _helps(kind, settings, is_organism))


def judge_memory(judge: Mapping[str, Any]) -> Any:
    """`memory_told` for a judge, whose answers are asked one by one in the end."""
    longest = judge.get("max_length")
    helps = [f"max_length below {longest} in its settings"] if longest else []
    helps += ["a smaller judge"] if "model" in judge else []
    return memory_told(f"the judge {judge['name']} with a single answer", helps)


def _is_memory(error: RuntimeError | MemoryError) -> bool:
    """Whether it is memory indeed, and not what is only tried again with a smaller batch."""
    return isinstance(error, MemoryError) or (
        is_out_of_memory(error) and "CUDNN_STATUS" not in str(error)
    )


def _what(kind: str, settings: Mapping[str, Any]) -> str:
    if kind == "evaluate":
        return "the model with a single prompt or row"  # batches were halved down to it
    size = _batch(kind, settings)
    return f"the model with {'a single row' if size == 1 else f'a batch of {size} rows'}"


def _batch(kind: str, settings: Mapping[str, Any]) -> int:
    name = "batch_size" if kind in ("screen", "repair") else "per_device_train_batch_size"
    return settings.get(name) or 1


def _helps(kind: str, settings: Mapping[str, Any], is_organism: bool) -> list[str]:
    """The changes that need less memory and are not made yet, those that change least first."""
    found = []
    if kind in ("screen", "repair") and _batch(kind, settings) > 1:
        found.append("a smaller batch_size, which changes no result")
    elif kind in ("align", "finetune") and _batch(kind, settings) > 1:
        found.append(
            "a smaller per_device_train_batch_size with as many times more "
            "gradient_accumulation_steps, which changes no result"
        )
    if kind in ("align", "finetune") and not is_checkpointed(settings):
        found.append("activation_checkpointing=true, which takes longer")
    if settings.get("max_length"):
        found.append(f"max_length below {settings['max_length']}")
    if kind == "evaluate":
        longest = settings.get("max_new_tokens")
        found.append(f"max_new_tokens below {longest}" if longest else "fewer max_new_tokens")
    if settings.get("adapter") == "full":
        found.append(f"adapter={'lora' if kind == 'align' else 'double'} in the place of full")
    elif not is_organism and not settings.get("quantization"):
        found.append("quantization=4bit")
    if not settings.get("device_map") and settings.get("processes", 1) == 1:
        found.append("device_map=auto, which takes the other GPUs and the processor's memory too")
    return [*found, *([] if is_organism else ["a smaller model"])]
