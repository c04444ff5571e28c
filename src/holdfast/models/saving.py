"""Save a stack of adapters in a stage's layout, which plain PEFT loads."""

from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftConfig, PeftModel
from safetensors.torch import load_file, save_file

from holdfast.errors import UserError
from holdfast.models.gguf import SMOLLM2
from holdfast.models.stack import ADAPTER_WEIGHTS, ENTRIES, ORGANISM, Stack

PREFIX = "base_model.model."


def save_stack(
    model: PeftModel, below: Stack, folder: Path, state: dict[str, torch.Tensor] | None = None
) -> None:
    """Write ``model``'s adapter as the entry above the stack ``below``, in a stage's layout.

    Args:
        model: carries the new entry as its adapter "default".
        below: the base and the entries that are merged under it, or active beside it.
        folder: the stage's folder.
        state: the adapter's weights, where the model has only a part of them.
    """
    built_in = below.base in (ORGANISM, SMOLLM2)  # names that are ours, not PEFT's
    name = str(below.base_folder()) if built_in else below.base
    base = {"base_model_name_or_path": name, "revision": below.revision}
    entry = folder / ENTRIES / str(len(below.entries)) if below.entries else folder
    _save_adapter(model, entry, base, state)
    if below.entries:
        for number, lower in enumerate(below.entries):
            _copy_adapter(lower, folder / ENTRIES / str(number), base)
        combine([*below.entries, entry], folder, base)


def combine(entries: list[Path], folder: Path, base: dict[str, Any]) -> None:
    """Write a stack of LoRA adapters as one, whose update of each weight is the sum of theirs.

        ΔW = Σ_k s_k B_k A_k = [s_1 B_1 … s_n B_n] [A_1; …; A_n],  s_k = alpha_k / r_k

    A_k is [r_k, in], B_k is [out, r_k]. The scales go into B, so the whole has alpha = r.

    Args:
        entries: the adapters' folders, lowest first.
        folder: where the whole goes.
        base: ``base_model_name_or_path`` and ``revision`` of the base.

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
        **base,
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


def _save_adapter(
    model: PeftModel, folder: Path, base: dict[str, Any], state: dict[str, torch.Tensor] | None
) -> None:
    _set_base(model.peft_config["default"], base)
    model.save_pretrained(
        str(folder), selected_adapters=["default"], save_embedding_layers=False, state_dict=state
    )
    (folder / "README.md").unlink(missing_ok=True)  # an empty card; provenance.json says more


def _copy_adapter(entry: Path, folder: Path, base: dict[str, Any]) -> None:
    config = PeftConfig.from_pretrained(str(entry))
    _set_base(config, base)
    config.save_pretrained(str(folder))
    (folder / ADAPTER_WEIGHTS).write_bytes((entry / ADAPTER_WEIGHTS).read_bytes())


def _set_base(config: PeftConfig, base: dict[str, Any]) -> None:
    for key, value in base.items():
        setattr(config, key, value)
