"""Tiny random decoders of every architecture that the package promises to work with.

Nothing is downloaded: each model is made from its config, in fp32, from a seed, with a vocabulary
of 64 tokens (0 pad, 1 begin, 2 end), width 32, 4 heads (2 key-value heads where there are any
such) and no dropout. The weights are larger than the libraries' defaults, so that attention
and activations are far from linear and a mistake in them is seen.
"""

import peft
import torch
import transformers
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import PreTrainedModel

HIDDEN, HEADS, INIT = 32, 4, 0.2

_COMMON = {
    "vocab_size": 64,
    "hidden_size": HIDDEN,
    "num_attention_heads": HEADS,
    "max_position_embeddings": 256,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_LLAMA_LIKE = {
    "intermediate_size": 48,
    "num_key_value_heads": 2,
    "head_dim": HIDDEN // HEADS,
    "initializer_range": INIT,
}
_NO_HEAD_DIM = {key: value for key, value in _LLAMA_LIKE.items() if key != "head_dim"}
_GEMMA = _LLAMA_LIKE | {"query_pre_attn_scalar": HIDDEN // HEADS}
_SPLIT = ("q_proj", "k_proj", "v_proj", "o_proj")

# name: (config class, model class, settings of the config, linears of the attention block)
_MODELS: dict[str, tuple[str, str, dict, tuple[str, ...]]] = {
    "llama": ("LlamaConfig", "LlamaForCausalLM", _LLAMA_LIKE, _SPLIT),
    "mistral": ("MistralConfig", "MistralForCausalLM", _LLAMA_LIKE, _SPLIT),
    "qwen2": ("Qwen2Config", "Qwen2ForCausalLM", _NO_HEAD_DIM, _SPLIT),
    "qwen3": ("Qwen3Config", "Qwen3ForCausalLM", _LLAMA_LIKE, _SPLIT),
    "gemma2": ("Gemma2Config", "Gemma2ForCausalLM", _GEMMA, _SPLIT),
    "gemma3": ("Gemma3TextConfig", "Gemma3ForCausalLM", _GEMMA, _SPLIT),
    "opt": (
        "OPTConfig",
        "OPTForCausalLM",
        {"ffn_dim": 48, "init_std": INIT, "dropout": 0.0},
        ("q_proj", "k_proj", "v_proj", "out_proj"),
    ),
    "phi3": ("Phi3Config", "Phi3ForCausalLM", _NO_HEAD_DIM, ("qkv_proj", "o_proj")),
    "gpt_neox": (
        "GPTNeoXConfig",
        "GPTNeoXForCausalLM",
        {"intermediate_size": 48, "initializer_range": INIT},
        ("query_key_value", "dense"),
    ),
}

ARCHITECTURES: tuple[str, ...] = tuple(_MODELS)


def tiny_model(name: str, layers: int = 2, seed: int = 0, **overrides) -> PreTrainedModel:
    """Make the model `name` (one of ARCHITECTURES) in training mode.

    `overrides` are fields of its config, such as `attention_dropout=0.1`.
    """
    config_name, model_name, settings, _ = _MODELS[name]
    fields = {**_COMMON, "num_hidden_layers": layers, **settings, **overrides}
    config = getattr(transformers, config_name)(**fields)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = getattr(transformers, model_name)(config)
        # GPT-NeoX, OPT and Qwen2 start their biases at zero, where an error in them would not show.
        for parameter_name, parameter in model.named_parameters():
            if parameter_name.endswith("bias"):
                torch.nn.init.normal_(parameter, std=INIT)
    return model.float().train()


def attention_linears(model: torch.nn.Module) -> tuple[str, ...]:
    """Name the linear layers of the attention blocks of a model made by `tiny_model`."""
    class_name = type(model).__name__
    return next(linears for _, name, _, linears in _MODELS.values() if name == class_name)


def lora(model: PreTrainedModel, r: int = 4, seed: int = 0, **kw) -> PeftModel:
    """Put a LoRA adapter on the attention linears; `kw` are fields of `LoraConfig`.

    As in training, B starts at zero; `init_lora_weights=False` makes both factors random.
    """
    kw = {"target_modules": list(attention_linears(model)), "lora_alpha": r, **kw}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        wrapped = get_peft_model(model, LoraConfig(r=r, task_type=peft.TaskType.CAUSAL_LM, **kw))
    assert isinstance(wrapped, PeftModel)
    return wrapped
