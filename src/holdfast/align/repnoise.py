"""RepNoise: make what a model knows of harmful answers noise in every layer.

    L(w) = L_align(w) + β·M(w) − α·log C(w)

    C = (1/L) Σ_l CE_l,  CE_l: the cross-entropy of harmful answers, read off layer l by the last
        norm and the head (logit lens), so CE_L is the model's own; the mean over the step's tokens
    M = (1/N) Σ_r n_r (1/L) Σ_l MMD²(X_rl, Y_rl)

X_rl [n_r, hidden] are the outputs of layer l's feed-forward block at harmful row r's tokens, Y_rl
as many draws of N(0, I); MMD² is in `holdfast.align.mmd`. Harmful rows are those that answer a
prompt which an alignment row refuses, their tokens those in which the two differ
(`holdfast.data.pairs`); N are these tokens in the step. At most ``noise_tokens`` of a row, evenly
spread, go into M, so a row and layer take memory for (2·noise_tokens)² numbers a kernel; the noise
follows from the seed, the step and the row's tokens. A step reads as many harmful rows as it trains
on, in an order of their own.

Source: D. Rosati et al.: Representation Noising, arXiv 2405.14577, algorithm 1 (appendix B.1), by
the authors' code (github.com/domenicrosati/representation-noising, loss.py). What differs here:
there a row's tokens together are one sample of the MMD, so it depends on how many rows are passed
at once; the lens reads the last layer twice, once through two norms, and the embeddings; 1 is added
to the mean of CE_l instead of to the number of layers (its issue 6); a token whose predecessor is
the same in both is scored on zeroed logits; its hooks stay on the model. L_align is the whole
answers' loss, benign rows' too. unverified: the paper's learning rate (1e-5 or 2e-5), and the
grid in which its authors search α and β for every model.

Costs: the harmful rows' pass, and one without gradients before it, which finds the step's C.
"""

import zlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from holdfast.align.mmd import mmd
from holdfast.align.perturbation import SharedLayers
from holdfast.data.pairs import paired
from holdfast.errors import UserError
from holdfast.models.blocks import decoder_layers, feed_forward_blocks
from holdfast.models.outputs import recorded, tensor_of
from holdfast.models.random_state import RandomState
from holdfast.trainer.side_batches import SideBatches, SideBatchesMixin
from holdfast.trainer.streams import is_stream
from holdfast.training import SFTConfig, SFTTrainer


@dataclass
class RepNoiseConfig(SFTConfig):
    """Settings of RepNoise; with alpha and beta 0 it is plain SFT.

    Args:
        alpha: α, the strength of the ascent on harmful answers in every layer.
        beta: β, the strength with which harmful hidden states are drawn to Gaussian noise.
        noise_tokens: the most tokens of a harmful row that are compared with noise.
    """

    alpha: float = field(default=1.0, metadata={"range": "[0, inf)"})
    beta: float = field(default=0.001, metadata={"range": "[0, inf)"})
    noise_tokens: int = field(default=64, metadata={"range": "[1, inf)"})


class RepNoiseTrainer(SideBatchesMixin, SFTTrainer):
    """RepNoise. Takes what `SFTTrainer` takes, with a `RepNoiseConfig`, and ``paired_dataset``.

    Args:
        paired_dataset: harmful rows, some of which answer prompts that rows of ``train_dataset``
            refuse; in the shapes that ``train_dataset`` may have.

    Raises:
        UserError: as `SFTTrainer`; no two rows share a prompt, ``train_dataset`` is a stream, a
            layer has no feed-forward block, or the weights are divided among processes.
    """

    config_class = RepNoiseConfig
    args: RepNoiseConfig

    def __init__(self, *args: Any, paired_dataset: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        if is_stream(self.train_dataset):
            raise UserError(
                "RepNoise looks for pairs in all alignment rows: pass train_dataset as a list or "
                "a Dataset, not as a stream."
            )
        feed_forward_blocks(self.model)  # told before the first step
        harmful = paired(list(self.prepare_rows(paired_dataset)), self.train_dataset or [])
        self.harmful_rows = self.side_rows(harmful, "paired_dataset")

    def change_gradient(self) -> None:
        """Add β·∇M − (α/C)·∇C, of the step's harmful rows."""
        alpha, beta = self.args.alpha, self.args.beta
        if alpha == 0 and beta == 0:
            return
        side = self.side_batches(self.harmful_rows, self.state.global_step)
        strength = alpha / self._step_loss(side) if alpha else 0.0

        def loss_of(inputs: dict[str, Any]) -> Tensor:
            read, hidden = self._read(inputs)
            return beta * self._noise_loss(hidden, inputs) - strength * read

        self.add_to_gradient(self.gradient(side, loss_of)[0])

    def _read(self, inputs: dict[str, Any]) -> tuple[Tensor, list[Tensor]]:
        """C of a micro-batch, and what its feed-forward blocks put out."""
        layers, blocks = decoder_layers(self.model), feed_forward_blocks(self.model)
        with recorded([*layers, *blocks]) as outputs:
            read = [self.compute_loss(self.model, dict(inputs))]
        for layer in range(len(layers) - 1) if self.args.alpha else ():
            # The model's own way from its last layer to a loss, with layer l's output there.
            lens = SharedLayers(layers)
            lens.output = outputs[layer]
            with lens.reused():
                read.append(self.compute_loss(self.model, dict(inputs)))
        hidden = [tensor_of(outputs[len(layers) + block]) for block in range(len(blocks))]
        return torch.stack([one.to(self.args.device) for one in read]).mean(), hidden

    @torch.no_grad()
    def _step_loss(self, side: SideBatches) -> Any:
        """C of the whole step, with the dropout masks that the pass with gradients meets."""
        state, total = RandomState(self.args.device), torch.zeros((), device=self.args.device)
        self.model.train()
        for inputs in side.batches:
            count = (inputs["labels"][..., 1:] != -100).sum()
            if count:
                with self.compute_loss_context_manager():
                    total += self._read(inputs)[0] * count / side.tokens
        state.restore()
        return self.accelerator.reduce(total, "sum")

    def _noise_loss(self, hidden: list[Tensor], inputs: dict[str, Any]) -> Tensor:
        """M of one micro-batch, its rows weighed by their tokens; OPT puts them out as one."""
        counted = inputs["labels"] != -100
        counted[:, 0] = False  # never predicted
        terms = []
        for row in counted.any(1).nonzero().flatten().tolist():
            places = counted[row].nonzero().flatten()
            most = min(len(places), self.args.noise_tokens)
            chosen = places[torch.linspace(0, len(places) - 1, most, device=places.device).long()]
            tokens = np.asarray(inputs["labels"][row, places].tolist(), dtype="<i8")
            text = zlib.crc32(tokens.tobytes())
            for block, states in enumerate(hidden):
                x = states.view(*counted.shape, -1)[row, chosen.to(states.device)].float()
                place = (self.args.seed, self.state.global_step, text, block)
                seed = int(np.random.SeedSequence(place).generate_state(1)[0])
                generator = torch.Generator(x.device).manual_seed(seed)
                y = torch.randn(x.shape, generator=generator, device=x.device)
                terms.append(mmd(x, y).to(counted.device) * len(places))
        return torch.stack(terms).sum() / counted.sum() / len(hidden)
