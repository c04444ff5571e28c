"""NLSR: put back the safety neurons of modules whose own have drifted furthest.

    E = (1 + β)·V                        the super-aligned update, past the alignment's own V
    M = the share s of E's weights that matter most to safe answers (`holdfast.repair.neurons`)
    c = cos(M ∘ T, M ∘ E)                 T = V + U, the fine-tuned update, U = W_tuned − W_aligned
    T ← M ∘ E + (1 − M) ∘ T               in each module by chance, with the probability
    P = r − ε + 2ε · k / (K − 1)          k = 0 for the largest c of K modules, K − 1 for the least

V, U, T, E and M are [out, in]. Where the fine-tuning went on with the alignment's adapter, all this
is done on its two factors, T = B·A and E = √(1+β)·B_V · √(1+β)·A_V with a mask each, and the result
keeps its rank. Else the weights themselves are taken, and the result is a whole model. Inputs of
the modules are measured at the answers of safe rows in the super-aligned model, which here is the
fine-tuned one with E in the place of T. Modules are those that both trainings changed. r = ε = 0,
or s = 0, leaves the model as it is, bit for bit. ``neurons="random"`` is the control.

Source: X. Yi et al.: NLSR, arXiv 2412.12497; github.com/xinykou/NLSR, whose settings are the
defaults: β = 0.9, s = 0.2 ("sparsity" 0.8), r = 0.5, ε = 0.2, 2,000 rows, r 128, one adapter. That
code multiplies both factors by 2α = 1.8, and gives modules of the largest c the highest chance,
against its own comment; it takes Ŵ by a random SVD. unverified: the paper's text, and so which of
the two orders its numbers are of.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from peft import PeftModel
from torch import nn
from transformers import PreTrainedTokenizerBase

from holdfast.errors import UserError
from holdfast.models.adapters import NEW
from holdfast.models.differences import adapter_updates
from holdfast.models.loading import is_quantized
from holdfast.models.updates import Update
from holdfast.repair.checkpoints import Checkpoints
from holdfast.repair.hessians import hessians
from holdfast.repair.neurons import largest, neurons
from holdfast.settings import check_ranges


@dataclass
class NLSRConfig:
    """Settings of NLSR.

    Args:
        beta: β, how far past the alignment the reference is; 0 is the aligned model.
        share: s, how many of a matrix's weights are its neurons.
        rate: r, the mean share of modules whose neurons are put back.
        epsilon: ε, how far the chances of the least and the most similar module are from r.
        neurons: which weights: those that matter to safe answers, or random ones.
        max_length: longest row in tokens; what is longer is cut on the right.
        seed: of the draw of modules, and of random neurons.
    """

    beta: float = field(default=0.9, metadata={"range": "[0, inf)"})
    share: float = field(default=0.2, metadata={"range": "[0, 1]"})
    rate: float = field(default=0.5, metadata={"range": "[0, 1]"})
    epsilon: float = field(default=0.2, metadata={"range": "[0, 1]"})
    neurons: Literal["safety", "random"] = "safety"
    max_length: int = field(default=512, metadata={"range": "[1, inf)"})
    seed: int = field(default=0, metadata={"range": "[0, 4294967295]"})

    def __post_init__(self):
        check_ranges(self)
        if self.neurons not in ("safety", "random"):
            raise UserError(f'neurons is "{self.neurons}": it must be "safety" or "random".')


def nlsr(
    model: nn.Module,
    checkpoints: Checkpoints,
    alignment_dataset: Iterable[Mapping[str, Any]],
    config: NLSRConfig | None = None,
    processing_class: PreTrainedTokenizerBase | None = None,
) -> nn.Module:
    """Put back safety neurons that have drifted.

    Args:
        model, checkpoints: the fine-tuned model, and what it came from.
        alignment_dataset: harmful prompts with safe answers; one pass for each row.
        config: the settings.
        processing_class: the tokenizer; not needed for tokenized rows.

    Returns:
        The repaired model.

    Raises:
        UserError: quantized weights, no rows, or no linear layer that both trainings changed.
    """
    config = config or NLSRConfig()
    root: Any = model.get_base_model() if isinstance(model, PeftModel) else model
    if is_quantized(root):
        raise UserError("nlsr changes single weights, and these are quantized.")
    if not config.share or not (config.rate or config.epsilon):
        return model
    V, names = checkpoints.alignment, checkpoints.both()
    generator = torch.Generator().manual_seed(config.seed)
    T, E = _updates(model, checkpoints, names, config.beta)
    if config.neurons == "random":
        draws = {n: [torch.rand(p.shape, generator=generator) for p in T[n].parts] for n in names}
        M = {n: [largest(draw, config.share) for draw in draws[n]] for n in names}
    else:
        layers = {name: root.get_submodule(name) for name in names}
        longest = config.max_length
        with checkpoints.as_if(layers, {n: V[n].times(config.beta) for n in names}):
            G = hessians(model, layers, alignment_dataset, longest, processing_class, answers=True)
        M = {n: _masks(E[n], V[n], G.pop(n), config.share) for n in names}
    chosen = drawn({n: _cosine(T[n], E[n], M[n]) for n in names}, config, generator)
    back = {n: Update(*map(torch.where, M[n], E[n].parts, T[n].parts)) for n in chosen}
    if all(update.right is not None for update in back.values()):
        return checkpoints.put(model, back)
    return checkpoints.replace(model, {n: Update(back[n].left - V[n].whole()) for n in chosen})


def drawn(cosines: Mapping[str, float], config: NLSRConfig, draws: torch.Generator) -> list[str]:
    """The modules whose neurons are put back, by their cosines to the reference."""
    order = sorted(cosines, key=lambda name: -cosines[name])
    low, step = config.rate - config.epsilon, 2 * config.epsilon / max(1, len(order) - 1)
    luck = torch.rand(len(order), generator=draws).tolist()
    return [name for k, name in enumerate(order) if luck[k] < low + step * k]


def _updates(
    model: nn.Module, checkpoints: Checkpoints, names: list[str], beta: float
) -> tuple[dict[str, Update], dict[str, Update]]:
    """T and E of every module: as factors where both are of one adapter, else whole."""
    V, U = checkpoints.alignment, checkpoints.finetuning
    T = adapter_updates(model, NEW) if isinstance(model, PeftModel) and checkpoints.inside else {}
    if T and all(V[n].right is not None and T[n].left.shape == V[n].left.shape for n in names):
        return T, {n: Update(*((1 + beta) ** 0.5 * part for part in V[n].parts)) for n in names}
    T = {n: Update(V[n].plus(U[n]).whole()) for n in names}
    return T, {n: Update((1 + beta) * V[n].whole()) for n in names}


def _masks(E: Update, V: Update, G: torch.Tensor, share: float) -> list[torch.Tensor]:
    """M of E, or of its left and its right factor; V has the rank of a whole E."""
    if E.right is None:
        return [neurons(V, G, share)]
    right = E.right.double()
    inner = right @ G.double() @ right.T
    return [neurons(Update(E.left), inner, share), neurons(Update(E.right), G, share)]


def _cosine(T: Update, E: Update, M: list[torch.Tensor]) -> float:
    """c; 0 where one of the two is zero."""
    t, e = (Update(*map(torch.mul, M, update.parts)) for update in (T, E))
    size = t.norm() * e.norm()
    return t.inner(e) / size if size else 0.0
