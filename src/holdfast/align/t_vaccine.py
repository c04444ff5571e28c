"""T-Vaccine: Vaccine on the layers that matter for safety, with every other layer frozen.

Every K steps harmful probe rows give each attention block l (of L) the probability

    P_l = ‖dL_harm/de_l‖ / Σ_k ‖dL_harm/de_k‖

and every J steps S blocks are drawn without replacement with these probabilities. Between draws
each step is Vaccine's two passes with the perturbation and its norm over the drawn blocks only, and
the layers that were not drawn are frozen. Nothing below the lowest trainable or drawn layer needs
a graph, or a second computation.

What lies in no decoder layer (embeddings, last norm, head) is never frozen; where it trains at all,
the input embedding gets a gradient from below only while the first layer is drawn.

Source: G. Liu et al.: Targeted Vaccine, arXiv 2410.09760, algorithm 1.
"""

import copy
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from holdfast.align.perturbation import StepPlan, TwoPassMixin, output_gradients
from holdfast.errors import UserError
from holdfast.models.blocks import attention_block, decoder_layers, layers_with_attention
from holdfast.models.random_state import RandomState
from holdfast.trainer.arguments import as_config
from holdfast.trainer.order import part
from holdfast.trainer.streams import is_stream
from holdfast.training import SFTConfig, SFTTrainer

STATE_FILE = "t_vaccine.json"


@dataclass
class TVaccineConfig(SFTConfig):
    """Settings of T-Vaccine.

    Args:
        rho: ρ, the norm of the perturbation over the drawn blocks, tokens and rows.
        layers: S, how many layers are drawn; all of them make T-Vaccine Vaccine.
        probe_every: K, steps between two measurements of the layers' probabilities.
        draw_every: J, steps between two draws of layers.
        probe_batch_size: harmful rows in one measurement, of all processes together; as many as a
            training batch of all of them if not given.
        freeze: "layer" freezes every trainable weight of a layer that is not drawn (the paper);
            "attention" freezes only those of its attention block (the authors' code).
    """

    rho: float = field(default=3.0, metadata={"range": "[0, inf)"})
    layers: int = field(default=8, metadata={"range": "[1, inf)"})
    probe_every: int = field(default=200, metadata={"range": "[1, inf)"})
    draw_every: int = field(default=20, metadata={"range": "[1, inf)"})
    probe_batch_size: int | None = field(default=None, metadata={"range": "[1, inf)"})
    freeze: Literal["layer", "attention"] = "layer"

    def __post_init__(self):
        super().__post_init__()
        if self.freeze not in ("layer", "attention"):
            raise UserError(f'freeze is "{self.freeze}": it must be "layer" or "attention".')


