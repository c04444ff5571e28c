"""Save a stack of adapters in a stage's layout, which plain PEFT loads."""

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftConfig, PeftModel, PeftModelForCausalLM
from peft.tuners.lora import LoraLayer
from peft.utils import get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoModelForCausalLM, PretrainedConfig

from holdfast.models.adapter_keys import read_weights, renamed
from holdfast.models.adapters import NEW
from holdfast.models.gguf import SMOLLM2
from holdfast.models.stack import ADAPTER_CONFIG, ADAPTER_WEIGHTS, ENTRIES, ORGANISM, Stack


def save_stack(
    model: PeftModel,
    below: Stack,
    folder: Path,
    state: dict[str, torch.Tensor] | None = None,
    replaced: Path | None = None,
) -> None:
    """Write ``model``'s adapter as the entry above the stack ``below``, in a stage's layout.

    Args:
        model: carries the new entry as its adapter "default".
        below: the base and the entries that are merged under it, or active beside it.
        folder: the stage's folder.
        state: the adapter's weights, where the model has only a part of them.
        replaced: the entry that the new one was loaded from; whole weights of embedding or head
            in its file are kept.
    """
    built_in = below.base in (ORGANISM, SMOLLM2)  # names that are ours, not PEFT's
    name = str(below.base_folder()) if built_in else below.base
    base = {"base_model_name_or_path": name, "revision": below.revision}
    entry = folder / ENTRIES / str(len(below.entries)) if below.entries else folder
    _save_adapter(model, entry, base, state)
    if replaced is not None:
        _keep_whole_weights(model, entry, replaced, state)
    if below.entries:
        for number, lower in enumerate(below.entries):
            _copy_adapter(lower, folder / ENTRIES / str(number), base)
        root: Any = model.get_base_model()
        combine([*below.entries, entry], folder, base, root.config)


def combine(
    entries: list[Path], folder: Path, base: dict[str, Any], config: PretrainedConfig
) -> None:
    """Write a stack of LoRA adapters as one, whose update of each weight is the sum of theirs.

        ΔW = Σ_k s_k B_k A_k = [B_1 … B_n] [s_1 A_1; …; s_n A_n]

    A_k is [r_k, in], B_k is [out, r_k]; s_k is the scale that PEFT gives the module. PEFT puts them
    together (``add_weighted_adapter``, "cat"), on a model without weights of its own. Its rank is
    the sum of the highest ranks; where a module has less, the rest is zero.

    Args:
        entries: the adapters' folders, lowest first; see `adapter_support` for what can be in them.
        folder: where the whole goes.
        base: ``base_model_name_or_path`` and ``revision`` of the base.
        config: the base model's.
    """
    skeleton_model = skeleton(config)
    names = [f"entry{number}" for number in range(len(entries))]
    model: Any = None
    for name, entry in zip(names, entries, strict=True):
        lora: Any = PeftConfig.from_pretrained(str(entry))
        lora.task_type, lora.inference_mode = "CAUSAL_LM", True
        weights = renamed(read_weights(entry), skeleton_model)
        weights = {key: weight.float() for key, weight in weights.items() if ".lora_" in key}
        if model is None:
            model = PeftModelForCausalLM(skeleton_model, lora, name)
        else:
            model.add_adapter(name, lora)
        set_peft_model_state_dict(model, weights, name)
    for name in names:
        model.peft_config[name] = _exactly(model, name)
    model.base_model.add_weighted_adapter(names, [1.0] * len(names), NEW, combination_type="cat")
    _save_adapter(model, folder, base, None)


def skeleton(config: PretrainedConfig) -> nn.Module:
    """A model of the base's structure whose weights are zeros that take no memory."""
    config = copy.deepcopy(config)
    if hasattr(config, "quantization_config"):
        delattr(config, "quantization_config")  # LoRA's factors have the same shapes on either
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    for module in model.modules():
        for name, weight in list(module.named_parameters(recurse=False)):
            zeros = torch.zeros((), dtype=torch.float32).expand(weight.shape)
            module.register_parameter(name, nn.Parameter(zeros, requires_grad=False))
    return model


def _exactly(model: Any, name: str) -> LoraConfig:
    """A config for what an adapter is in the model, whatever patterns and layers it was told by."""
    layers: dict[str, Any] = {
        module: layer
        for module, layer in model.get_base_model().named_modules()
        if isinstance(layer, LoraLayer) and name in layer.r
    }
    rank = max(layer.r[name] for layer in layers.values())
    return LoraConfig(
        task_type="CAUSAL_LM",
        inference_mode=True,
        r=rank,
        lora_alpha=rank,
        target_modules=sorted(layers),
        fan_in_fan_out=any(getattr(layer, "fan_in_fan_out", False) for layer in layers.values()),
    )


def _save_adapter(
    model: PeftModel, folder: Path, base: dict[str, Any], state: dict[str, torch.Tensor] | None
) -> None:
    _set_base(model.peft_config[NEW], base)
    model.save_pretrained(
        str(folder), selected_adapters=[NEW], save_embedding_layers=False, state_dict=state
    )
    _in_one_order(folder)
    (folder / "README.md").unlink(missing_ok=True)  # an empty card; provenance.json says more


def _keep_whole_weights(
    model: PeftModel, folder: Path, replaced: Path, state: dict[str, torch.Tensor] | None
) -> None:
    """Add to a saved adapter the embedding and head that its file had before.

    They are the model's own, or the file's where the model has only a part of them.
    """
    saved = load_file(folder / ADAPTER_WEIGHTS)
    before = renamed(read_weights(replaced), model.get_base_model())
    if before.keys() <= saved.keys():
        return
    now = get_peft_model_state_dict(model, state_dict=state, save_embedding_layers=True)
    for key in before.keys() - saved.keys():
        saved[key] = now.get(key, before[key]).detach().cpu().clone().contiguous()
    save_file(saved, folder / ADAPTER_WEIGHTS, {"format": "pt"})


def _copy_adapter(entry: Path, folder: Path, base: dict[str, Any]) -> None:
    config = PeftConfig.from_pretrained(str(entry))
    _set_base(config, base)
    config.save_pretrained(str(folder))
    _in_one_order(folder)
    shutil.copyfile(entry / ADAPTER_WEIGHTS, folder / ADAPTER_WEIGHTS)


def _in_one_order(folder: Path) -> None:
    """Sort the names in a saved adapter's configuration that PEFT keeps as sets.

    It writes them in an order that changes from process to process, and so would a model's
    fingerprint, which says whether answers are of the same weights.
    """
    file = folder / ADAPTER_CONFIG
    config = json.loads(file.read_text(encoding="utf-8"))
    for key in ("target_modules", "exclude_modules"):
        if isinstance(config.get(key), list):
            config[key] = sorted(config[key])
    file.write_text(json.dumps(config, indent=2, sort_keys=True), encoding="utf-8")


def _set_base(config: PeftConfig, base: dict[str, Any]) -> None:
    for key, value in base.items():
        setattr(config, key, value)
