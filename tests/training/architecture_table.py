"""The architectures of transformers that holdfast is tested on, as tiny random models.

A model is made from its config alone: nothing is downloaded. Every field that is not the size of a
tiny model says which of an architecture's forms is taken (a hybrid with both kinds of layers, a
mixture with four experts).
"""

from dataclasses import dataclass, field
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.pytorch_utils import Conv1D

COMMON = {
    "vocab_size": 64,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 256,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "attention_dropout": 0.0,
    "hidden_dropout": 0.0,
}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
LOCAL_EXPERTS = {"num_local_experts": 4, "num_experts_per_tok": 2}
GPT2 = {"attn_pdrop": 0.0, "embd_pdrop": 0.0, "resid_pdrop": 0.0}
STATES = {"mamba_n_heads": 8, "mamba_d_head": 8, "mamba_n_groups": 1, "mamba_d_state": 8}
STATES |= {"mamba_chunk_size": 8}
PAIRS = {"num_hidden_layers": 4, "layers_block_type": ["mamba", "hybrid"] * 2, "mamba_d_state": 8}
PAIRS |= {"n_mamba_heads": 2, "use_mamba_kernels": False}
HEADS = {"head_dim": 8}


@dataclass(frozen=True)
class Architecture:
    """What is expected of one architecture.

    Args:
        settings: fields of its config, over `COMMON`.
        attention: how many of its layers have an attention block.
        together: which prompts share a batch: "any", only those of "equal" length, or each is
            answered "alone".
        experts: whether it is a mixture of experts whose router has a loss.
        std: of the random weights; smaller where larger ones make rounding errors grow.
        unread: a linear layer whose weight its class reads without a pass through the layer.
        no_lora_on: linear layers that PEFT puts no adapter on.
    """

    settings: dict[str, Any] = field(default_factory=dict)
    attention: int = 2
    together: str = "any"
    experts: bool = False
    std: float = 0.2
    unread: str | None = None
    no_lora_on: tuple[str, ...] = ()