class TVaccineTrainer(TwoPassMixin, SFTTrainer):
    """T-Vaccine. Takes what `SFTTrainer` takes, with a `TVaccineConfig`, and ``harmful_dataset``.

    Args:
        harmful_dataset: the pool of probe rows (harmful prompt, harmful answer), in the shapes that
            ``train_dataset`` may have; a stream is read to its end. They are only measured with,
            never trained on.

    Attributes:
        history: one entry a draw: step, probabilities P [L], drawn layers.

    Raises:
        UserError: no probe rows, or more layers to draw than the model has.
    """

    config_class = TVaccineConfig
    args: TVaccineConfig

    def __init__(
        self,
        model: Any = None,
        args: Any = None,
        *further: Any,
        harmful_dataset: Any,
        **kwargs: Any,
    ):
        if kwargs.get("model_init") is not None or (len(further) > 4 and further[4] is not None):
            raise UserError("T-Vaccine freezes layers of one model: pass model, not model_init.")
        args = as_config(args, TVaccineConfig, SFTConfig)
        # What is frozen for a while gets no gradient: DDP must not wait for one.
        if args.ddp_find_unused_parameters is None:
            args = copy.copy(args)
            args.ddp_find_unused_parameters = True
        super().__init__(model, args, *further, **kwargs)
        rows = self.prepare_rows(harmful_dataset)
        self.harmful_rows = list(rows) if is_stream(rows) else rows
        if not self.harmful_rows:
            raise UserError("harmful_dataset is empty: it needs at least one row.")
        held = layers_with_attention(self.model)
        self.decoder_layers = [layer for layer, _ in held]
        if args.layers > len(self.decoder_layers):
            raise UserError(
                f"layers is {args.layers}, but the model has {len(self.decoder_layers)} layers "
                "with attention: draw at most as many."
            )
        self.blocks = [block for _, block in held]
        self.trainable = [
            [n for n, p in self._freezable(layer).named_parameters() if p.requires_grad]
            for layer in self.decoder_layers
        ]
        self.probabilities: list[float] = []
        self.drawn: list[int] = []
        self.history: list[dict[str, Any]] = []

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """Train; afterwards, also after an error, every weight is as trainable as before."""
        try:
            return super().train(*args, **kwargs)
        finally:
            self._thaw(range(len(self.decoder_layers)))

    def plan_step(self) -> StepPlan:
        """Measure and draw where it is time, then perturb the drawn blocks."""
        step = self.state.global_step
        if step % self.args.probe_every == 0:
            self.probabilities = self.measure(step // self.args.probe_every)
        if step % self.args.draw_every == 0:
            self.drawn = self.draw(step // self.args.draw_every)
            self.history.append(
                {"step": step, "probabilities": self.probabilities, "drawn": self.drawn}
            )
            lists: dict[str, Any] = {
                "block_probabilities": self.probabilities,
                "drawn_blocks": self.drawn,
            }
            self.log(lists)
            self._thaw(self.drawn)
        return StepPlan(
            self.args.rho, [self.blocks[layer] for layer in self.drawn], self._shared_layers()
        )

    def measure(self, number: int) -> list[float]:
        """P_l of every block from the ``number``-th batch of probe rows, [L]."""
        self.model.train()
        mine, longest = self._probe_rows(number)
        random_state = RandomState(self.args.device)
        squared = torch.zeros(len(self.blocks), device=self.args.device)
        # All layers are differentiated here. In parts that takes no more memory than a training
        # step of the drawn ones, and the squares of the parts' norms add up to the whole's.
        size = max(1, longest // 4)
        for start in range(0, longest, size):
            # Sharded weights are gathered in every pass, so no process may run fewer than another.
            rows = mine[start : start + size]
            found = self._squared_norms(rows or self.harmful_rows[:1])
            squared += found if rows else 0
        random_state.restore()  # dropout goes on as if nothing had been measured
        weights = self.accelerator.reduce(squared, reduction="sum").sqrt()
        if not weights.sum() > 0:
            raise UserError(
                f"the harmful probe rows give no usable gradient at step {self.state.global_step}: "
                "they must hold answers that carry a loss."
            )
        return (weights / weights.sum()).tolist()

    def _squared_norms(self, rows: list[Any]) -> Tensor:
        """‖d(summed loss of these rows)/de_l‖² of every block, [L]."""
        collate = self._get_collator_with_removed_columns(self.data_collator, "probe")
        inputs = self._prepare_inputs(collate(rows))

        def summed_loss() -> Tensor:
            # The rows' parts must have one scale: a sum over answer tokens, not each part's mean.
            # A copy: with label smoothing the loss takes the labels out of its inputs.
            loss = self.compute_loss(self.model, dict(inputs))
            return loss * (inputs["labels"][..., 1:] != -100).sum()

        with self.compute_loss_context_manager():
            gradients = output_gradients(self.blocks, summed_loss)
        norms = [torch.linalg.vector_norm(g, dtype=torch.float32) for g in gradients]
        return torch.stack([norm.to(self.args.device) for norm in norms]).square()

    def draw(self, number: int) -> list[int]:
        """The ``number``-th draw: S layers without replacement by P, sorted from the lowest."""
        # log P + Gumbel noise, the S largest: the same law as drawing one after the other. The
        # generator is of this draw alone, so resuming needs no state and processes agree.
        generator = np.random.default_rng((self.args.seed, number))
        with np.errstate(divide="ignore"):
            keys = np.log(self.probabilities) + generator.gumbel(size=len(self.probabilities))
        return sorted(np.argsort(-keys, kind="stable")[: self.args.layers].tolist())

    def _probe_rows(self, number: int) -> tuple[list[Any], int]:
        """This process's rows of the ``number``-th measurement, and the most that any has."""
        processes = self.args.world_size
        wanted = self.args.probe_batch_size or self.args.per_device_train_batch_size * processes
        pool = self.harmful_rows
        rows = [pool[(number * wanted + i) % len(pool)] for i in range(min(wanted, len(pool)))]
        mine = part(rows, processes, self.args.process_index)
        return list(mine), math.ceil(len(rows) / processes)

    def _freezable(self, layer: nn.Module) -> nn.Module:
        return layer if self.args.freeze == "layer" else _block(layer)

    def _thaw(self, layers: Any) -> None:
        """Make the given layers trainable and freeze the others."""
        for index, names in enumerate(self.trainable):
            # By name: sharding has put other parameters in the places of those at the start.
            weights = dict(self._freezable(self.decoder_layers[index]).named_parameters())
            for name in names:
                weights[name].requires_grad_(index in layers)

    def _shared_layers(self) -> list[nn.Module]:
        """The decoder layers below the lowest one that is drawn or trains."""
        below = []
        for layer in decoder_layers(self.model):
            if layer is self.decoder_layers[self.drawn[0]]:
                break
            if any(p.requires_grad for p in layer.parameters()):
                break
            below.append(layer)
        return below

    def _save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        # A checkpoint of sharded weights holds those that are trainable at the moment.
        self._thaw(range(len(self.decoder_layers)))
        try:
            super()._save_checkpoint(*args, **kwargs)
        finally:
            self._thaw(self.drawn)

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        super()._save_optimizer_and_scheduler(output_dir)
        if self.args.should_save:
            stepped: Any = self.optimizer
            state = {
                "probabilities": self.probabilities,
                "drawn": self.drawn,
                "history": self.history,
                "untouched": [n for n, w in self._weights() if w not in stepped.state],
            }
            (Path(output_dir) / STATE_FILE).write_text(json.dumps(state), encoding="utf-8")

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is None:
            super()._load_optimizer_and_scheduler(checkpoint)
            return
        state = json.loads((Path(checkpoint) / STATE_FILE).read_text(encoding="utf-8"))
        # What was never drawn has no state in the optimizer, which sharding takes for a mistake.
        untouched = [w for n, w in self._weights() if n in state.get("untouched", [])]
        for weight in untouched:
            weight.requires_grad_(False)
        super()._load_optimizer_and_scheduler(checkpoint)
        for weight in untouched:
            weight.requires_grad_(True)
        self.probabilities = state["probabilities"]
        self.drawn, self.history = state["drawn"], state["history"]
        self._thaw(self.drawn)

    def _weights(self) -> list[tuple[str, nn.Parameter]]:
        """The weights that train now."""
        return [(n, w) for n, w in self.model.named_parameters() if w.requires_grad]


def _block(layer: nn.Module) -> nn.Module:
    block = attention_block(layer)
    assert block is not None, "layers without attention are left out when the trainer is made"
    return block
