"""An adapter of every kind that PEFT has, on tiny models: what each wants to be made with."""

from pathlib import Path
from typing import Any

import peft
import torch
import transformers
from peft import PeftType, get_peft_model
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from tiny_models import tiny_model

TARGETS = ["q_proj", "v_proj"]
_Q0 = r"layers\.0\.self_attn\.q_proj"

# Settings of the types, beside the targets; smaller than PEFT's own where a tiny model needs it.
TYPES: dict[str, dict[str, Any]] = {
    **{kind.value: {} for kind in PeftType},
    "PREFIX_TUNING": {"num_virtual_tokens": 4},
    "CARTRIDGE": {"num_virtual_tokens": 4},
    "ADALORA": {"total_step": 10},
    "ADAPTION_PROMPT": {"adapter_len": 4, "adapter_layers": 1, "target_modules": None},
    "IA3": {"feedforward_modules": []},
    "TRAINABLE_TOKENS": {"token_indices": [3, 4], "target_modules": None},
    "FOURIERFT": {"n_frequency": 8},
    "WAVEFT": {"n_frequency": 8},
    "VBLORA": {"vector_length": 8, "num_vectors": 16},
    "MISS": {"r": 4},
    "PSOFT": {"r": 4},
    "SHIRA": {"r": 2},
    "ROAD": {"group_size": 8},
    "C3A": {"block_size": 8},
}

# For every option of LoRA the bases and settings that use it; none where PEFT cannot make one here.
OPTIONS: dict[str, list[tuple[str, dict[str, Any]]]] = {
    "r": [("llama", {"r": 3})],
    "target_modules": [
        ("llama", {"target_modules": r".*\.1\..*(q|down)_proj"}),
        ("untied_file", {"target_modules": [*TARGETS, "lm_head"]}),
        ("tied", {"target_modules": [*TARGETS, "lm_head"]}),
        ("tied", {"target_modules": [*TARGETS, "embed_tokens"]}),
        ("tied", {"target_modules": [*TARGETS, "embed_tokens", "lm_head"]}),
    ],
    "exclude_modules": [("llama", {"exclude_modules": ["model.layers.0.self_attn.q_proj"]})],
    "lora_alpha": [("llama", {"lora_alpha": 5})],
    "lora_dropout": [("llama", {"lora_dropout": 0.5})],
    "fan_in_fan_out": [("gpt2", {"target_modules": ["c_attn"], "fan_in_fan_out": True})],
    "use_rslora": [("llama", {"use_rslora": True})],
    "bias": [("qwen2", {"bias": "all"}), ("qwen2", {"bias": "lora_only"})],
    "modules_to_save": [
        ("llama", {"modules_to_save": ["lm_head"]}),
        ("tied", {"modules_to_save": ["lm_head"]}),
        ("tied", {"modules_to_save": ["embed_tokens"]}),
    ],
    "layers_to_transform": [("llama", {"layers_to_transform": [1]})],
    "layers_pattern": [("llama", {"layers_to_transform": [1], "layers_pattern": "layers"})],
    "rank_pattern": [("llama", {"rank_pattern": {_Q0: 2, "v_proj": 7}, "use_rslora": True})],
    "alpha_pattern": [("llama", {"alpha_pattern": {_Q0: 64}})],
    "trainable_token_indices": [
        ("llama", {"trainable_token_indices": [4, 5]}),
        ("tied", {"trainable_token_indices": [4, 5]}),
    ],
    "use_dora": [("llama", {"use_dora": True})],
    "velora_config": [("llama", {"velora_config": {}})],
    "alora_invocation_tokens": [("llama", {"alora_invocation_tokens": [7, 8]})],
    "monteclora_config": [("llama", {"monteclora_config": {}})],
    "layer_replication": [("llama", {"layer_replication": [[0, 2], [1, 2]]})],
    "lora_bias": [("qwen2", {"lora_bias": True})],
    "target_parameters": [("mixtral", {"target_parameters": ["experts.gate_up_proj"]})],
    "use_bdlora": [
        (
            "llama",
            {
                "use_bdlora": {
                    "target_modules_bd_a": ["q_proj"],
                    "target_modules_bd_b": ["v_proj"],
                    "nblocks": 2,
                }
            },
        )
    ],
    "kasa_config": [("llama", {"kasa_config": {}})],
    "ensure_weight_tying": [
        ("tied", {"target_modules": [*TARGETS, "embed_tokens"], "ensure_weight_tying": True}),
        ("tied", {"modules_to_save": ["embed_tokens"], "ensure_weight_tying": True}),
    ],
    "init_lora_weights": [
        ("llama", {"init_lora_weights": start})
        for start in (True, "gaussian", "eva", "orthogonal", "mica", "pissa", "olora")
    ],
}
# What a config says that uses an option which is refused, or counts with another one alone.
VALUES: dict[str, Any] = {
    "arrow_config": {"top_k": 3},
    "use_qalora": True,
    "megatron_config": {"a": 1},
}
# The init values that are refused, as a config says them.
REFUSED_STARTS = ["pissa_niter_4", "loftq", "corda", "lora_ga", "a_later_one"]
_SUBCONFIGS = {
    "velora_config": "VeloraConfig",
    "monteclora_config": "MontecloraConfig",
    "kasa_config": "KasaConfig",
    "use_bdlora": "BdLoraConfig",
}


def write_bases(folder: Path) -> dict[str, Path]:
    """The tiny models that the adapters are made on, each in a folder."""
    gpt2 = transformers.GPT2Config(vocab_size=64, n_embd=32, n_head=4, n_layer=2, n_positions=256)
    mixtral = transformers.MixtralConfig(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=48,
        num_attention_heads=4,
        num_key_value_heads=2,
        num_hidden_layers=2,
        num_local_experts=4,
        initializer_range=0.2,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        models = {
            "llama": tiny_model("llama"),
            "tied": tiny_model("llama", tie_word_embeddings=True),
            "qwen2": tiny_model("qwen2"),
            "gpt2": transformers.GPT2LMHeadModel(gpt2),
            "mixtral": transformers.MixtralForCausalLM(mixtral),
        }
    for name, model in models.items():
        model.eval().save_pretrained(folder / name)
    return {"untied_file": folder / "llama", **{name: folder / name for name in models}}


def write_kind(base: Path, folder: Path, kind: str = "LORA", **settings: Any) -> Path:
    """Save an adapter of a type with random weights, by plain PEFT."""
    config_class = PEFT_TYPE_TO_CONFIG_MAPPING[PeftType(kind)]
    given = {"task_type": "CAUSAL_LM", **settings}
    if "target_modules" in config_class.__dataclass_fields__:
        given.setdefault("target_modules", TARGETS)
    given = {key: value for key, value in given.items() if value is not None}
    if kind == "LORA":
        given = {"r": 4, "lora_alpha": 8, **given}
        given.setdefault("init_lora_weights", "lora_bias" in given)
        for name, sub in _SUBCONFIGS.items():
            if name in given:
                module = getattr(peft, sub, None) or getattr(peft.tuners.lora.config, sub)
                given[name] = module(**given[name])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model: Any = get_peft_model(
            AutoModelForCausalLM.from_pretrained(base), config_class(**given)
        )
        moved(model)
    model.save_pretrained(str(folder))
    assert load_file(folder / "adapter_model.safetensors")
    return folder


def moved(model: Any, seed: int = 3) -> Any:
    """``model`` with every weight that is trainable a little elsewhere, as training leaves it."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        if parameter.requires_grad:
            step = torch.randn(parameter.shape, generator=generator)
            parameter.data.add_(0.1 * step.to(parameter))
    return model
