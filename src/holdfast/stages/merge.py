"""A stack of adapters as one model, for servers that know nothing of stacks.

    W = W₀ + Σ_k s_k B_k A_k

The sum is made in float32, bottom up, and rounded to the result's type once. The folder is one that
plain transformers loads and that further stages and `holdfast push` take like a stage's: its
provenance says what it was made of.
"""

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from holdfast.data.keys import fingerprint
from holdfast.errors import UserError
from holdfast.models.attacked import read_attack, write_attack
from holdfast.models.stack import Stack, resolve
from holdfast.models.system_prompt import read_system_prompt, write_system_prompt
from holdfast.stages.disk import disk_errors, write_config, write_json
from holdfast.stages.folders import (
    PROVENANCE,
    begin,
    checked_output,
    discard,
    finish,
    stage_lock,
)
from holdfast.stages.machine import quiet_libraries, versions
from holdfast.stages.making import given_identity
from holdfast.stages.memory import memory_told
from holdfast.stages.whole import is_finished, written_files

MERGE = "merge"
Dtype = Literal["auto", "float32", "bfloat16", "float16"]


def merge_stack(model: str, output: Path, dtype: Dtype = "auto", shard: str = "5GB") -> bool:
    """Write a base with all its adapters as one model.

    Args:
        model: the stack, as commands name models.
        output: a new folder.
        dtype: the type of its weights; auto is that of the base's files.
        shard: the largest file of weights, such as 5GB or 500MB.

    Returns:
        Whether it was made now; False where the folder holds it already.

    Raises:
        UserError: whatever is wrong with the model or the folder; an adapter that cannot be merged,
            such as one on quantized weights.
    """
    output = checked_output(output)
    stack = resolve(model)
    identity = fingerprint([{MERGE: given_identity(model), "dtype": dtype, "shard": shard}])
    with disk_errors(output), stage_lock(output):
        if is_finished(output, identity):
            return False
        quiet_libraries()
        started, clock = datetime.now(UTC), time.perf_counter()
        partial = begin(output, identity)
        try:
            with memory_told("the model in float32", ["a machine with more memory"]):
                kind = _write(stack, partial, dtype, shard)
        except BaseException:
            discard(partial)  # a merge has no state to go on from
            raise
        settings = {"model": stack.source, "dtype": kind}
        write_config(partial, settings, stage=MERGE, **stack.about())
        write_json(
            partial / PROVENANCE,
            {
                "identity": identity,
                "kind": MERGE,
                "parent": given_identity(model) if Path(model).expanduser().is_dir() else None,
                "model": given_identity(model),
                "base": stack.base,
                "base_revision": stack.revision,
                "started": started.isoformat(timespec="seconds"),
                "seconds": round(time.perf_counter() - clock, 3),
                "versions": versions(),
                **written_files(partial),
            },
        )
        finish(partial, output)
    return True


def _write(stack: Stack, folder: Path, dtype: Dtype, shard: str) -> str:
    """Write the model, its tokenizer and its system prompt; gives the weights' type."""
    import torch
    from peft import PeftModel

    from holdfast.models.loading import is_quantized, load_merged
    from holdfast.models.tokenizers import load_tokenizer

    asked = read_system_prompt(stack)
    tokenizer = load_tokenizer(stack)
    model: Any = load_merged(stack, "float32")
    if isinstance(model, PeftModel) or is_quantized(model):
        why = "its weights are quantized" if is_quantized(model) else "one of its adapters is such"
        raise UserError(
            f"{stack.source} cannot be merged: {why} that it stays beside the weights; name the "
            "base in full precision, or serve base and adapter apart."
        )
    kind = dtype if dtype != "auto" else _dtype_of(stack)
    model.to(getattr(torch, kind))
    model.save_pretrained(folder, max_shard_size=shard)
    tokenizer.save_pretrained(folder)
    write_system_prompt(folder, asked)
    write_attack(folder, read_attack(stack))
    return kind


def _dtype_of(stack: Stack) -> str:
    """The type of the base's own weights; float32 where its files do not say."""
    from transformers import AutoConfig

    from holdfast import organism
    from holdfast.models.gguf import base_file, gguf_file
    from holdfast.models.loading import at_commit, load_errors
    from holdfast.models.stack import ORGANISM

    place = str(organism.folder()) if stack.base == ORGANISM else stack.base
    file = base_file(stack.base)
    with load_errors(place, stack.revision, "the model", file):
        config = AutoConfig.from_pretrained(
            str(file.parent) if file else place,
            trust_remote_code=False,
            **at_commit(stack.revision),
            **gguf_file(file),
        )
    return str(config.get_text_config().dtype or "float32").removeprefix("torch.")
