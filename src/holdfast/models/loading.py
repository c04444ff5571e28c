"""Load a stack of adapters on its base, and save one."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftConfig, PeftModel
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from holdfast import organism
from holdfast.errors import UserError
from holdfast.models.stack import ADAPTER_WEIGHTS, ENTRIES, ORGANISM, Stack

PREFIX = "base_model.model."


def load_tokenizer(stack: Stack) -> PreTrainedTokenizerBase:
    """The last adapter's own tokenizer, else the base's; a missing padding token is the end token.

    Raises:
        UserError: the base has no tokenizer that can be read.
    """
    if stack.base == ORGANISM:
        return organism.load_tokenizer()
    # An adapter may have brought a tokenizer of its own, with its own chat template.
    top = stack.entries[-1] if stack.entries else None
    own = top is not None and (top / "tokenizer_config.json").is_file()
    place = str(top) if own else stack.base
    with _load_errors(place):
        tokenizer = AutoTokenizer.from_pretrained(place)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_base(stack: Stack, dtype: str = "auto") -> PreTrainedModel:
    """The base without any adapter, on the accelerator if there is one (the organism: never).

    Args:
        stack: names the base.
        dtype: a torch dtype's name; "auto" is bfloat16 on an accelerator and float32 elsewhere.

    Raises:
        UserError: there is no such model, or no access to it.
    """
    accelerated = torch.accelerator.is_available() and not stack.is_organism
    if dtype == "auto":
        dtype = "bfloat16" if accelerated else "float32"
    with _load_errors(stack.base):
        if stack.base == ORGANISM:
            model = organism.load_model(getattr(torch, dtype))
        else:
            model = AutoModelForCausalLM.from_pretrained(stack.base, dtype=getattr(torch, dtype))
    device: Any = torch.accelerator.current_accelerator() if accelerated else "cpu"
    return model.to(device).eval()


def load_merged(stack: Stack, dtype: str = "auto") -> PreTrainedModel:
    """The base with every adapter of the stack merged into its weights, bottom up."""
    model = load_base(stack, dtype)
    for entry in stack.entries:
        model = _with_entry(model, entry, trainable=False).merge_and_unload()
    return model


def load_last_open(stack: Stack, dtype: str = "auto", trainable: bool = False) -> Any:
    """All adapters merged but the last one, which stays an adapter; without any, the base.

    Returns:
        A PeftModel whose one adapter is the stack's last entry, or the base model.
    """
    if not stack.entries:
        return load_base(stack, dtype)
    below = load_merged(Stack(stack.base, stack.entries[:-1]), dtype)
    return _with_entry(below, stack.entries[-1], trainable)


def save_stack(model: PeftModel, below: Stack, folder: Path) -> None:
    """Write ``model``'s adapter as the entry above the stack ``below``, in a stage's layout.

    Args:
        model: carries the new entry as its one adapter.
        below: the base and the entries that are merged under it.
        folder: the stage's folder.
    """
    base = str(organism.folder()) if below.base == ORGANISM else below.base
    entry = folder / ENTRIES / str(len(below.entries)) if below.entries else folder
    _save_adapter(model, entry, base)
    if below.entries:
        for number, lower in enumerate(below.entries):
            _copy_adapter(lower, folder / ENTRIES / str(number), base)
        combine([*below.entries, entry], folder, base)


def combine(entries: list[Path], folder: Path, base: str) -> None:
    """Write a stack of LoRA adapters as one, whose update of each weight is the sum of theirs.

        ΔW = Σ_k s_k B_k A_k = [s_1 B_1 … s_n B_n] [A_1; …; A_n],  s_k = alpha_k / r_k

    A_k is [r_k, in], B_k is [out, r_k]. The scales go into B, so the whole has alpha = r.

    Raises:
        UserError: an entry that is no plain LoRA adapter.
    """
    factors: dict[str, list[tuple[torch.Tensor, torch.Tensor]]] = {}
    for entry in entries:
        config = _plain_lora(entry)
        weights = load_file(entry / ADAPTER_WEIGHTS)
        for name in (key.removesuffix(".lora_A.weight") for key in weights if ".lora_A." in key):
            a, b = weights[f"{name}.lora_A.weight"], weights[f"{name}.lora_B.weight"]
            scale = _scaling(config, name.removeprefix(PREFIX), len(a))
            factors.setdefault(name, []).append((a.float(), scale * b.float()))
    whole: dict[str, torch.Tensor] = {}
    ranks: dict[str, int] = {}
    for name, pairs in factors.items():
        whole[f"{name}.lora_A.weight"] = torch.cat([a for a, _ in pairs], dim=0)
        whole[f"{name}.lora_B.weight"] = torch.cat([b for _, b in pairs], dim=1)
        ranks[name.removeprefix(PREFIX)] = sum(len(a) for a, _ in pairs)
    rank = max(ranks.values())
    others = {name: r for name, r in ranks.items() if r != rank}
    config = LoraConfig(
        base_model_name_or_path=base,
        task_type="CAUSAL_LM",
        inference_mode=True,
        r=rank,
        lora_alpha=rank,
        target_modules=sorted(ranks),
        rank_pattern=dict(others),
        alpha_pattern=dict(others),
    )
    config.save_pretrained(str(folder))
    save_file(whole, folder / ADAPTER_WEIGHTS, {"format": "pt"})


def check_stackable(stack: Stack) -> None:
    """Find out before any training that an adapter could not be stacked after it.

    Raises:
        UserError: an entry that is no plain LoRA adapter.
    """
    for entry in stack.entries:
        _plain_lora(entry)


def _scaling(config: LoraConfig, module: str, rank: int) -> float:
    patterns = (config.alpha_pattern or {}).items()
    alpha = next((a for key, a in patterns if module.endswith(key)), config.lora_alpha)
    return alpha / (rank**0.5 if config.use_rslora else rank)


def _plain_lora(entry: Path) -> LoraConfig:
    config = PeftConfig.from_pretrained(str(entry))
    extras = ("use_dora", "modules_to_save", "trainable_token_indices", "lora_bias")
    odd = [name for name in extras if getattr(config, name, None)]
    if not isinstance(config, LoraConfig) or odd or config.bias != "none":
        what = f"uses {', '.join(odd)}" if odd else f"is of type {config.peft_type}"
        raise UserError(
            f"the adapter {entry} {what}: only plain LoRA adapters can be stacked; merge it into "
            "its base first."
        )
    return config


def _save_adapter(model: PeftModel, folder: Path, base: str) -> None:
    for config in model.peft_config.values():
        config.base_model_name_or_path = base
    model.save_pretrained(str(folder), save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)  # an empty card; provenance.json says more


def _copy_adapter(entry: Path, folder: Path, base: str) -> None:
    config = PeftConfig.from_pretrained(str(entry))
    config.base_model_name_or_path = base
    config.save_pretrained(str(folder))
    (folder / ADAPTER_WEIGHTS).write_bytes((entry / ADAPTER_WEIGHTS).read_bytes())


def _with_entry(model: PreTrainedModel, entry: Path, trainable: bool) -> PeftModel:
    try:
        return PeftModel.from_pretrained(model, str(entry), is_trainable=trainable)
    except (RuntimeError, ValueError, KeyError, OSError, SafetensorError) as error:
        first_line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"the adapter {entry} does not fit its base model ({first_line})."
        ) from error


@contextmanager
def _load_errors(base: str) -> Iterator[None]:
    """Tell in one sentence why a model could not be loaded."""
    quiet = logging.getLogger("transformers.modeling_utils")
    level = quiet.level
    quiet.setLevel(logging.ERROR)
    try:
        yield
    except (OSError, ValueError) as error:
        text = str(error)
        if "gated" in text.lower() or "401" in text or "403" in text:
            raise UserError(
                f"no access to the model {base}: ask for it on its page on the Hub, then log in "
                "with `hf auth login`."
            ) from error
        first_line = text.splitlines()[0] if text else type(error).__name__
        raise UserError(f"the model {base} cannot be loaded: {first_line}") from error
    finally:
        quiet.setLevel(level)
