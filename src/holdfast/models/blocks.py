"""Find a decoder's layers and attention blocks by their structure, whatever its class."""

import re
from typing import Any

from torch import nn

from holdfast.errors import UserError
from holdfast.models.bare import bare

# A module is an attention block by the end of its name (attn, self_attn, linear_attn, attention),
# or of its class's where the name is "mixer" or "temporal_block". A norm beside one ends otherwise.
_NAME = re.compile(r"attn$|attention$")
_CLASS = re.compile(r"Attention(V\d+)?$")
# A feed-forward block by the end of its name; of a layer that has none (OPT) its second matrix.
_FEED_FORWARD = re.compile(r"(mlp|ffn|feed_forward|feedforward|moe|experts)$|^fc2$")


def decoder_layers(model: nn.Module) -> list[nn.Module]:
    """The decoder layers of a causal language model, first to last.

    A stack of decoder layers is a ``ModuleList`` whose members hold an attention block. Models with
    several such stacks (a vision tower, say) say which is the text's by ``get_decoder``; of what
    is left the longest is taken. A decoder without any attention (Mamba) has as many layers as its
    config says. LoRA layers and wrappers around ``model`` do not matter.

    Args:
        model: any causal language model of transformers, bare or wrapped by PEFT.

    Raises:
        UserError: the model holds no stack of layers.
    """
    root = bare(model)
    get_decoder = getattr(root, "get_decoder", None)
    decoder = get_decoder() if callable(get_decoder) else None
    # What some classes call their decoder is the head: it holds no layers.
    for place in (decoder, model):
        if isinstance(place, nn.Module) and (stacks := _stacks(place, _layer_count(root))):
            return max(stacks, key=len)
    raise UserError(
        f"{type(root).__name__} has no stack of layers with attention blocks: this method "
        "needs a transformer decoder."
    )


def attention_blocks(model: nn.Module) -> list[nn.Module]:
    """The attention block of every decoder layer, first to last.

    Its output e_l, [batch, tokens, hidden], is what Vaccine perturbs. Layers without attention
    (state-space layers of a hybrid, say) are left out.

    Raises:
        UserError: the model has no attention blocks, or one that several layers share.
    """
    return [block for _, block in layers_with_attention(model)]


def layers_with_attention(model: nn.Module) -> list[tuple[nn.Module, nn.Module]]:
    """The decoder layers that hold an attention block, each with its block, first to last.

    Raises:
        UserError: as `attention_blocks`.
    """
    found = [(layer, attention_block(layer)) for layer in decoder_layers(model)]
    held = [(layer, block) for layer, block in found if block is not None]
    name = type(bare(model)).__name__
    if not held:
        raise UserError(
            f"{name} has no attention blocks in its layers: this method needs a decoder "
            "with attention."
        )
    if len({id(block) for _, block in held}) < len(held):
        raise UserError(
            f"{name} has layers that share one attention block: this method needs one of "
            "its own in every layer."
        )
    return held


def feed_forward_blocks(model: nn.Module) -> list[nn.Module]:
    """The feed-forward block of every decoder layer, first to last; experts are one block.

    Raises:
        UserError: a layer has none.
    """
    found = []
    for layer in decoder_layers(model):
        blocks = [c for name, c in layer.named_children() if _FEED_FORWARD.search(name)]
        if not blocks:
            raise UserError(
                f"{type(bare(model)).__name__} has a layer without a feed-forward block: this "
                "method needs one in every layer."
            )
        found.append(blocks[-1])
    return found


def attention_block(layer: nn.Module) -> nn.Module | None:
    """The attention block of one decoder layer, the outermost; None where the layer has none."""
    for name, child in layer.named_children():
        named = _NAME.search(name) or _CLASS.search(type(child).__name__)
        if named and _has_projection(child):
            return child
    deeper = (attention_block(child) for child in layer.children())
    return next((block for block in deeper if block is not None), None)


def _stacks(decoder: nn.Module, layers: int | None) -> list[list[nn.Module]]:
    """The lists of layers with attention; without any, those of the right length."""
    lists = [list(module) for module in decoder.modules() if isinstance(module, nn.ModuleList)]
    held = [each for each in lists if any(attention_block(layer) is not None for layer in each)]
    return held or [each for each in lists if len(each) == layers]


def _layer_count(root: nn.Module) -> int | None:
    config: Any = getattr(root, "config", None)
    return getattr(config.get_text_config(), "num_hidden_layers", None) if config else None


def _has_projection(module: nn.Module) -> bool:
    """True where a matrix of weights lies below ``module`` itself (a norm has vectors only)."""
    return any(
        weight.ndim >= 2 or hasattr(weight, "quant_state")
        for child in module.children()
        for weight in child.parameters()
    )
