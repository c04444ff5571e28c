"""Find a decoder's layers and attention blocks by their structure, whatever its class."""

from torch import nn

from holdfast.errors import UserError


def decoder_layers(model: nn.Module) -> list[nn.Module]:
    """The decoder layers of a causal language model, first to last.

    A stack of decoder layers is a ``ModuleList`` whose members hold an attention block. Models with
    several such stacks (a vision tower, say) say which is the text's by ``get_decoder``; of what
    is left the longest is taken. LoRA layers and wrappers around ``model`` do not matter.

    Args:
        model: any causal language model of transformers, bare or wrapped by PEFT.

    Raises:
        UserError: the model holds no stack of layers with attention blocks.
    """
    get_base = getattr(model, "get_base_model", None)
    root = get_base() if callable(get_base) else model
    get_decoder = getattr(root, "get_decoder", None)
    decoder = get_decoder() if callable(get_decoder) else None
    if not isinstance(decoder, nn.Module):
        decoder = model
    stacks = [
        list(module)
        for module in decoder.modules()
        if isinstance(module, nn.ModuleList)
        and any(_attention_child(member) is not None for member in module)
    ]
    if not stacks:
        raise UserError(
            f"{type(root).__name__} has no stack of layers with attention blocks: this method "
            "needs a transformer decoder."
        )
    return max(stacks, key=len)


def attention_blocks(model: nn.Module) -> list[nn.Module]:
    """The attention block of every decoder layer, first to last.

    Its output e_l, [batch, tokens, hidden], is what Vaccine perturbs. Layers without attention
    (state-space layers of a hybrid, say) are left out.
    """
    found = (_attention_child(layer) for layer in decoder_layers(model))
    return [block for block in found if block is not None]


def attention_block(layer: nn.Module) -> nn.Module | None:
    """The attention block of one decoder layer; None where the layer has none."""
    return _attention_child(layer)


def _attention_child(layer: nn.Module) -> nn.Module | None:
    """The child that is named for attention and holds projections (so no norm beside it)."""
    for name, child in layer.named_children():
        if ("attn" in name or "attention" in name) and _has_projection(child):
            return child
    return None


def _has_projection(module: nn.Module) -> bool:
    """True where a matrix of weights lies below ``module`` itself (a norm has vectors only)."""
    return any(
        weight.ndim >= 2 or hasattr(weight, "quant_state")
        for child in module.children()
        for weight in child.parameters()
    )
