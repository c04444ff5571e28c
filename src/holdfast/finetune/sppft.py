"""SPPFT: user fine-tuning that leaves the safety layers as they are.

    min L_user(w) over the weights outside of decoder layers a … b

The paper finds that a few layers in a row, in the model's middle, tell harmful requests from
harmless ones, and freezes them, counted from 0, with both ends: every trainable weight of them (of
an adapter its factors). The same number of layers at another place is the control. There is no
neutral setting: a range has one layer at least.

The layers are named, or searched by the paper's procedure, as far as it can be had, in
`holdfast.finetune.safety_layers`: with ``layers="search"``, before the training, with the user's
prompts for normal ones and the defender's harmful ones. What it finds is in the log as
``safety_layers``, at step 0. A resumed training searches again, in the model that it began with,
and finds the same.

Source: S. Li, L. Yao, L. Zhang, Y. Li: Safety Layers in Aligned Large Language Models: The Key to
LLM Security, arXiv 2408.17003; the defaults are its Llama-3-8B-Instruct's.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

from holdfast.data.pairs import prompt_of
from holdfast.errors import UserError
from holdfast.finetune.safety_layers import PROMPTS, find_safety_layers
from holdfast.models.blocks import decoder_layers
from holdfast.trainer.streams import is_stream
from holdfast.training import SFTConfig, SFTTrainer


@dataclass
class SPPFTConfig(SFTConfig):
    """Settings of SPPFT.

    Args:
        first_layer: a, the first frozen decoder layer, counted from 0.
        last_layer: b, the last frozen one.
        layers: named are these two; search finds others, with harmful rows.
        scale: α, by which the search scales layers.
    """

    first_layer: int = field(default=6, metadata={"range": "[0, inf)"})
    last_layer: int = field(default=12, metadata={"range": "[0, inf)"})
    layers: Literal["named", "search"] = "named"
    scale: float = field(default=1.2, metadata={"range": "(1, inf)"})

    def __post_init__(self):
        super().__post_init__()
        if self.layers not in ("named", "search"):
            raise UserError(f'layers is "{self.layers}": it must be "named" or "search".')
        if self.last_layer < self.first_layer:
            raise UserError(
                f"last_layer is {self.last_layer}, before first_layer, {self.first_layer}: at "
                "least one layer is frozen."
            )


class SPPFTTrainer(SFTTrainer):
    """SPPFT. Takes what `SFTTrainer` takes but ``model_init``, with an `SPPFTConfig`.

    Args:
        harmful_dataset: harmful rows, none of them the user's, for the search alone.

    Attributes:
        safety_layers: a and b.

    Raises:
        UserError: as `SFTTrainer`; the model has no such layers, or nothing that trains is left; a
            ``model_init``; a search without harmful rows, in a stream, or that finds nothing.
    """

    config_class = SPPFTConfig
    args: SPPFTConfig

    def __init__(self, *args: Any, harmful_dataset: Any = None, **kwargs: Any):
        super().__init__(*args, **kwargs)
        if self.model_init is not None:
            raise UserError("SPPFT freezes layers of one model: pass the model, not model_init.")
        self.safety_layers = self.args.first_layer, self.args.last_layer
        if self.args.layers == "search":
            self.safety_layers = self._search(harmful_dataset)
        self._freeze()

    def _search(self, harmful_rows: Any) -> tuple[int, int]:
        rows = self.train_dataset
        if harmful_rows is None or rows is None or is_stream(rows) or is_stream(harmful_rows):
            raise UserError(
                "layers is search, which needs a train_dataset and a harmful_dataset of known rows."
            )
        if self.is_fsdp_enabled or self.is_deepspeed_enabled:
            raise UserError("layers is search, which asks a whole model: train with DDP.")
        normal, harmful = (_prompts(some) for some in (rows, self.prepare_rows(harmful_rows)))
        self.used_rows = len(harmful)
        return find_safety_layers(self.model, normal, harmful, self.args.scale)

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> Any:
        """As transformers does; before the first step it is logged what a search has found."""
        if self.args.layers == "search" and self.state.global_step == 0:
            found: dict[str, Any] = {"safety_layers": list(self.safety_layers)}
            self.log(found)
        return super().get_batch_samples(*args, **kwargs)

    def create_optimizer(self, *args: Any, **kwargs: Any) -> Any:
        """As transformers does; a checkpoint that was loaded has opened its whole adapter."""
        self._freeze()
        return super().create_optimizer(*args, **kwargs)

    def _freeze(self) -> None:
        layers = decoder_layers(self.model)
        first, last = self.safety_layers
        if last >= len(layers):
            raise UserError(
                f"last_layer is {last}, and the model's layers are 0 to "
                f"{len(layers) - 1}: name the layers that are its safety layers."
            )
        for layer in layers[first : last + 1]:
            layer.requires_grad_(False)
        if not any(weight.requires_grad for weight in self.model.parameters()):
            raise UserError("SPPFT leaves nothing to train: all trainable layers are frozen.")


def _prompts(rows: Any) -> list[tuple[int, ...]]:
    """Those of the first rows that have one."""
    found = (prompt_of(rows[number]) for number in range(min(PROMPTS, len(rows))))
    return [prompt for prompt in found if prompt]
