"""Weights are trained in float32, also those of a model that is stored in 16 bits.

An update of a weight is lost where it is smaller than half the distance to the next number of the
weight's type. bfloat16 has 8 bits of precision, so at a learning rate of 1e-5 most weights
of a usual size would never change. So what trains is float32 (as PEFT's ``autocast_adapter_dtype``
makes an adapter), while the model computes in its 16 bits by autocast.
"""

import copy
from typing import Any

import torch

_MIXED = {torch.bfloat16: "bf16", torch.float16: "fp16"}
# Where accelerate scales the loss of float16, without which small gradients become 0.
_SCALED = ("cuda", "xpu", "npu", "mlu", "musa", "hpu", "sdaa", "mps")


def train_in_float32(model: torch.nn.Module, args: Any) -> Any:
    """Make the weights that train float32, in place; gives the settings to train them with.

    Where any was in 16 bits, the model computes in that type by autocast (``bf16`` or ``fp16``),
    unless ``args`` say already how to compute; a model in float16 does so also where only
    its frozen weights are in it, for its gradients need the loss scaled. On a device where
    accelerate has no autocast for float16, all weights of that type become float32 instead.

    Args:
        model: the model, bare or wrapped by PEFT.
        args: the settings; left as they are.
    """
    scales = args.device.type in _SCALED
    weights = list(model.parameters())
    trains_half = any(w.dtype == torch.float16 and w.requires_grad for w in weights)
    found = None
    for weight in weights:
        narrow = weight.dtype in _MIXED
        if weight.dtype == torch.float16 and scales:
            found = weight.dtype
        elif weight.dtype == torch.bfloat16 and weight.requires_grad:
            found = found or weight.dtype
        widened = weight.dtype == torch.float16 and trains_half and not scales
        if narrow and (weight.requires_grad or widened):
            weight.data = weight.data.float()
    if found is None or args.bf16 or args.fp16:
        return args
    args = copy.copy(args)
    setattr(args, _MIXED[found], True)
    args.mixed_precision = _MIXED[found]
    return args
