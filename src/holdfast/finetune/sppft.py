"""SPPFT: user fine-tuning that leaves the safety layers as they are.

    min L_user(w) over the weights outside of decoder layers a … b

The paper finds that a few layers in a row, in the model's middle, tell harmful requests from
harmless ones, and freezes them. Here the layers are given, counted from 0, both ends frozen: every
trainable weight of them (of an adapter its factors). The same number of layers at another place is
the control. There is no neutral setting: a range has one layer at least.

The paper locates them in two steps: where the cosine similarity of the last position's hidden
states of two harmless prompts and that of a harmless and a harmful one part; then the range whose
weights, scaled up a little, make the model reject most of the prompts that only look harmful. That
search is not here, since its details could not be read.

Source: S. Li, L. Yao, L. Zhang, Y. Li: Safety Layers in Aligned Large Language Models: The Key to
LLM Security, arXiv 2408.17003; unverified: the published ranges and the search's details.
"""

from dataclasses import dataclass, field
from typing import Any

from holdfast.errors import UserError
from holdfast.models.blocks import decoder_layers
from holdfast.training import SFTConfig, SFTTrainer


@dataclass
class SPPFTConfig(SFTConfig):
    """Settings of SPPFT.

    Args:
        first_layer: a, the first frozen decoder layer, counted from 0.
        last_layer: b, the last frozen one.
    """

    first_layer: int = field(default=6, metadata={"range": "[0, inf)"})
    last_layer: int = field(default=12, metadata={"range": "[0, inf)"})

    def __post_init__(self):
        super().__post_init__()
        if self.last_layer < self.first_layer:
            raise UserError(
                f"last_layer is {self.last_layer}, before first_layer, {self.first_layer}: at "
                "least one layer is frozen."
            )


class SPPFTTrainer(SFTTrainer):
    """SPPFT. Takes what `SFTTrainer` takes but ``model_init``, with an `SPPFTConfig`.

    Raises:
        UserError: as `SFTTrainer`; the model has no such layers, or nothing that trains is left; a
            ``model_init``.
    """

    config_class = SPPFTConfig
    args: SPPFTConfig

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        if self.model_init is not None:
            raise UserError("SPPFT freezes layers of one model: pass the model, not model_init.")
        self._freeze()

    def create_optimizer(self, *args: Any, **kwargs: Any) -> Any:
        """As transformers does; a checkpoint that was loaded has opened its whole adapter."""
        self._freeze()
        return super().create_optimizer(*args, **kwargs)

    def _freeze(self) -> None:
        layers = decoder_layers(self.model)
        if self.args.last_layer >= len(layers):
            raise UserError(
                f"last_layer is {self.args.last_layer}, and the model's layers are 0 to "
                f"{len(layers) - 1}: name the layers that are its safety layers."
            )
        for layer in layers[self.args.first_layer : self.args.last_layer + 1]:
            layer.requires_grad_(False)
        if not any(weight.requires_grad for weight in self.model.parameters()):
            raise UserError("SPPFT leaves nothing to train: all trainable layers are frozen.")
