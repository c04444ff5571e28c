"""How large a model is, from its config.json or its name, without loading or downloading it."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from holdfast import organism
from holdfast.models import gguf
from holdfast.models.stack import ORGANISM

# Models whose second projection has no gate, with biases and two-vector norms.
_PLAIN = ("opt", "gpt_neox")
_BIASED_QKV = ("qwen2",)
_QK_NORMS = ("qwen3", "gemma3_text")
_FOUR_NORMS = ("gemma2", "gemma3_text")


@dataclass(frozen=True)
class ModelSize:
    """The sizes of a decoder.

    Args:
        parameters: N, all weights, shared ones once.
        layers: L.
        hidden: d.
        intermediate: the MLP's width.
        vocabulary: V.
        kv_width: the width of a layer's keys, heads times their width.
        source: "config.json" or "its GGUF file", or "its name" for a guess from "7b" in it.
    """

    parameters: int
    layers: int
    hidden: int
    intermediate: int
    vocabulary: int
    kv_width: int
    source: str = "config.json"


def model_size(base: str) -> ModelSize | None:
    """The size of a base model; None where neither a local file nor its name tells.

    Args:
        base: "organism", a GGUF file, a folder with config.json, or an id on the Hub, of which
            "7b", "2.7B" or "500M" is read as the number of parameters and everything else follows
            from common proportions (d = 128 · L, N = 12 · L · d², MLP 8/3 · d, 32,000 tokens).
    """
    file = gguf.base_file(base)
    if file is not None:
        return size_of_gguf(gguf.header(file))
    folder = organism.folder() if base == ORGANISM else Path(base).expanduser()
    if (folder / "config.json").is_file():
        return size_of_config(json.loads((folder / "config.json").read_text(encoding="utf-8")))
    named = re.search(r"(?<![\d.a-z])(\d+(?:\.\d+)?)\s*([bm])(?![a-z])", base.lower())
    if named is None:
        return None
    parameters = round(float(named[1]) * (1e9 if named[2] == "b" else 1e6))
    layers = max(1, round((parameters / (12 * 128**2)) ** (1 / 3)))
    hidden = 128 * layers
    return ModelSize(parameters, layers, hidden, 8 * hidden // 3, 32_000, hidden, "its name")


def size_of_gguf(header: gguf.Header) -> ModelSize | None:
    """The size that a GGUF file's header describes; None where it lacks what all decoders have."""
    layers, hidden = header.size("block_count"), header.size("embedding_length")
    inner, heads = header.size("feed_forward_length"), header.size("attention.head_count")
    embedding = header.shapes.get("token_embd.weight")
    if not (layers and hidden and inner and heads and embedding):
        return None
    head = header.size("attention.key_length", hidden // heads)
    kv = header.size("attention.head_count_kv", heads) * head
    counted = gguf.parameters(header)
    return ModelSize(counted, layers, hidden, inner, embedding[0], kv, "its GGUF file")


def size_of_config(config: Mapping[str, Any]) -> ModelSize | None:
    """The size that a config.json describes; None where it names no layers.

    The count is exact for Llama, Mistral, Qwen2, Qwen3, Gemma2, Gemma3, Phi3, OPT and GPT-NeoX;
    of other kinds it is Llama's for their sizes.
    """
    config = config.get("text_config") or config
    try:
        layers, hidden = config["num_hidden_layers"], config["hidden_size"]
        vocabulary, heads = config["vocab_size"], config["num_attention_heads"]
    except KeyError:
        return None
    kind = config.get("model_type", "")
    inner = config.get("intermediate_size") or config.get("ffn_dim") or 4 * hidden
    head = config.get("head_dim") or hidden // heads
    kv = (config.get("num_key_value_heads") or heads) * head
    if kind in _PLAIN:
        layer = 4 * (hidden**2 + hidden) + 2 * hidden * inner + inner + hidden + 4 * hidden
        around = 2 * hidden  # the last norm
    else:
        layer = 2 * hidden * heads * head + 2 * hidden * kv + 3 * hidden * inner
        layer += (4 if kind in _FOUR_NORMS else 2) * hidden
        if kind in _QK_NORMS:
            layer += 2 * head
        if kind in _BIASED_QKV:
            layer += heads * head + 2 * kv
        elif config.get("attention_bias"):
            layer += heads * head + 2 * kv + hidden
        if config.get("mlp_bias"):
            layer += 2 * inner + hidden
        around = hidden
    embedding = config.get("word_embed_proj_dim") or hidden
    around += vocabulary * embedding * (1 if config.get("tie_word_embeddings", True) else 2)
    if kind == "opt":
        around += (config.get("max_position_embeddings", 2048) + 2) * hidden
        if embedding != hidden:
            around += 2 * embedding * hidden
    return ModelSize(around + layers * layer, layers, hidden, inner, vocabulary, kv)