A = Architecture
MAMBA = ("out_proj", "conv1d")
ARCHITECTURES: dict[str, Architecture] = {
    "llama": A(),
    "mistral": A(),
    "ministral": A(HEADS),
    "qwen2": A(),
    "qwen3": A(HEADS),
    "gemma": A(HEADS),
    "gemma2": A(HEADS),
    "gemma3_text": A(HEADS),
    "phi": A(),
    "phi3": A(),
    "opt": A({"ffn_dim": 48, "dropout": 0.0, "word_embed_proj_dim": 32}),
    "gpt2": A(GPT2),
    "gpt_neo": A(
        {"num_layers": 2, "num_heads": 4, "window_size": 8}
        | {"attention_types": [[["global", "local"], 1]]}
    ),
    "gpt_neox": A(),
    "gptj": A({**GPT2, "rotary_dim": 4}),
    "gpt_bigcode": A(GPT2),
    "codegen": A({**GPT2, "rotary_dim": 4}),
    "bloom": A(),
    "falcon": A(),
    "mpt": A(),
    "stablelm": A(),
    "olmo": A(),
    "olmo2": A(),
    "olmo3": A(),
    "cohere": A(),
    "cohere2": A(),
    "starcoder2": A({"residual_dropout": 0.0, "embedding_dropout": 0.0}),
    "granite": A(),
    "smollm3": A(),
    "glm": A(HEADS),
    "glm4": A(HEADS),
    "helium": A(HEADS),
    "exaone4": A(),
    "apertus": A(),
    "diffllama": A(),
    "modernbert-decoder": A(),
    "openai-gpt": A(GPT2),
    "mixtral": A(LOCAL_EXPERTS, experts=True),
    "qwen2_moe": A({**EXPERTS, "shared_expert_intermediate_size": 16}, experts=True),
    "qwen3_moe": A({**EXPERTS, **HEADS}, experts=True),
    "olmoe": A({"num_experts": 4, "num_experts_per_tok": 2}, experts=True),
    "gpt_oss": A({**LOCAL_EXPERTS, **HEADS}, experts=True),
    "granitemoe": A(LOCAL_EXPERTS, experts=True),
    "jetmoe": A({**LOCAL_EXPERTS, "kv_channels": 8}, experts=True),
    "lfm2": A({"layer_types": ["conv", "full_attention"]}, attention=1),
    "jamba": A(
        {"num_hidden_layers": 4, "attn_layer_period": 2, "attn_layer_offset": 1}
        | {"expert_layer_period": 2, "expert_layer_offset": 1, "num_experts": 4}
        | {"mamba_d_state": 8, "mamba_dt_rank": 4, "use_mamba_kernels": False},
        attention=2,
        experts=True,
        unread="dt_proj",
        no_lora_on=MAMBA,
    ),
    "bamba": A({**STATES, "attn_layer_indices": [1]}, attention=1, no_lora_on=MAMBA),
    "zamba2": A(
        {**PAIRS, "mamba_ngroups": 1, "chunk_size": 8, "n_mamba_heads": 8} | {"num_mem_blocks": 2},
        std=0.1,
        no_lora_on=MAMBA,
    ),
    "falcon_h1": A({**STATES, "mamba_d_ssm": 64}, no_lora_on=MAMBA),
    "granitemoehybrid": A(
        {**STATES, **LOCAL_EXPERTS, "layer_types": ["mamba", "attention"]}
        | {"shared_intermediate_size": 16},
        attention=1,
        experts=True,
        no_lora_on=MAMBA,
    ),
    "nemotron_h": A(
        {"num_hidden_layers": 3, "layers_block_type": ["mamba", "attention", "mlp"]}
        | {"mamba_num_heads": 8, "mamba_head_dim": 8, "n_groups": 1, "ssm_state_size": 8}
        | {"chunk_size": 8, **HEADS},
        attention=1,
        no_lora_on=MAMBA,
    ),
    "recurrent_gemma": A(
        {"num_hidden_layers": 3, "lru_width": 32, "attention_window_size": 256},
        attention=1,
        together="equal",
    ),
    "minimax": A(
        {**LOCAL_EXPERTS, **HEADS, "block_size": 8}
        | {"layer_types": ["linear_attention", "full_attention"]},
        together="equal",
        experts=True,
    ),
    "rwkv": A({"attention_hidden_size": 32}, together="alone"),
    "mamba": A(attention=0, unread="dt_proj", no_lora_on=MAMBA),
    "falcon_mamba": A(attention=0, unread="dt_proj", no_lora_on=MAMBA),
    "mamba2": A(
        {"num_heads": 8, "head_dim": 8, "state_size": 8, "n_groups": 1, "chunk_size": 8},
        attention=0,
        no_lora_on=MAMBA,
    ),
}
# What `make test` runs too: one of each kind, beside those of tests/tiny_models.py.
FAST = ("bloom", "gpt_neo", "mixtral", "nemotron_h", "recurrent_gemma", "minimax", "rwkv", "mamba")


def make(name: str, **overrides: Any) -> Any:
    """The tiny random model `name` in float32 and evaluation mode, the same every time."""
    wanted = ARCHITECTURES[name]
    config = CONFIG_MAPPING[name](**{**COMMON, **wanted.settings, **overrides})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config, attn_implementation=None)
        for parameter_name, parameter in model.named_parameters():
            if parameter.ndim >= 2 or parameter_name.endswith("bias"):
                torch.nn.init.normal_(parameter, std=wanted.std)
    return model.float().eval()


def with_lora(name: str, model: Any) -> Any:
    """The model with a random adapter on its linear layers, heads and routers left out."""
    left_out = {"lm_head", "embed_out", "router", "gate", *ARCHITECTURES[name].no_lora_on}
    targets = [  # whole names: Zamba 2 has linears called "0" and "1", as its layers are
        module_name
        for module_name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear | Conv1D)
        and module_name.rsplit(".", 1)[-1] not in left_out
    ]
    config = LoraConfig(
        r=4,
        target_modules=targets,
        init_lora_weights=False,
        fan_in_fan_out=any(isinstance(module, Conv1D) for module in model.modules()),
        task_type="CAUSAL_LM",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return get_peft_model(model, config)
