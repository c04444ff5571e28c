"""4-bit weights on a processor: computed as stored, whatever the processor is.

bitsandbytes (0.50) has a kernel of its own for processors with AVX512-BF16. For its sake a
`Linear4bit` repacks its weights in place the first time that it answers in evaluation mode. What
comes of it: layers whose sizes are no multiples of 32 and of the block size crash, each block's
largest value is rounded to bfloat16 and stays so, the adapters' gradients that should flow through
the layer afterwards are lost, and a model's numbers depend on the machine. Every layer decides by
its attribute `support_avx512bf16_for_cpu`, so the layers are told that the processor has none: they
then compute as on any other, by dequantizing.
"""

import sys

from torch import nn

from holdfast.errors import UserError


def keep_unpacked(model: nn.Module) -> None:
    """Make a model's 4-bit layers compute with their weights as they are stored.

    Raises:
        UserError: an evaluation outside of holdfast has repacked them: what the weights were is
            lost.
    """
    if "bitsandbytes" not in sys.modules:  # then no layer is one of its
        return
    from bitsandbytes.nn.modules import Linear4bit

    for name, module in model.named_modules():
        if not isinstance(module, Linear4bit):
            continue
        state = getattr(module.weight, "quant_state", None)
        if getattr(state, "packing_format_for_cpu", False):
            raise UserError(
                f"the 4-bit weights of {name} were repacked for this processor, and rounded, when "
                "the model answered before holdfast had it: load the model again and pass it "
                "before its first answer."
            )
        module.support_avx512bf16_for_cpu = False
